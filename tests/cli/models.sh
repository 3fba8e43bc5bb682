#!/bin/bash
# inspect, convert, --model: the native file, class names, and bad model files that are named and never executed.
. "$(dirname "$0")/_lib.sh"
samples
model=$CROPSHIELD_SOURCE/models/cropshield_cnn.safetensors
run 0 inspect embedded; has out "CropShieldCNN"; has out "10.26"; has out "  file digest "; has out "  data digest "; hasnt out "  digest "; has out "Tomato: early blight"; has out "untested"
run 0 inspect --json "$model"
json "o['architecture'] == 'CropShieldCNN' and len(o['classes']) == 22 and abs(o['gmac'] - 10.26) < 0.05 and o['format'] == 'safetensors'"
for figure in temperature gmac load_ms; do # no more digits than they are worth
    grep -qE "\"$figure\":[0-9]{1,6}(\.[0-9]{1,5})?[,}]" out || complain "$figure: $(grep -oE "\"$figure\":[^,]*" out)"
done
json "all(len(str(o[k]).replace('.', '').lstrip('0')) <= 6 for k in ('temperature', 'gmac', 'load_ms'))"
json "o['digest'] == __import__('hashlib').blake2b(open('$model','rb').read(), digest_size=32).hexdigest()"
cp "$model" $'m\xff.safetensors'; run 0 inspect --json $'m\xff.safetensors'; json "o['path'] == 'm\ufffd.safetensors' and len(o['classes']) == 22"
run 0 convert "$model" -o copy.safetensors
run 0 predict --json photos/plant1.jpg; cp out embedded
run 0 predict --json --model copy.safetensors photos/plant1.jpg
$python - <<'P' || complain "the converted model answers differently"
import json
a, b = (json.loads(open(n).readline())["predictions"] for n in ("embedded", "out"))
assert [p["index"] for p in a] == [p["index"] for p in b] and abs(a[0]["probability"] - b[0]["probability"]) < 1e-5
P
$python - "$model" <<'P'
import io, json, pickle, struct, sys, zipfile
data = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", data[:8])[0]
open("short.safetensors", "wb").write(data[:len(data) // 2])
open("lying-header.safetensors", "wb").write(struct.pack("<Q", 1 << 60) + data[8:])
header = json.loads(data[8:8 + n])
name = next(k for k in header if k != "__metadata__")
header[name]["data_offsets"] = [0, 1 << 62]
text = json.dumps(header).encode()
open("lying-offsets.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + data[8 + n:])
class Evil:
    def __reduce__(self):
        import os
        return (os.system, ("touch executed",))
with zipfile.ZipFile("evil.pth", "w", zipfile.ZIP_STORED) as z:
    z.writestr("archive/data.pkl", pickle.dumps({"model_state_dict": Evil()}, protocol=2))
    z.writestr("archive/version", "3\n")
open("text.pth", "w").write("no model at all\n")
open("empty.onnx", "w").close()
P
for file in short.safetensors lying-header.safetensors lying-offsets.safetensors evil.pth text.pth empty.onnx; do
    run 1 inspect $file; has err "$file"; has err "model_invalid"
    run 1 predict --model $file photos/plant1.jpg; empty out
done
run 1 inspect evil.pth; has err "system"
[ ! -e executed ] || complain "a pickle was executed"
run 1 predict --model nowhere.safetensors photos/plant1.jpg; has err "not_found"
# names and metadata that could steer a terminal
$python - "$CROPSHIELD_SOURCE/tests/data/models/native.safetensors" <<'P'
import json, struct, sys
data = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", data[:8])[0]
def write(name, **members):
    header = json.loads(data[8:8 + n])
    header["__metadata__"].update(members)
    text = json.dumps(header).encode()
    open(name, "wb").write(struct.pack("<Q", len(text)) + text + data[8 + n:])
write("steers.safetensors", classes=json.dumps(["a\u001b[31m", "b", "c", "d", "e"]))
write("notes.safetensors", notes="\u001b[2Jgone\n" + "ü" * 60)
P
run 1 inspect steers.safetensors; has err "the name of class 0"
run 0 inspect notes.safetensors; hasnt out $'\033'; has out "?[2Jgone?ü"; $python -c "open('out', encoding='utf-8').read()" || complain "a character was cut"
run 0 doctor; has out "ok    model"; has out "kernels"; hasnt out "fail"
run 1 doctor --model evil.pth; has out "fail"
run 1 doctor --cache-file .; has out "fail  cache"; run 1 doctor --cache-file nowhere/c.db; run 0 doctor --cache-file new.db; has out "new.db (would be made)"; [ ! -e new.db ] || complain "the doctor made new.db"
finish
