#!/bin/bash
# Help on every level, version, and exit status 2 for wrong usage with the reason on stderr and nothing on stdout.
. "$(dirname "$0")/_lib.sh"
run 0 --help; has out "usage: cropshield COMMAND"; empty err
run 2; has err "usage: cropshield COMMAND"; empty out
run 2 nonsense; has err "unknown command 'nonsense'"; empty out
for command in predict explain serve bench eval convert inspect doctor quantize; do
    has <("$CROPSHIELD" --help) "  $command"
    run 0 $command --help; has out "usage: cropshield $command"; has out "CROPSHIELD_MAX_SIZE"; empty err
    run 2 $command --no-such-option; has err "unknown option --no-such-option"; empty out
done
run 0 help predict; has out "usage: cropshield predict"
run 2 help nonsense; has err "unknown command 'nonsense'"
run 0 --version
for word in "cropshield 1." "compiler: " "libjpeg" "libpng" "libmicrohttpd 0." "kernels: "; do has out "$word"; done
run 2 predict; has err "missing: PATH"
run 2 predict --top-k; has err "missing value after --top-k"
run 2 predict --top-k three x.jpg; has err "'three' is not a number"
run 2 predict --top-k 0 x.jpg; has err "out of range"
run 2 predict --top-k=1.5 x.jpg; has err "not a whole number"
run 2 bench --iterations 0; has err "out of range, 1 to 1000000"
run 2 predict --json=maybe x.jpg; has err "'maybe' is none of"
run 2 predict -jx x.jpg; has err "unknown option -jx"
run 2 predict -jk; has err "missing value after -jk"
run 1 predict -jk3 x.jpg; has out '"code":"not_found"'
run 1 predict -jk 3 x.jpg; has out '"code":"not_found"'
run 1 predict -- --help; has err "--help: not_found"
run 2 predict --device gpu x.jpg; has err "--device: 'gpu' is none of"
run 2 predict --precision fp64 x.jpg; has err "--precision: 'fp64'"
run 2 predict --decode quick x.jpg; has err "--decode: 'quick'"
run 2 predict --mean 1,2 x.jpg; has err "--mean"
run 2 predict --std 1,0,1 x.jpg; has err "--std"
run 2 serve extra; has err "takes no argument"
run 2 explain a.jpg; has err "explain needs -o FILE or --raw FILE"
run 2 explain -o o.png --colormap pink a.jpg; has err "pink"
run 2 explain -o o.png --alpha 2 a.jpg; has err "out of range"
run 2 convert model.pth; has err "convert needs -o"
CROPSHIELD_TOP_K=many run 2 predict x.jpg; has err "CROPSHIELD_TOP_K"
run 1 predict --cpu-mask abacus x.jpg; has err "abacus"
finish
