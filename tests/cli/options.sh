#!/bin/bash
# Every option of every command: what the contract promises is there, each has its environment twin, each refuses nonsense by the name
# that the user wrote, and the man page lists it.
. "$(dirname "$0")/_lib.sh"
shared="model device precision threads cpu-mask max-size decode"
declare -A promised=(
    [predict]="top-k json gradcam batch $shared" [explain]="class method alpha colormap output raw $shared"
    [serve]="host port target-ms $shared" [bench]="warmup iterations image batch stage layers json target-ms $shared"
    [eval]="json csv $shared" [quantize]="calibration output" [convert]="output" [inspect]="json" [doctor]=""
)
declare -A input=([predict]=x [explain]=x [eval]=x [quantize]=x [convert]=x [inspect]=x) # the others take none
for command in "${!promised[@]}"; do
    "$CROPSHIELD" $command --help >help
    for option in ${promised[$command]}; do grep -qE -- "^ .*--$option( |$)" help || complain "$command has no --$option"; done
    # the shared ones come from one table: once is enough
    [ $command = predict ] || sed -i '/^model, device and image options:/,$d' help
    grep -oE -- '^ .{5}--[a-z][a-z-]*( [^ ]+)?' help | sed -E 's/^ .{5}//' | grep -v -- '^--help' >options
    [ -s options ] || complain "no options in the help of $command"
    while read -r option argument; do
        twin=CROPSHIELD_$(tr 'a-z-' 'A-Z_' <<<"${option#--}")
        grep -qF -- "${option//-/\\-}" "$CROPSHIELD_SOURCE/docs/cropshield.1" || complain "the man page does not have $option"
        case $argument in
        N | PIXELS | BYTES | MS | S | PORT | SHARE | POINTS | P | MODE | STAGE | FORMAT | DEVICE | R,G,B)
            run 2 $command $option nonsense ${input[$command]:-}; has err "$option"; empty out
            ;;
        '') run 2 $command $option=perhaps ${input[$command]:-}; has err "$option=perhaps"; empty out ;;
        esac
        case $argument in
        N | PIXELS | BYTES | MS | S | PORT | SHARE | POINTS | '')
            export "$twin=nonsense"
            run 2 $command ${input[$command]:-}; has err "$twin"; has err nonsense; empty out
            unset "$twin"
            ;;
        esac
    done <options
done
# the man page has the same options with the same words, and no others
$python - "$CROPSHIELD_SOURCE/docs/cropshield.1" <<'P' || complain "the man page and the help differ"
import os, re, subprocess, sys
def plain(roff):
    return re.sub(r"\\f[BIR]|\\&", "", roff).replace("\\-", "-").replace("...", "…").strip()
manual, section = {}, None
lines = open(sys.argv[1], encoding="utf-8").read().splitlines()
for i, line in enumerate(lines):
    if line.startswith((".SS", ".SH")):
        section = line.split()[1].strip('"') if line.startswith(".SS") else line[4:]
        manual[section] = {}
    elif line == ".TP":
        end = next(j for j in range(i + 2, len(lines)) if lines[j].startswith("."))
        manual[section][plain(lines[i + 1])] = plain(" ".join(lines[i + 2:end]))
def help_of(command):
    tables = subprocess.run([os.environ["CROPSHIELD"], command, "--help"], capture_output=True, text=True).stdout
    own, shared = tables.split("\nmodel, device and image options:\n")
    rows = r"^  ((?:-., |    )--\S+(?: \S+)?) +(\S.*)$"
    return [{m[1].strip(): m[2] for m in re.finditer(rows, part, re.M) if "--help" not in m[1]} for part in (own, shared)]
failed = False
for command in ("predict", "explain", "serve", "bench", "eval", "quantize", "convert", "inspect", "doctor"):
    own, shared = help_of(command)
    for place, options in ((command, own), ("OPTIONS OF ALL COMMANDS", shared)):
        if manual[place] != options:
            failed = True
            print(place, sorted(set(manual[place].items()) ^ set(options.items())), file=sys.stderr)
