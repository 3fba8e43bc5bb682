#!/bin/bash
# The public header compiles alone, as C99, C11 and C++17, with every warning as an error and by each compiler at hand.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
flags="-Wall -Wextra -Wpedantic -Werror -I$CROPSHIELD_SOURCE/include -fsyntax-only"
echo '#include <cropshield/cropshield.h>' >"$work/alone.c"
cp "$work/alone.c" "$work/alone.cpp"
compiled=0
for cc in gcc clang; do
    command -v $cc >/dev/null || continue
    for standard in c99 c11; do
        $cc -std=$standard $flags -Wstrict-prototypes -Wshadow "$work/alone.c"
        compiled=$((compiled + 1))
    done
done
for cxx in g++ clang++; do
    command -v $cxx >/dev/null || continue
    # A compiler without its standard library's headers (clang++ without libstdc++) tells nothing about ours.
    echo '#include <cstddef>' >"$work/probe.cpp"
    $cxx -std=c++17 -fsyntax-only "$work/probe.cpp" 2>/dev/null || continue
    $cxx -std=c++17 $flags "$work/alone.cpp"
    compiled=$((compiled + 1))
done
echo "$compiled compilations"
[ $compiled -ge 3 ]
