#!/bin/bash
# The library beside Pillow on fresh random images; skipped where Pillow is missing or the library cannot be loaded (sanitizers).
library=$CROPSHIELD_BUILD/libcropshield.so
[ -f "$library" ] || exit 77
if nm -D "$library" | grep -qE "__asan_init|__tsan_init"; then
    echo "skipped: sanitizer build, which cannot be loaded into Python"
    exit 77
fi
command -v /usr/bin/python3 >/dev/null || exit 77
exec /usr/bin/python3 "$CROPSHIELD_SOURCE/tests/images/make_goldens.py" --live "$library"
