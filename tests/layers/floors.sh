#!/bin/bash
# The floors hold: no include points upward; and the checker itself can fail.
set -eu
"$CROPSHIELD_SOURCE/tools/check-layers" "$CROPSHIELD_SOURCE"
bad=$(mktemp -d)
trap 'rm -rf "$bad"' EXIT
mkdir -p "$bad/src/base" "$bad/src/engine"
touch "$bad/src/engine/engine.h"
echo '#include "engine/engine.h"' >"$bad/src/base/wrong.c"
if "$CROPSHIELD_SOURCE/tools/check-layers" "$bad" >/dev/null; then
    echo "an upward include was not noticed" >&2
    exit 1
fi
