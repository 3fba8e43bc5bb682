#!/bin/bash
# Every bad input ends in its own error code, is named, and never stops the rest of a batch.
. "$(dirname "$0")/_lib.sh"
samples
export CROPSHIELD_MODEL=lite # what is wrong with a photo is so for every model, and this one loads fastest
$python - <<'P'
import struct, zlib
from PIL import Image
good = open("photos/plant1.jpg", "rb").read()
open("empty.jpg", "wb").close()
open("truncated.jpg", "wb").write(good[:len(good) // 2])
open("header-only.jpg", "wb").write(good[:200])
# a JPEG header that says 50,000 × 50,000
at = good.find(b"\xff\xc0")
open("giant.jpg", "wb").write(good[:at + 5] + struct.pack(">HH", 50000, 50000) + good[at + 9:])
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
# PNG bombs: a huge canvas, and one of few bytes that inflates for long
open("giant.png", "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)) +
                              chunk(b"IDAT", zlib.compress(b"\0" * 1000000)) + chunk(b"IEND", b""))
open("broken.png", "wb").write(open("leaf.png", "rb").read()[:3000])
Image.new("RGB", (64, 64), "green").save("animated.webp", save_all=True,
    append_images=[Image.new("RGB", (64, 64), c) for c in ("red", "blue")], duration=100)
Image.new("RGB", (40, 40), "green").save("picture.gif")
Image.new("CMYK", (300, 200), (90, 10, 90, 20)).save("cmyk.jpg", quality=90)
open("random.jpg", "wb").write(bytes((i * 7919) % 251 for i in range(5000)))
open("big.jpg", "wb").write(good + b"\0" * 3000000)
# a progressive JPEG whose last scan is repeated a few thousand times
progressive = __import__("io").BytesIO()
Image.open("photos/plant1.jpg").resize((64, 64)).save(progressive, "JPEG", progressive=True, quality=80)
p = progressive.getvalue()
last = p.rfind(b"\xff\xda")
open("scans.jpg", "wb").write(p[:-2] + p[last:-2] * 3000 + b"\xff\xd9")
P
mkdir folder-without-photos
check() { # FILE CODE
    run 1 predict --json "$1" photos/plant2.jpg
    json "lines[0]['error']['code'] == '$2' and lines[0]['image']['name'] == '$1'"
    json "'predictions' in lines[1]"
    has err "$1: $2"
}
check empty.jpg empty_input
check notes.jpg unsupported_format
check random.jpg unsupported_format
check picture.gif unsupported_format
check animated.webp unsupported_format
check truncated.jpg corrupt_image
check header-only.jpg corrupt_image
check broken.png corrupt_image
check giant.jpg image_too_large
check giant.png image_too_large
# thousands of scans: refused at the limit, or at the first scan that makes no sense, and at once
run 1 predict --json scans.jpg; json "o['error']['code'] in ('image_too_large', 'corrupt_image')"
check nowhere.jpg not_found
run 0 predict cmyk.jpg
run 1 predict --max-bytes 1M big.jpg; has err "image_too_large"
run 1 predict folder-without-photos; has err "empty_input"; has err "folder-without-photos"; empty out
run 1 predict --json folder-without-photos photos/plant1.jpg
json "lines[0]['error']['code'] == 'empty_input' and lines[0]['image']['name'] == 'folder-without-photos' and lines[1]['predictions']"
run 1 predict folder-without-photos photos/plant1.jpg; has out "plant1.jpg"
# what may not be read: as somebody else when we are root, whom nothing stops
mkdir -p tree/closed tree/open; cp photos/plant2.jpg tree/open; cp photos/plant1.jpg secret.jpg; chmod 000 secret.jpg tree/closed
if [ "$(id -u)" != 0 ]; then
    check secret.jpg not_found
    run 1 predict --json tree
elif command -v setpriv >/dev/null && chmod 755 . && setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$CROPSHIELD"; then
    nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$CROPSHIELD" "$@" >out 2>err; }
    nobody predict --json secret.jpg photos/plant2.jpg && complain "an unreadable photo was no failure"
    json "lines[0]['error']['code'] == 'not_found' and lines[0]['image']['name'] == 'secret.jpg' and 'predictions' in lines[1]"
    has err "secret.jpg: not_found"; has err "Permission denied"
    nobody predict --json tree && complain "an unreadable folder was no failure"
else
    cp secret.jpg unreadable.jpg; run 1 predict --json photos/plant1.jpg/below
    json "o['error']['code'] == 'not_found'"; : >tree.skipped
fi
if [ ! -e tree.skipped ]; then
    json "lines[0]['error']['code'] == 'not_found' and lines[0]['image']['name'] == 'tree/closed' and lines[1]['image']['name'] == 'tree/open/plant2.jpg'"
    has err "tree/closed: not_found"
fi
chmod 755 tree/closed
run 1 explain -o o.png truncated.jpg; has err "corrupt_image"
# a disk that is full under the heat maps: each is an error, each photo still has its diagnosis
mkdir maps
(ulimit -f 8; "$CROPSHIELD" predict --json --gradcam maps photos/plant1.jpg photos/plant2.jpg 2>err | cat >out; exit "${PIPESTATUS[0]}") && complain "a full disk was no failure"
json "len(lines) == 2 and all('predictions' in l and 'gradcam_file' not in l for l in lines)"; has err "plant2.jpg: internal: cannot write"
[ -z "$(ls -A maps)" ] || complain "half a heat map was left: $(ls -A maps)"
run 1 explain -o nowhere/o.png leaf.png; has err "nowhere/o.png"
run 2 explain -o o.png --class Banana leaf.png; has err "Banana"
finish
