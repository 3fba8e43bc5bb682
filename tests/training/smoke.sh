#!/bin/bash
# Runs the whole training pipeline on 36 generated pictures with tiny settings on the CPU, and reloads what it exported.
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
# One thread: other tests run beside this one, and threads of torch that wait for each other take their turns.
export PYTHONPATH="$root/training" PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1

"$python" "$root/tests/training/make_photos.py" "$work/data"
cd "$root/tests/training"
teachers="$work/out/smoke_teacher.weights.pt $work/out/smoke_teacher.weights.pt"
more=$work/more
{
    cat <<EOF
prepare $work/data $work/cache --workers 2
train smoke_teacher.toml $work/cache $work/out --device cpu
train smoke.toml $work/cache $work/out --device cpu --teacher $teachers
train smoke.toml $work/cache $work/out --device cpu --teacher $teachers --resume
train smoke_finish.toml $work/cache $more --device cpu --start $work/out/cropshield_cnn.weights.pt $work/out/cropshield_lite.weights.pt
EOF
    # Correcting class outputs and judging by changed photos is the same code for every network: once, on the small one, in which a
    # forward pass takes a twentieth of the time. The large one goes on from the mean of two trained ones.
    echo "average $more/cropshield_cnn.mean.pt $more/cropshield_cnn.weights.pt $work/out/cropshield_cnn.weights.pt"
    echo "average $more/cropshield_lite.mean.pt $more/cropshield_lite.weights.pt $work/out/cropshield_lite.weights.pt --cache $work/cache"
    echo "refit $work/out/cropshield_lite.weights.pt $work/cache $work/out/cropshield_lite.refit.pt --count 16"
    echo "health $work/out/cropshield_lite.refit.pt $work/cache $more/cropshield_lite.health.pt --count 16"
    echo "reuse $more/cropshield_cnn.mean.pt $work/out/cropshield_lite.weights.pt $work/cache $more/cropshield_cnn.reuse.pt"
    echo "diverge $work/out/cropshield_lite.refit.pt $more/cropshield_lite.health.pt $work/out/cropshield_lite.weights.pt $work/cache"
    for trained in $more/cropshield_cnn.reuse.pt $more/cropshield_lite.health.pt; do
        name=$(basename "$trained") name=${name%%.*}
        cat <<EOF
calibrate $trained $work/cache $work/calibration --each 2 --scenes 4
export $trained $work/calibration $work/models
evaluate $work/models/$name.safetensors $work/cache $work/results
export $trained $work/calibration $work/models --results $work/results/$name.results.json
attention $work/models/$name.safetensors $work/cache --split test
EOF
    done
    echo "curves $work/out/smoke.record.json $work/results/smoke.curves.png"
} >"$work/commands"
"$python" commands.py <"$work/commands" >"$work/log" 2>&1 || { cat "$work/log"; echo "FAIL: the last command above"; exit 1; }
"$python" "$root/tests/training/check_export.py" "$work"
"$python" "$root/tests/training/check_segment.py"
"$python" "$root/tests/training/check_guide.py"
"$python" "$root/tests/training/check_health.py"
"$python" "$root/tests/training/check_reuse.py"
"$python" "$root/tests/training/check_gate.py"
"$python" "$root/tests/training/check_cache.py"
"$python" "$root/tests/training/check_grounds.py"
"$python" "$root/tests/training/check_relief.py"
echo "PASS training smoke test (${SECONDS} s)"
