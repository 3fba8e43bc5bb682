#!/bin/bash
# The benchmark beside the peers still runs, with every peer that is there: a turn of one forward pass each, nothing fetched. What it
# prints as times means nothing here; that every engine's logits are right does: a wrong one fails the run.
set -u
: "${CROPSHIELD:?}" "${CROPSHIELD_SOURCE:?}" "${CROPSHIELD_BUILD:?}"
python=/usr/bin/python3
$python -c "import numpy" 2>/dev/null || { echo "skipped: no python3-numpy"; exit 77; }
[ -x "$CROPSHIELD_BUILD/bench/bench_forward" ] || { echo "skipped: the benchmarks are not built"; exit 77; }
if nm "$CROPSHIELD" | grep -qE "__asan_init|__tsan_init"; then echo "skipped: sanitizer build"; exit 77; fi
# What a benchmark exported or fetched before is used: both take longer than a test should.
prepared=$CROPSHIELD_SOURCE/build/bench
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
exported=yes
for file in input.bin logits.bin weights.bin ranges.bin model.onnx model_int8.onnx model.pt; do
    cp "$prepared/$file" "$work" 2>/dev/null || exported=no
done
if [ $exported = no ] && ! $python -c "import torch, onnx" 2>/dev/null; then
    echo "skipped: no python3-torch"
    exit 77
fi
if [ -d "$prepared/node_modules" ]; then
    ln -s "$prepared/node_modules" "$work/node_modules"
fi
failures=0
complain() {
    failures=$((failures + 1))
    echo "FAILED: $*" >&2
}

cd "$CROPSHIELD_SOURCE" || exit 1
export BENCH_BUILD=$CROPSHIELD_BUILD BENCH_WORK=$work
bench/run --rounds 1 --iterations 1 --offline --configurations 2x1 --only "CropShield,ONNX,oneDNN,PyTorch TorchScript" reference \
    >"$work/out" 2>"$work/err" || complain "bench/run reference"
cat "$work/out"
for engine in "CropShield fp32" "CropShield fp32, AVX2" "CropShield int8, 16-bit fixed point" "CropShield int8, calibrated"; do
    grep -qE "^\| $engine \| – \| [0-9.]+ \| – \| [0-9.]+e-[0-9]+ \|" "$work/out" || complain "no row of $engine"
done
wanted=4
[ -d "$work/node_modules/onnxruntime-node" ] && command -v node >/dev/null && wanted=$((wanted + 2))
[ -x "$CROPSHIELD_BUILD/bench/bench_onednn" ] && wanted=$((wanted + 4))
$python -c "import torch, onnx" 2>/dev/null && wanted=$((wanted + 1))
rows=$(grep -cE '^\| (CropShield|ONNX|oneDNN|PyTorch) ?' "$work/out")
[ "$rows" = $wanted ] || complain "$rows rows, not $wanted"

# A wrong engine is found out: another reference.
$python - "$work/logits.bin" <<'P'
import sys
import numpy as np
path = sys.argv[1]
(np.fromfile(path, "<f4") + 1).tofile(path)
P
if bench/run --rounds 1 --iterations 1 --offline --configurations 1x1 --only "CropShield fp32" reference >/dev/null 2>"$work/err"; then
    complain "logits that are off by one pass"
fi
grep -q "too far from the reference: CropShield fp32" "$work/err" || complain "it is not said whose logits are wrong"
bench/run --nonsense >/dev/null 2>&1 && complain "an unknown option passes"
[ $failures = 0 ] || cat "$work/err" >&2
exit $((failures > 0))
