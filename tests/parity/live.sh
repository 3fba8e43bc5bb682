#!/bin/bash
# Full-size networks in every format against PyTorch, where that is installed: see live.py.
set -u
# A sanitizer's run-time library cannot be loaded into Python.
if nm -D "$CROPSHIELD_BUILD/libcropshield.so" | grep -qE "__asan_init|__tsan_init"; then
    echo "skipped: sanitizer build"
    exit 77
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
/usr/bin/python3 -W ignore "$CROPSHIELD_SOURCE/tests/parity/live.py" "$CROPSHIELD_BUILD/libcropshield.so" "$folder"
