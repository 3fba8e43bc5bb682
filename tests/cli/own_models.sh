#!/bin/bash
# Models that users bring: what inspect says of each format, class names and preprocessing from the command line on every command
# that takes them, batches, several photos in one request, layers and methods of heat maps.
. "$(dirname "$0")/_lib.sh"
command -v curl >/dev/null || { echo "no curl"; exit 77; }
samples
. "$CROPSHIELD_SOURCE/tests/cli/_server.sh"
models=$CROPSHIELD_SOURCE/tests/data/models
# inspect: format, network, classes of every kind of file; convert brings each to the native file, which is the same network
inspected() { # FILE FORMAT ARCHITECTURE CLASSES
    run 0 inspect --json "$models/$1"; json "(o['format'], o['architecture'], len(o['classes'])) == ('$2', '$3', $4)"
    json "o['parameters'] > 0 and o['gmac'] > 0 and o['map_width'] > 0 and len(o['digest']) == 64"
    cp out original
    run 0 convert "$models/$1" -o converted.safetensors
    run 0 inspect --json converted.safetensors
    json "o['format'] == 'safetensors' and all(o[k] == json.load(open('original'))[k] for k in ('architecture', 'classes', 'parameters', 'gmac', 'input_size', 'gradcam_layer', 'map_width'))"
}
inspected plain.pth pytorch CropShieldCNN 5
inspected traced.pt torchscript CropShieldCNN 5
inspected native.safetensors safetensors CropShieldCNN 5
inspected resnet18.pth pytorch resnet18 6
inspected efficientnet_b0.pt torchscript efficientnet_b0 6
inspected mobilenet_v3_small.onnx onnx graph 6
inspected quantised_residual.onnx onnx graph 7
run 0 inspect "$models/resnet18.pth"; has out "resnet18"; has out "(pytorch)"; has out "layer4"; has out "class_5"
run 1 inspect "$models/legacy.pth"; has err "model_unsupported"; has err "write it again with torch.save"
# class names: metadata, a list beside the file, a list by hand, which wins
mkdir mine other
cp "$models/plain.pth" mine/model.pth; cp "$models/native.safetensors" mine/model.safetensors
cp "$models/class_to_idx_example.json" mine/class_to_idx.json
echo '{"Tomato__early_blight": 0, "Potato__healthy": 1, "c": 2, "d": 3, "e": 4}' >other/list.json
run 0 inspect --json mine/model.pth; json "[c['class'] for c in o['classes']][3] == 'Wheat__healthy'"
run 0 inspect --json --classes other/list.json mine/model.pth; json "o['classes'][0]['label'] == 'Tomato: early blight'"
run 0 inspect --json mine/model.safetensors; json "o['classes'][1]['class'] == 'Potato__late_blight'"
own="--model $models/plain.pth --classes other/list.json"
run 0 predict --json $own photos/plant1.jpg; json "{p['class'] for p in o['predictions']} <= {'Tomato__early_blight', 'Potato__healthy', 'c', 'd', 'e'}"
run 0 eval --json $own labelled; json "o['images'] == 4 and [c['class'] for c in o['per_class'] if c['images'] == 2] == ['Tomato__early_blight', 'Potato__healthy']"
run 0 quantize "$models/plain.pth" --classes other/list.json --calibration labelled --force --json -o q.safetensors; json "o['labelled'] == 4"
run 0 inspect --json q.safetensors; json "o['classes'][0]['class'] == 'Tomato__early_blight'"
echo '{"a": 0, "b": 1}' >other/short.json
run 1 predict --model "$models/plain.pth" --classes other/short.json photos/plant1.jpg; has err "model_invalid"; has err "other/short.json: there are 2 class names for 5 outputs"
# preprocessing: by flags as by the file's metadata
run 0 convert "$models/plain.pth" -o bare.safetensors
$python - <<'P'
import json, struct
data = open("bare.safetensors", "rb").read()
n = struct.unpack("<Q", data[:8])[0]
header = json.loads(data[8:8 + n])
header["__metadata__"]["preprocess"] = json.dumps({"max_size": 800, "resize": 70, "crop": 48, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3]})
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
open("told.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + data[8 + n:])
P
flags="--resize 70 --mean 0.5,0.4,0.3 --std 0.2,0.25,0.3"
same() { # FILE FILE 1|0: the same probabilities, or others
    $python -c "
import json
a, b = ([[(p['index'], round(p['probability'], 4)) for p in sorted(json.loads(l)['predictions'], key=lambda p: p['index'])] for l in open(n)] for n in ('$1', '$2'))
assert (a == b) == ($3 == 1) and len(a) == len(b) > 0, (a, b)" || complain "$1 against $2: ${4:-}"
}
ask() { run 0 predict --json --top-k 5 "$@" photos; }
ask --model told.safetensors; mv out told
ask --model bare.safetensors; mv out bare; same told bare 0 "the metadata changed nothing"
ask --model bare.safetensors $flags --crop 48; mv out flagged; same told flagged 1 "flags are not as metadata"
ask --model bare.safetensors $flags --input-size 48; mv out flagged; same told flagged 1 "--input-size is not --crop"
ask --model "$models/plain.pth" $flags --crop 48; mv out flagged; same told flagged 1 "the checkpoint with flags"
for flag in "--resize 90" "--crop 32" "--input-size 32" "--mean 0,0,0" "--std 1,1,1"; do
    ask --model told.safetensors $flag; mv out flagged; same told flagged 0 "$flag changed nothing"
done
CROPSHIELD_INPUT_SIZE=32 ask --model told.safetensors; mv out twin
ask --model told.safetensors --crop 32; same twin out 1 "the environment twin"
# convert and quantize write what the options say into the file
run 0 convert "$models/plain.pth" $flags --crop 48 --classes other/list.json -o written.safetensors
ask --model written.safetensors; mv out written; same told written 1 "convert leaves the preprocessing out"
run 0 inspect --json written.safetensors; json "o['classes'][1]['class'] == 'Potato__healthy'"
run 0 quantize "$models/plain.pth" $flags --crop 48 --calibration labelled --force -o written.safetensors
ask --model written.safetensors --precision fp32; mv out written; same told written 1 "quantize leaves the preprocessing out"
run 1 convert "$models/plain.pth" --resize 20 -o small.safetensors; has err "resized to 20, less than the crop"
run 2 predict --crop 32 --input-size 48 photos; has err "--crop 32 and --input-size 48"
run 1 predict --json --model "$models/resnet18.onnx" --input-size 96 photos; has err "takes inputs of 64x64, not 96x96"
run 0 eval --json --model bare.safetensors $flags --crop 48 --classes other/list.json labelled; cp out eval-flags
run 0 eval --json --model told.safetensors --classes other/list.json labelled
$python -c "
import json
a, b = (json.load(open(n)) for n in ('eval-flags', 'out'))
assert a['ece'] == b['ece'] and a['confusion'] == b['confusion']" || complain "eval does not take the flags"
run 0 inspect --json --input-size 96 "$models/resnet18.pth"; json "o['input_size'] == 96 and o['map_width'] == 3"
# batches: the same answers, and photos of one batch are told the same share of one pass
for model in resnet18.onnx mobilenet_v3_small.onnx resnet50.pth efficientnet_b0.pt quantised.onnx; do
    ask --model "$models/$model" --batch 1; cp out alone
    ask --model "$models/$model" --batch 4; same alone out 1 "$model in a batch"
    json "len({l['timings_ms']['inference'] for l in lines}) == 1"
done
# several photos in one request, by names and preprocessing of flags
echo '{"a": 0, "b": 1, "c": 2, "d": 3, "e": 4, "f": 5}' >six.json
start --model "$models/resnet18.onnx" --classes six.json --mean 0.4,0.4,0.4
curl -s "$url/api/v1/predict?top_k=5" -F image=@photos/plant1.jpg -F image=@photos/plant2.jpg -F image=@photos/plant3.jpg \
    -F image=@photos/plant4.jpg >answer
stop
$python -c "
import json
for r in json.load(open('answer'))['results']: print(json.dumps(r))" >served
ask --model "$models/resnet18.onnx" --classes six.json --mean 0.4,0.4,0.4
same served out 1 "the server against predict"
has served '"class": "f"'
# who asks /v2 for no output by name gets those that the network has: this one has no pooled features
start --model "$models/mobilenet_v3_small.onnx"
curl -s "$url/v2/models/mobilenet_v3_small" >out; json "[t['name'] for t in o['outputs']] == ['probabilities', 'logits', 'cam']"
curl -s -H 'Inference-Header-Content-Length: 0' --data-binary @leaf.png "$url/v2/models/mobilenet_v3_small/infer" >out
json "[t['name'] for t in o['outputs']] == ['probabilities', 'logits', 'cam']"
curl -s -d '{"inputs":[{"name":"IMAGE","datatype":"BYTES","shape":[1],"data":["'"$(base64 -w0 photos/plant1.jpg)"'"]}],"outputs":[{"name":"embedding"}]}' \
    "$url/v2/models/mobilenet_v3_small/infer" >out
json "'no output embedding' in o['error']"
stop
# heat maps: the layer by default and by name, every method
made=0
map() { # SIDE ARGS…
    made=$((made + 1))
    echo "map$made.npy $1 ${*:2}" >>maps
    run 0 explain --raw map$made.npy --class 1 "${@:2}" leaf.png
}
map 7 --model "$models/resnet18.pth"
map 7 --model "$models/resnet18.pth" --target-layer layer4; cmp -s map1.npy map2.npy || complain "layer4 is not the default of resnet18"
map 14 --model "$models/resnet18.pth" --target-layer layer3
map 28 --model "$models/resnet50.pt" --target-layer layer2.3.conv2
map 14 --model "$models/mobilenet_v2.pth" --target-layer features.10
map 2 --model "$models/resnet18.onnx"
for method in gradcam gradcam++ hirescam layercam eigencam ablationcam; do
    map 7 --model "$models/mobilenet_v3_small.pth" --method $method
    map 14 --model "$models/vgg11_bn.pt" --method $method
done
$python - <<'P' || complain "a map is not what it should be"
import ast, struct
for line in open("maps"):
    name, side, _ = line.split(" ", 2)
    data, side = open(name, "rb").read(), int(side)
    n = struct.unpack("<H", data[8:10])[0]
    assert ast.literal_eval(data[10:10 + n].decode())["shape"] == (side, side), line
    values = struct.unpack(f"<{side * side}f", data[10 + n:])
    assert min(values) == 0 and max(values) in (0, 1), line
P
# convert and quantize write the layer into the file, where later commands find it
layered() { # MODEL LAYER SIDE
    run 0 explain --raw asked.npy --class 1 --model "$1" --target-layer "$2" leaf.png
    run 0 explain --raw usual.npy --class 1 --model "$1" leaf.png
    cmp -s asked.npy usual.npy && complain "$2 of $1 is where maps are taken anyway"
    run 0 convert "$1" --target-layer "$2" -o layered.safetensors
    run 0 convert layered.safetensors -o again.safetensors
    cmp -s layered.safetensors again.safetensors || complain "a converted file does not convert to itself"
    run 0 inspect --json again.safetensors; json "(o['gradcam_layer'], o['map_width']) == ('$2', $3)"
    run 0 explain --raw kept.npy --class 1 --model again.safetensors leaf.png
    cmp -s asked.npy kept.npy || complain "the converted file of $1 has another map than $2"
}
layered "$models/resnet18.pth" layer3 14
layered "$models/resnet18.onnx" /layer3 4
run 0 predict --gradcam pictures --model again.safetensors leaf.png; cp pictures/*.png kept.png
run 0 predict --gradcam pictures --model "$models/resnet18.onnx" --target-layer /layer3 leaf.png; cmp -s pictures/*.png kept.png || complain "predict --gradcam"
run 0 quantize "$models/plain.pth" --target-layer block3 --calibration labelled --force -o layered.safetensors
run 0 inspect --json layered.safetensors; json "o['gradcam_layer'] == 'block3'"
run 1 convert "$models/resnet18.pth" --target-layer layer9 -o none.safetensors; has err "no layer 'layer9'"; [ ! -e none.safetensors ] || complain "a file was written"
run 1 explain --raw map.npy --model "$models/resnet18.pth" --target-layer layer9 leaf.png; has err "not_found"; has err "layer9"
run 1 explain --raw map.npy --model "$models/resnet18.pth" --target-layer fc leaf.png; has err "fc"
finish
