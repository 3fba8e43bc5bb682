#!/bin/bash
# A forward pass costs the instructions that instructions.txt says, give or take 3 %: what makes the engine slower shows here, on
# every machine alike, where a stop-watch would show the weather. One thread and AVX2, because valgrind knows no AVX-512.
#
# After a change that is meant to cost or save instructions:  CROPSHIELD_RENEW=1 ctest --test-dir build/ci -R speed.instructions
set -u
: "${CROPSHIELD:?}" "${CROPSHIELD_SOURCE:?}"
command -v valgrind >/dev/null || { echo "skipped: no valgrind"; exit 77; }
grep -qw avx2 /proc/cpuinfo || { echo "skipped: no AVX2"; exit 77; }
if nm "$CROPSHIELD" | grep -qE "__asan_init|__tsan_init"; then echo "skipped: sanitizer build"; exit 77; fi
list=$CROPSHIELD_SOURCE/tests/speed/instructions.txt

# instructions MODEL ITERATIONS: of a whole run
instructions() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$CROPSHIELD" bench --model "$CROPSHIELD_SOURCE/tests/data/models/$1" \
        --stage inference --warmup 0 --iterations "$2" --threads 1 --cpu-mask avx2 --precision fp32 --json 2>&1 >/dev/null |
        sed -n 's/.*I *refs: *//p' | tr -d ,
}

failures=0 renewed=
while read -r model wanted; do
    case $model in '' | '#'*) renewed+="$model${wanted:+ $wanted}"$'\n'; continue ;; esac
    few=$(instructions "$model" 1) many=$(instructions "$model" 5)
    if [ -z "$few" ] || [ -z "$many" ]; then echo "FAILED: $model does not run under valgrind"; exit 1; fi
    got=$(((many - few) / 4)) # start-up and packing are in both
    off=$(((got - wanted) * 1000 / wanted))
    echo "$model: $got instructions a pass, stored $wanted ($off per mille)"
    renewed+="$model $got"$'\n'
    if [ $off -gt 30 ] || [ $off -lt -30 ]; then
        failures=$((failures + 1))
        echo "FAILED: more than 3 % away; if that is meant: see the head of tests/speed/instructions.sh"
    fi
done <"$list"
if [ -n "${CROPSHIELD_RENEW:-}" ]; then
    printf %s "$renewed" >"$list"
    exit 0
fi
exit $((failures > 0))
