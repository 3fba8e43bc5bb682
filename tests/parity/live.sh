#!/bin/bash
# Full-size networks in every format against PyTorch, where that is installed: see live.py.
set -u
# A sanitizer's run-time library cannot be loaded into Python.
if grep -q '^CS_SANITIZE:STRING=..*' "$CROPSHIELD_BUILD/CMakeCache.txt"; then
    echo "skipped: sanitizer build"
    exit 77
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export OMP_NUM_THREADS=1 # PyTorch's: other tests have the other cores
/usr/bin/python3 -W ignore "$CROPSHIELD_SOURCE/tests/parity/live.py" "$CROPSHIELD_BUILD/libcropshield.so" "$folder"
