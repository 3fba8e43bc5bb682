#!/bin/bash
# quantize: compares the fast precision with float32 and writes a file that vouches for it, which --precision auto then takes.
. "$(dirname "$0")/_lib.sh"
samples
run 2 quantize embedded; has err "quantize needs --calibration DIR and -o"
run 1 quantize embedded --calibration nowhere -o q.safetensors
if ! "$CROPSHIELD" doctor | grep -q avx512vnni; then
    run 1 quantize embedded --calibration labelled -o q.safetensors; has err "model_unsupported"
    echo "no VNNI on this CPU: the fast precision cannot run"
    finish
fi
run 0 quantize embedded --calibration labelled -o q.safetensors --json
json "o['photos'] == 4 and o['labelled'] == 4 and o['same_top1'] >= 3 and o['probability_change'] < 0.02"
run 0 inspect --json q.safetensors
json "o['precision'] == 'int8' and o['metadata']['vouched_precision'] == 'int8'"
run 0 inspect --json --precision fp32 q.safetensors; json "o['precision'] == 'fp32'"
run 0 inspect --json --cpu-mask avx2 q.safetensors; json "o['precision'] == 'fp32'"
run 0 predict --json --model q.safetensors photos/plant1.jpg; json "o['model']['precision'] == 'int8'"
run 0 predict --json photos/plant1.jpg; json "o['model']['precision'] == 'fp32'"
# a loss over the bound writes nothing, unless forced
run 0 quantize embedded --calibration photos -o unlabelled.safetensors; has out "same top class"
rm -f no.safetensors
run 1 quantize embedded --calibration folder-that-is-not-there -o no.safetensors
[ ! -e no.safetensors ] || complain "written after a failure"
finish