sys.exit(failed)
P
run 2 predict x --top-k; has err "missing value after --top-k"
# words and names by the environment
samples
twin() { # STATUS NAME=VALUE TEXT-ON-STDERR ARGS…
    local status=$1 setting=$2 text=$3
    shift 3
    export "${setting?}"
    run "$status" "$@"
    unset "${setting%%=*}"
    [ -z "$text" ] || has err "$text"
}
twin 2 CROPSHIELD_DEVICE=gpu "CROPSHIELD_DEVICE: 'gpu'" predict leaf.png
twin 1 CROPSHIELD_DEVICE=cuda:1 model_unsupported predict leaf.png
twin 2 CROPSHIELD_PRECISION=fp64 "CROPSHIELD_PRECISION: 'fp64'" predict leaf.png
twin 2 CROPSHIELD_DECODE=slow "CROPSHIELD_DECODE: 'slow'" predict leaf.png
twin 2 CROPSHIELD_MEAN=1,2 CROPSHIELD_MEAN: predict leaf.png
twin 2 CROPSHIELD_STD=0,1,1 CROPSHIELD_STD: predict leaf.png
twin 2 CROPSHIELD_STAGE=none "CROPSHIELD_STAGE: 'none'" bench
twin 2 CROPSHIELD_LOG_FORMAT=xml "CROPSHIELD_LOG_FORMAT: 'xml'" serve
# what Kubernetes sets for a Service of the program's name is no setting of ours
twin 2 CROPSHIELD_PORT=tcp://10.96.0.17:8501 "warning: CROPSHIELD_PORT is ignored" serve --log-format xml; hasnt err "CROPSHIELD_PORT: "
twin 2 CROPSHIELD_PORT=10.96.0.17 "CROPSHIELD_PORT: '10.96.0.17' is not a number" serve
twin 2 CROPSHIELD_METHOD=guess CROPSHIELD_METHOD: explain -o o.png leaf.png
twin 2 CROPSHIELD_METHOD=guess "CROPSHIELD_METHOD: 'guess' is none of minmax, percentile, mse, fixed" quantize embedded --calibration . -o q.safetensors
twin 2 CROPSHIELD_FORMAT=gif "CROPSHIELD_FORMAT: 'gif'" explain -o o.png leaf.png
twin 2 CROPSHIELD_OUTPUT=map.bmp "CROPSHIELD_OUTPUT: 'map.bmp'" explain leaf.png
twin 2 CROPSHIELD_PLANT=oak "CROPSHIELD_PLANT: the model knows no plant 'oak'" predict leaf.png
twin 2 CROPSHIELD_COLORMAP=pink CROPSHIELD_COLORMAP: explain -o o.png leaf.png
twin 2 CROPSHIELD_CLASS=Banana "CROPSHIELD_CLASS: no class" explain -o o.png leaf.png
twin 1 CROPSHIELD_MODEL=nowhere.onnx nowhere.onnx predict leaf.png
CROPSHIELD_CPU_MASK=generic run 0 --version; has out "kernels: generic ("
CROPSHIELD_CPU_MASK='' run 0 --version
CROPSHIELD_CPU_MASK=abacus run 2 --version; has err "CROPSHIELD_CPU_MASK: unknown instruction set 'abacus'"; empty out
twin 2 CROPSHIELD_CPU_MASK=abacus "CROPSHIELD_CPU_MASK: unknown instruction set" predict leaf.png
twin 1 CROPSHIELD_TARGET_LAYER=nowhere nowhere predict leaf.png
twin 1 CROPSHIELD_CLASSES=nowhere.json nowhere.json predict --model "$CROPSHIELD_SOURCE/models/cropshield_cnn.safetensors" leaf.png
twin 1 CROPSHIELD_IMAGE=nowhere.jpg nowhere.jpg bench
twin 1 CROPSHIELD_HOST=999.1.1.1 999.1.1.1 serve
twin 0 CROPSHIELD_MODEL=lite "" predict --json leaf.png; json "o['model']['name'] == 'cropshield_lite'"
twin 0 CROPSHIELD_JSON=1 "" predict leaf.png; json "o['image']['name'] == 'leaf.png'"
twin 0 CROPSHIELD_JSON=off "" predict leaf.png; has out "%"
twin 0 CROPSHIELD_TOP_K=7 "" predict --json leaf.png; json "len(o['predictions']) == 7"
twin 0 CROPSHIELD_TOP_K=7 "" predict --json --top-k 2 leaf.png; json "len(o['predictions']) == 2" # an argument wins
twin 0 CROPSHIELD_MAX_SIZE=320 "" predict --json leaf.png; json "(o['image']['display_width'], o['image']['display_height']) == (320, 240)"
twin 0 CROPSHIELD_DECODE=exact "" predict --json leaf.jpg; json "o['image']['display_height'] == 800"
twin 0 CROPSHIELD_PRECISION=fp32 "" predict --json leaf.png; json "o['model']['precision'] == 'fp32'"
twin 0 CROPSHIELD_THREADS=1 "" bench --json --stage inference --warmup 0 --iterations 1; json "o['threads'] == 1"
twin 0 CROPSHIELD_CPU_MASK=generic "" inspect --json embedded; json "o['kernels'] == 'generic'"
twin 0 CROPSHIELD_OUTPUT=twin.png "" explain leaf.png; [ -s twin.png ] || complain "CROPSHIELD_OUTPUT wrote nothing"
twin 0 CROPSHIELD_RAW=twin.npy "" explain leaf.png; [ -s twin.npy ] || complain "CROPSHIELD_RAW wrote nothing"
twin 0 CROPSHIELD_GRADCAM=twins "" predict leaf.png; [ -s twins/leaf_gradcam.png ] || complain "CROPSHIELD_GRADCAM wrote nothing"
for file in csv png predictions; do
    twin 0 "CROPSHIELD_${file^^}=twin.$file" "" eval labelled; [ -s twin.$file ] || complain "CROPSHIELD_${file^^} wrote nothing"
