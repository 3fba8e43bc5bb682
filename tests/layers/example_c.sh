#!/bin/bash
# The C example builds against the library as a user's program does, and runs: a photo, a heat map, a bad file.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ -e "$CROPSHIELD_BUILD/libcropshield.so" ] || { echo "the shared library is not built"; exit 77; }
if grep -q '^CS_SANITIZE:STRING=..*' "$CROPSHIELD_BUILD/CMakeCache.txt"; then
    echo "a program without sanitizers cannot load a library with them"
    exit 77
fi
cc -std=c99 -Wall -Wextra -Werror -I"$CROPSHIELD_SOURCE/include" "$CROPSHIELD_SOURCE/examples/c/diagnose.c" \
    -L"$CROPSHIELD_BUILD" -lcropshield -o "$work/diagnose"
export LD_LIBRARY_PATH=$CROPSHIELD_BUILD
cd "$work"
# A PNG of 64×48 green pixels with a darker middle, written by hand: no picture library is needed.
python3 - <<'EOF'
import struct, zlib
rows = b"".join(b"\0" + b"".join(bytes((40, 90 if 20 < x < 40 and 12 < y < 36 else 160, 50)) for x in range(64)) for y in range(48))
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
with open("leaf.png", "wb") as file:
    file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 48, 8, 2, 0, 0, 0)) +
               chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
EOF
./diagnose leaf.png -o heatmap.png >out
cat out
grep -Eq '^leaf\.png: (confident|likely|uncertain|not_a_leaf) \(64×48' out
[ "$(grep -c '%' out)" = 3 ]
[ "$(head -c 4 heatmap.png | tail -c 3)" = PNG ]
echo "no photo" >notes.jpg
if ./diagnose notes.jpg 2>err; then
    echo "a bad photo went unnoticed" >&2
    exit 1
fi
grep -q 'notes.jpg: unsupported_format: ' err
