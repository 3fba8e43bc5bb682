#!/bin/bash
# --device: with a plug-in beside the program (a device in plain C stands in for a GPU) and without one; which commands take it by themselves.
. "$(dirname "$0")/_lib.sh"
command -v curl >/dev/null || { echo "no curl"; exit 77; }
samples
. "$CROPSHIELD_SOURCE/tests/cli/_server.sh"
plugins=$CROPSHIELD_BUILD/tests/plugins
plain=$CROPSHIELD
mkdir bin
ln "$plain" bin/cropshield 2>/dev/null || cp "$plain" bin/cropshield
with() { cp -f "$plugins/$1/libcropshield_cuda.so" bin/; }
# A device in plain C takes a second for a photo of the small network: where any network will do, one of the tests' own.
tiny=$CROPSHIELD_SOURCE/tests/data/models/native.safetensors
export CROPSHIELD_MODEL=lite

# no plug-in: the CPU, and whoever insists is told where it was looked for
export CROPSHIELD=$work/bin/cropshield
run 0 predict --json leaf.png; json "o['model']['device'] == 'cpu'"; cp out on-cpu
run 0 doctor; has out "ok    gpu        none usable, everything runs on the CPU: no plug-in: libcropshield_cuda.so is not in '$work/bin', "
for wanted in "--device cuda" "--device cuda:1" "--precision fp16" "--precision bf16"; do
    run 1 predict $wanted leaf.png; has err "model_unsupported"; has err "libcropshield_cuda.so is not in '$work/bin'"; empty out
done
run 1 predict --device cpu --precision fp16 leaf.png; has err "need device cuda"
# neither the current folder nor the environment has a say
cp "$plugins/right/libcropshield_cuda.so" .
LD_LIBRARY_PATH=$work run 1 predict --device cuda leaf.png; has err "is not in"
rm libcropshield_cuda.so

export CROPSHIELD_MODEL=$tiny
# one that is of no use
with old
run 1 predict --device cuda leaf.png; has err "'$work/bin/libcropshield_cuda.so' is of another version: its interface is number 77"
run 0 doctor; has out "warn  gpu        none usable, everything runs on the CPU: '$work/bin/libcropshield_cuda.so' is of another version"
run 0 bench --stage inference --warmup 0 --iterations 1 --json; json "o['device'] == 'cpu'"

# one with room for the weights and for nothing else: found out when the model is loaded
with full
run 0 bench --stage inference --warmup 0 --iterations 1 --json; json "o['device'] == 'cpu'"
run 1 predict --device cuda leaf.png; has err "the device's memory is full"

# one that works, in ../lib/cropshield as installed, then beside the program
rm bin/libcropshield_cuda.so
mkdir -p lib/cropshield
cp "$plugins/right/libcropshield_cuda.so" lib/cropshield
run 0 doctor; has out "ok    gpu        Reference device, 2.0 GiB, cuda_reference kernels"; has out "a forward pass runs (cuda, fp16, cuda_reference)"
rm -r lib
with right
export CROPSHIELD_MODEL=lite
run 0 predict --device cuda --json leaf.png
json "o['model']['device'] == 'cuda' and o['model']['precision'] == 'fp16'"
cp out on-gpu
$python - <<'P' || complain "the device and the CPU do not agree"
import json
a, b = (json.load(open(n)) for n in ("on-cpu", "on-gpu"))
assert [p["class"] for p in a["predictions"]] == [p["class"] for p in b["predictions"]], (a, b)
assert all(abs(x["probability"] - y["probability"]) < 0.02 for x, y in zip(a["predictions"], b["predictions"])), (a, b)
P
for precision in fp32 bf16; do
    run 0 predict --device cuda --precision $precision --json leaf.png; json "o['model']['precision'] == '$precision'"
    cmp -s <($python -c "import json; print(json.load(open('on-cpu'))['predictions'][0]['class'])") \
        <($python -c "import json; print(json.load(open('out'))['predictions'][0]['class'])") || complain "another class in $precision"
done
run 1 predict --device cuda --precision int8 leaf.png; has err "model_unsupported: int8 runs on the CPU only: use fp16, bf16 or fp32 on cuda, or device cpu"
run 1 predict --device cuda:5 leaf.png; has err "model_unsupported: cuda:5: no device has this index: there is one"
run 0 eval --device cuda --json labelled; json "o['images'] == 4"; cp out eval-gpu
run 0 eval --device cpu --json labelled
cmp -s <($python -c "import json; print(json.load(open('eval-gpu'))['confusion'])") <($python -c "import json; print(json.load(open('out'))['confusion'])") || complain "eval finds other classes"

export CROPSHIELD_MODEL=$tiny
run 0 predict --precision fp16 --json leaf.png; json "o['model']['device'] == 'cuda'" # nothing else has it
run 0 predict --device cuda --gradcam maps leaf.png; [ -s maps/leaf_gradcam.png ] || complain "no heat map"
run 0 explain --device cuda -o map.png leaf.png; [ -s map.png ] || complain "no heat map by explain"
# auto: commands that stay take the device, a few photos do not
run 0 bench --stage inference --warmup 0 --iterations 1 --layers --json
json "o['device'] == 'cuda' and o['precision'] == 'fp16' and o['layers'][0]['algorithm'] == 'cuda_reference_fp16' and o['layers'][0]['percent_of_peak'] is None and o['layers'][1]['percent_of_peak'] >= 0"
run 0 bench --stage inference --warmup 0 --iterations 1 --layers; has out "cuda_reference_fp16"; has out " - GPU"
run 0 bench --stage inference --warmup 0 --iterations 1 --precision int8 --json; json "o['device'] == 'cpu'"
run 0 bench --stage inference --warmup 0 --iterations 1 --device cpu --json; json "o['device'] == 'cpu'"
run 0 predict --json leaf.png; json "o['model']['device'] == 'cpu'"
run 0 explain -o map.png leaf.png
for i in $(seq 10 26); do cp photos/plant1.jpg photos/many$i.jpg; done
run 0 predict --json photos/many*.jpg; json "len(lines) == 17 and all(l['model']['device'] == 'cuda' for l in lines)"
run 0 predict --json photos/many1?.jpg photos/many2[0-5].jpg; json "len(lines) == 16 and all(l['model']['device'] == 'cpu' for l in lines)"

# serve: by itself, with everything around it
start --cache-file cache.db
curl -s "$url/api/v1/status" >status
[ "$(field "(o['device'], o['device_name'], o['precision'], o['kernels']) == ('cuda', 'Reference device', 'fp16', 'cuda_reference')" <status)" = True ] || complain "status: $(cat status)"
curl -s "$url/metrics" | grep -q 'cropshield_model_info{.*precision="fp16",device="cuda",kernels="cuda_reference"' || complain "no device in the metrics"
curl -sf "$url/api/v1/predict" --data-binary @leaf.png >answer || complain "no answer"
[ "$(field "(o['model']['device'], o['cache']['prediction'])" <answer)" = "('cuda', 'miss')" ] || complain "answer: $(cat answer)"
id=$(field "o['id']" <answer)
curl -sf "$url/api/v1/images/$id/gradcam" -o served.png || complain "no heat map is served"
stop
start --cache-file cache.db --device cpu # what a device computed is no answer of the CPU
[ "$(curl -s "$url/api/v1/predict" --data-binary @leaf.png | field "(o['model']['device'], o['cache']['prediction'])")" = "('cpu', 'miss')" ] || complain "the CPU serves the device's answer"
stop
finish
