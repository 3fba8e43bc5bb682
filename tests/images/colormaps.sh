#!/bin/bash
# The colour maps in the source are the published ones (Debian's python3-matplotlib has them); skipped where it is missing.
command -v /usr/bin/python3 >/dev/null || exit 77
exec /usr/bin/python3 "$CROPSHIELD_SOURCE/tests/images/make_colormaps.py" --check
