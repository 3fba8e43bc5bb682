#!/bin/bash
# The plug-in's operators under compute-sanitizer: no access outside memory, no race in shared memory. Needs a GPU.
set -u
export CROPSHIELD_TESTS=short # each access is looked at: a hundred times as slow
tests=$CROPSHIELD_BUILD/tests/test_cuda_operators
tool=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null) || { echo "no compute-sanitizer"; exit 77; }
"$tests" >/dev/null; [ $? != 77 ] || { echo "no plug-in or no GPU"; exit 77; }
for check in memcheck racecheck; do
    "$tool" --tool "$check" --error-exitcode 1 "$tests" >"$check.log" 2>&1 || { tail -40 "$check.log"; exit 1; }
    tail -1 "$check.log"
done