done
# what the command line says makes a twin irrelevant
twin 0 CROPSHIELD_TOP_K=many "" predict --json -k 2 leaf.png; json "len(o['predictions']) == 2"
twin 0 CROPSHIELD_DECODE=slow "" predict --json --decode fast leaf.png
twin 0 CROPSHIELD_JSON=perhaps "" predict -j leaf.png; json "o['predictions']"
export CROPSHIELD_DECODE=slow; run 2 predict --decode quick leaf.png; has err "--decode: 'quick'"; unset CROPSHIELD_DECODE
# the model of inspect, convert and quantize: the argument, else --model or its twin
run 0 inspect --json --model lite; json "o['name'] == 'cropshield_lite'"
twin 0 CROPSHIELD_MODEL=lite "" inspect --json; json "o['name'] == 'cropshield_lite'"
twin 0 CROPSHIELD_MODEL=nowhere.onnx "" inspect --json lite; json "o['name'] == 'cropshield_lite'"
for command in inspect "convert -o c.safetensors" "quantize --calibration photos -o q.safetensors"; do
    run 2 $command --model lite embedded; has err "two models: 'embedded' and --model 'lite'"
    run 2 $command; has err "missing: MODEL"
done
run 0 convert -m lite -o c.safetensors; [ -s c.safetensors ] || complain "convert --model wrote nothing"
# the limits of an image, by their flags
run 1 predict --json --max-pixels 300000 leaf.png; json "o['error']['code'] == 'image_too_large'"
run 1 predict --json --max-side 600 leaf.png; json "o['error']['code'] == 'image_too_large'"
run 1 predict --json --max-bytes 1K leaf.png; json "o['error']['code'] == 'image_too_large'"
$python -c "
from PIL import Image
Image.open('photos/plant1.jpg').save('progressive.jpg', progressive=True)"
run 0 predict --json progressive.jpg
run 1 predict --json --max-scans 3 progressive.jpg; json "o['error']['code'] == 'image_too_large'"
finish
