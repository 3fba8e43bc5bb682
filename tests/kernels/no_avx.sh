#!/bin/bash
# The normal build on a processor without AVX (emulated): it must choose the generic kernels, and no instruction of a later set may
# have slipped into the code that every processor runs. An illegal instruction ends the program under qemu as on the real thing.
set -u
command -v qemu-x86_64 >/dev/null && [ "$(uname -m)" = x86_64 ] || { echo "skipped: no qemu-x86_64"; exit 77; }
if nm "$CROPSHIELD" | grep -qE "__asan_init|__tsan_init"; then
    echo "skipped: sanitizer build, whose shadow memory an emulator has no room for"
    exit 77
fi
export CROPSHIELD_TESTS=short
failures=0
old() { qemu-x86_64 -cpu Nehalem "$@" 2> >(grep -v "TCG doesn't support" >&2); }

version=$(old "$CROPSHIELD" --version) || { echo "FAILED: --version"; failures=1; }
grep -q '^kernels: generic' <<<"$version" || { echo "FAILED: not the generic kernels: $version"; failures=1; }
for test in parity_logits parity_gradcam images_resample; do
    echo "== $test"
    # One network of each kind: deeper ones and larger photos repeat its steps, and their numbers are compared without an emulator.
    case $test in
    parity_gradcam) CROPSHIELD_CASE=mobilenet_v3_small ;;
    *) CROPSHIELD_CASE="cnn64 resnet18 mobilenet_v3_small efficientnet_b0" ;;
    esac
    export CROPSHIELD_CASE
    old "$CROPSHIELD_BUILD/tests/test_$test" || { echo "FAILED: $test without AVX"; failures=1; }
done
exit $failures
