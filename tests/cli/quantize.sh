#!/bin/bash
# quantize: calibrates INT8, compares it with float32 and writes a file that vouches for it, which --precision auto then takes where
# the CPU has dot products of bytes.
. "$(dirname "$0")/_lib.sh"
samples
models=$CROPSHIELD_SOURCE/tests/data/models
# The network whose file most of this is about: the small one where tests are to be short; its steps are of the same kinds.
network=embedded
[ "${CROPSHIELD_TESTS:-}" != short ] || network=lite
run 2 quantize embedded; has err "quantize needs --calibration DIR and -o OUT.safetensors"
run 1 quantize embedded --calibration nowhere -o q.safetensors
run 2 quantize embedded --calibration labelled --method magic -o q.safetensors; has err "--method: 'magic' is none of minmax, percentile, mse, fixed"
run 0 quantize $network --calibration labelled -o q.safetensors --json
json "o['photos'] == 4 and o['labelled'] == 4 and o['same_top1'] >= 3 and o['probability_change'] < 0.02"
json "abs(o['top1_fp32'] - o['top1_int8'] - o['top1_drop_points']) < 1e-3"
run 0 inspect --json --precision int8 q.safetensors
json "o['precision'] == 'int8' and o['metadata']['vouched_precision'] == 'int8' and 'scales' in o['metadata']['int8']"
run 0 inspect --json --precision fp32 q.safetensors; json "o['precision'] == 'fp32'"
run 0 inspect --json --cpu-mask avx2 q.safetensors; json "o['precision'] == 'fp32'"
run 0 predict --json --precision int8 --model q.safetensors photos/plant1.jpg; json "o['model']['precision'] == 'int8'"
run 0 predict --json --model $network photos/plant1.jpg; json "o['model']['precision'] == 'fp32'"
# the same bytes on every instruction set, so the same digits
for mask in all avx512vnni avx2; do
    run 0 predict --json --precision int8 --cpu-mask $mask --model q.safetensors photos/plant1.jpg; cp out $mask
    json "(lambda a: a['predictions'] == o['predictions'] and len(a['predictions']) > 1)(json.load(open('all')))"
done
# a file with scales is calibrated anew; the same photos give the same file
run 0 quantize q.safetensors --calibration labelled -o twice.safetensors
run 0 inspect --json q.safetensors; cp out once; run 0 inspect --json twice.safetensors
json "(lambda a: a['metadata']['int8'] == o['metadata']['int8'] and a['metadata']['digest'] == o['metadata']['digest'])(json.load(open('once')))"
# the written file converts and keeps its scales; float32 lost nothing
run 0 convert q.safetensors -o again.safetensors
run 0 inspect --json --precision int8 again.safetensors; json "o['precision'] == 'int8'"
# maps work on integers, and are close to float32's
run 0 explain --precision fp32 --model q.safetensors --raw fp32.npy -o fp32.png photos/plant1.jpg
run 0 explain --precision int8 --model q.safetensors --raw int8.npy -o int8.png photos/plant1.jpg
$python -c "
import numpy as np
a, b = np.load('fp32.npy'), np.load('int8.npy')
assert a.shape == b.shape and a.max() == 1 and abs(a - b).mean() < 0.05 and abs(a - b).max() > 0, abs(a - b).mean()" ||
    complain "the map of INT8 is not float32's, nearly"
# every method, the other model, checkpoints and ONNX; a report
for method in minmax percentile; do
    run 0 quantize lite --calibration labelled --method $method --force -o $method.safetensors; has out "same top class"; hasnt out "-0.00 points"
done
run 0 quantize "$models/plain.pth" --calibration photos --force --report -o pth.safetensors; has out "signal to noise"
run 0 quantize "$models/mobilenet_v3_small.onnx" --calibration photos --force --report --json -o onnx.safetensors
json "all(l['snr_db'] > 10 for l in o['layers']) and len(o['layers']) > 20 and lines[1]['photos'] > 0"
# a photo that fails is named, does not stop the rest and is told by the exit status
mkdir -p some; cp photos/plant1.jpg some; cp notes.jpg some/notes.jpg
run 1 quantize "$models/plain.pth" --calibration some --force -o some.safetensors
has err "some/notes.jpg: unsupported_format"; has out "1 photo, same top class"; [ -e some.safetensors ] || complain "one bad photo stopped the rest"
if command -v script >/dev/null; then # nor does it take the progress bar away on a terminal
    cp notes.jpg some/0.jpg
    script -qec "'$CROPSHIELD' quantize '$models/plain.pth' --calibration some --force -o some.safetensors >figures" /dev/null </dev/null >terminal &&
        complain "quantize with bad photos ended with 0"
    has terminal "0.jpg: unsupported_format"; has terminal "fp32 ["; has terminal "int8 ["
else
    echo "left out: progress on a terminal (no script)"
fi
run 0 inspect --json --precision int8 onnx.safetensors; json "o['precision'] == 'int8'"
run 1 quantize "$models/quantised_residual.onnx" --calibration photos -o no.safetensors; has err "quantised already"
# a loss over the bound writes nothing, unless forced
run 0 quantize lite --calibration photos -o unlabelled.safetensors --max-drop 100; has out "same top class"
run 1 quantize lite --calibration photos --method percentile --percentile 51 --no-bias-correction -o no.safetensors
has err "nothing is written"
run 1 quantize embedded --calibration folder-that-is-not-there -o no.safetensors
[ ! -e no.safetensors ] || complain "written after a failure"
ls ./*.trial-* >/dev/null 2>&1 && complain "a trial file is left"
run 0 quantize lite --calibration photos --method percentile --percentile 51 --force -o forced.safetensors
[ -e forced.safetensors ] || complain "--force wrote nothing"
if ! "$CROPSHIELD" doctor | grep -q avx512vnni; then
    run 1 quantize embedded --calibration labelled --method fixed -o f.safetensors; has err "model_unsupported"
    echo "no VNNI on this CPU: the fixed-point precision cannot run"
    finish
fi
run 0 inspect --json q.safetensors; json "o['precision'] == 'int8'"
run 0 quantize embedded --calibration labelled --method fixed --force -o f.safetensors
run 0 inspect --json f.safetensors; json "o['precision'] == 'int8' and 'int8' not in o['metadata']"
# what quantisation tools elsewhere made runs in integers by itself
run 0 inspect --json "$models/quantised_residual.onnx"; json "o['precision'] == 'int8'"
finish
