#!/bin/bash
# Runs the whole training pipeline on 32 generated pictures with tiny settings on the CPU, and reloads what it exported.
# Needs python3 with torch, numpy and Pillow (python 3.11 or newer); says SKIP and exits 77 where they are missing.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
python=
for candidate in "${PYTHON:-}" /usr/bin/python3 python3; do
    if [ -n "$candidate" ] && "$candidate" -c 'import torch, numpy, PIL, tomllib' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "SKIP training smoke test: no python3 with torch, numpy, Pillow and tomllib"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH="$root/training" PYTHONDONTWRITEBYTECODE=1
run() { "$python" -m cropshield "$@" >>"$work/log" 2>&1 || { cat "$work/log"; echo "FAIL: cropshield $*"; exit 1; }; }

"$python" "$root/tests/training/make_photos.py" "$work/data"
run prepare "$work/data" "$work/cache" --workers 2
cd "$root/tests/training"
run train smoke_teacher.toml "$work/cache" "$work/out" --device cpu
teachers=("$work/out/smoke_teacher.weights.pt" "$work/out/smoke_teacher.weights.pt")
run train smoke.toml "$work/cache" "$work/out" --device cpu --teacher "${teachers[@]}"
run train smoke.toml "$work/cache" "$work/out" --device cpu --teacher "${teachers[@]}" --resume
run train smoke_finish.toml "$work/cache" "$work/more" --device cpu --start "$work"/out/cropshield_*.weights.pt
run average "$work/more/mean.weights.pt" "$work/out/cropshield_cnn.weights.pt" "$work/more/cropshield_cnn.weights.pt" \
    --cache "$work/cache"
for name in cropshield_cnn cropshield_lite; do
    run refit "$work/out/$name.weights.pt" "$work/cache" "$work/out/$name.refit.pt" --count 16
    run calibrate "$work/out/$name.refit.pt" "$work/cache" "$work/calibration" --each 2 --scenes 4
    run export "$work/out/$name.refit.pt" "$work/calibration" "$work/models"
    run evaluate "$work/models/$name.safetensors" "$work/cache" "$work/results"
    run export "$work/out/$name.refit.pt" "$work/calibration" "$work/models" --results "$work/results/$name.results.json"
    run attention "$work/models/$name.safetensors" "$work/cache" --split test
done
run curves "$work/out/smoke.record.json" "$work/results/smoke.curves.png"
"$python" "$root/tests/training/check_export.py" "$work"
echo "PASS training smoke test (${SECONDS} s)"
