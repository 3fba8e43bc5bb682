#!/bin/bash
# Modules of the page by themselves, in node alone.
command -v node >/dev/null || { echo "skipped: node is not installed"; exit 77; }
[ "$(node -p 'process.versions.node.split(".")[0]')" -ge 18 ] || { echo "skipped: node is older than 18"; exit 77; }
exec node --test "$CROPSHIELD_SOURCE/tests/browser/modules.mjs"
