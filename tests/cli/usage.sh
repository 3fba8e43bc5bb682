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
run 2 help predict x; has err "one argument too many: x"; empty out
run 0 predict -jh; has out "usage: cropshield predict"
run 0 --version
for word in "cropshield 1." "compiler: " "libjpeg" "libpng" "libexif 0." "libmicrohttpd 0." "kernels: "; do has out "$word"; done
run 2 predict; has err "missing: PATH"
run 2 predict --top-k; has err "missing value after --top-k"
run 2 predict --top-k three x.jpg; has err "'three' is not a number"
run 2 predict --top-k 0 x.jpg; has err "out of range"
run 2 predict --top-k=1.5 x.jpg; has err "not a whole number"
run 2 predict --top-k 1001 x.jpg; has err "1001 is out of range, 1 to 1000"
run 2 predict --top-k 1000000000000000000000 x.jpg; has err "out of range, 1 to 1000"
run 2 predict --top-k inf x.jpg; has err "out of range, 1 to 1000"
run 2 predict --top-k nan x.jpg; has err "not a number"
run 2 serve --port -1; has err "-1 is out of range, 0 to 65535"
run 2 predict --max-bytes 99999999G x.jpg; has err "99999999G is out of range, 1 to 4000000000"
run 2 predict --max-bytes 25MiB x.jpg; has err "'25MiB' is not a number of bytes"; has err "K, M and G"
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
run 2 explain -o a.png; has err "missing: IMAGE"; hasnt err "OUT.png"
run 2 explain -o a.png -c 22 a.jpg; has err "--class: no class '22'"
run 2 convert model.pth; has err "convert needs -o"
run 2 convert -o -; has err "missing: MODEL"; hasnt err "OUT"
run 2 convert embedded -o -; has err "--output: a model is written to a file"
for name in x.onnx x.pth X.PT; do run 2 convert embedded -o $name; has err "'$name': convert writes .safetensors"; [ ! -e $name ] || complain "$name was written"; done
for name in y.jpg model safetensors x.safetensors.bak; do run 2 convert embedded -o $name; has err "--output: '$name': convert writes .safetensors: the name has to end so"; [ ! -e $name ] || complain "$name was written"; done
run 2 quantize embedded --calibration . -o q.onnx; has err "quantize writes .safetensors"
run 2 quantize embedded --calibration . -o -; has err "--output: a model is written to a file"
run 2 quantize embedded --calibration .; has err "quantize needs -o"; hasnt err "--calibration"
run 2 quantize embedded -o q.safetensors; has err "quantize needs --calibration DIR"; hasnt err "-o"
for file in csv png predictions; do run 2 eval --$file - .; has err "--$file: a report is written to a file"; done
[ ! -e ./- ] || complain "a file of the name - was written"
CROPSHIELD_TOP_K=many run 2 predict x.jpg; has err "CROPSHIELD_TOP_K"
for command in predict explain serve bench eval; do
    [ $command = serve ] || [ $command = bench ] || input="-- x.jpg"
    [ $command != explain ] || input="-o o.png -- x.jpg"
    run 2 $command --cpu-mask abacus ${input:-}; has err "--cpu-mask: unknown instruction set 'abacus'"
    input=
done
finish
