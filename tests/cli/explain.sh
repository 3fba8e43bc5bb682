#!/bin/bash
# explain: pictures at display size, classes by name and number, colour maps, the raw map as .npy.
. "$(dirname "$0")/_lib.sh"
samples
run 0 explain -o large_network.png leaf.jpg; has out "heat map of"
small_network
run 0 explain -o map.png leaf.jpg; has out "heat map of"
run 0 explain -o map.jpg --class 9 --colormap viridis --alpha 0.7 leaf.jpg; has out "arly blight"
run 0 explain -o map.webp --class Tomato__early_blight leaf.jpg
run 0 explain -o wheat.png --plant wheat leaf.jpg; has out 'heat map of "Wheat: '
run 0 explain --raw map.npy --class 9 leaf.jpg
run 0 explain --raw other.npy --class 1 leaf.jpg
run 0 explain -o plain.png --alpha 0 leaf.jpg
if ! instrumented; then # a display image larger than the cache
    $python -c "
from PIL import Image
Image.open('leaf.png').convert('RGB').resize((5600, 4200)).save('huge.jpg')"
    run 0 explain -o map_huge.jpg --max-size 16384 --max-pixels 1000000000 huge.jpg
fi
for map in jet viridis inferno turbo grey; do run 0 explain -o $map.png --colormap $map leaf.jpg; done
run 0 explain -o stated.png --alpha 0.5 --colormap jet leaf.jpg
cmp -s stated.png map.png || complain "the picture is not what --alpha 0.5 --colormap jet gives"
for method in gradcam hirescam layercam eigencam ablationcam gradcam++; do run 0 explain --raw "$method.npy" --method $method leaf.jpg; done
# a failure names the file that it is about
run 1 explain -o bad.png --model none.safetensors leaf.jpg; has err "cropshield: none.safetensors: not_found"
run 1 explain -o bad.png notes.jpg; has err "cropshield: notes.jpg: unsupported_format"
# --format wins over the name, and says what standard output gets
magic() { $python -c "
import io, sys
from PIL import Image
print(Image.open(io.BytesIO(sys.stdin.buffer.read())).format)"; }
for format in png jpeg webp; do
    run 0 explain -o - --format $format leaf.jpg
    [ "$(magic <out)" = "${format^^}" ] || complain "standard output got $(magic <out), not $format"
done
run 0 explain -o odd.bmp -f webp leaf.jpg; [ "$(magic <odd.bmp)" = WEBP ] || complain "-f webp wrote $(magic <odd.bmp)"
run 2 explain -o map.png --format gif leaf.jpg; has err "gif"
run 2 explain -o map.bmp leaf.jpg; has err "map.bmp"
# who may read the picture is for the umask to say, and for the file that it replaces
(umask 077; "$CROPSHIELD" explain -o private.png leaf.jpg >out 2>err) || complain "a private picture"
[ "$(stat -c %a private.png)" = 600 ] || complain "umask 077 made a file of mode $(stat -c %a private.png)"
run 0 explain -o private.png leaf.jpg
[ "$(stat -c %a private.png)" = 600 ] || complain "a private file became one of mode $(stat -c %a private.png)"
# a link stays a link (/dev/stdout is one)
ln -s private.png linked.png
run 0 explain -o linked.png --class 3 leaf.jpg
[ -L linked.png ] && [ "$(stat -c %a private.png)" = 600 ] || complain "the link was replaced, not the file"
cmp -s linked.png private.png || complain "the file behind the link is another one"
# what standard output goes to (/dev/stdout) is written on, not replaced
printf 'kept' >archive
"$CROPSHIELD" explain -o /proc/self/fd/1 leaf.jpg >>archive 2>err || complain "explain into standard output: $(cat err)"
[ "$(head -c 8 archive | tr -d '\211')" = keptPNG ] && [ "$(stat -c %s archive)" -gt 1000 ] || complain "the file behind standard output was replaced"
# a pipe is written to, not replaced by a file
mkfifo pipe
cat pipe >piped.png &
run 0 explain -o pipe leaf.jpg
wait
[ -p pipe ] || complain "the pipe was replaced"
cmp -s piped.png map.png || complain "another picture came through the pipe"
# standard output, and from standard input
"$CROPSHIELD" explain -o - leaf.jpg >stdout.png 2>err || complain "-o -"
has err "heat map of"
cmp -s stdout.png map.png || complain "another picture came on standard output"
"$CROPSHIELD" explain --raw - --class 9 - <leaf.jpg >stdout.npy 2>err || complain "--raw - -"
cmp -s stdout.npy map.npy || complain "another map came on standard output"
run 2 explain -o - --raw - leaf.jpg; has err "only one of"; empty out
"$CROPSHIELD" explain -o - leaf.jpg >/dev/full 2>err && complain "a full standard output went unnoticed"
run 1 explain -o /dev/full leaf.jpg; has err "No space left"
$python - <<'P' || complain "outputs are not as expected"
import ast, struct
from PIL import Image, ImageChops
def npy(name):
    data = open(name, "rb").read()
    assert data[:8] == b"\x93NUMPY\x01\x00"
    n = struct.unpack("<H", data[8:10])[0]
    assert (10 + n) % 64 == 0
    header = ast.literal_eval(data[10:10 + n].decode())
    assert header["descr"] == "<f4" and header["shape"] == (14, 14), header
    return struct.unpack("<196f", data[10 + n:])
a, b = npy("map.npy"), npy("other.npy")
assert a != b and min(a) == 0 and max(a) in (0, 1)
for name in ("map.png", "map.jpg", "map.webp"):
    assert Image.open(name).size == (600, 800), name
pictures = {name: Image.open(name + ".png").convert("RGB") for name in ("jet", "viridis", "inferno", "turbo", "grey", "plain")}
names = list(pictures)
for i, x in enumerate(names):
    for y in names[i + 1:]:
        assert ImageChops.difference(pictures[x], pictures[y]).getbbox(), (x, y)
# where nothing but the pooled mean and a linear layer follow, HiResCAM agrees with Grad-CAM
reference = npy("gradcam.npy")
for name in ("hirescam.npy",):
    assert max(abs(p - q) for p, q in zip(reference, npy(name))) < 1e-3, name
P
finish
