# Sourced by the scripts of this folder: a scratch folder with sample photos, and checks that say what went wrong.
set -u
: "${CROPSHIELD:?}" "${CROPSHIELD_SOURCE:?}"
python=/usr/bin/python3
[ -x $python ] || python=python3
$python -c 'import PIL' 2>/dev/null || { echo "no python3-pil"; exit 77; }
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work" || exit 1
export NO_COLOR=1
failures=0

samples() { $python "$CROPSHIELD_SOURCE/tests/docs/samples.py" "$work"; }

complain() {
    failures=$((failures + 1))
    echo "FAILED: $*" >&2
}

# run STATUS ARGS…: runs the program, keeps stdout in out, stderr in err, checks the exit status
run() {
    local want=$1 got
    shift
    "$CROPSHIELD" "$@" >out 2>err
    got=$?
    [ "$got" = "$want" ] || { complain "cropshield $* ended with $got, not $want"; head -c 600 err >&2; }
}

# has FILE TEXT: the file contains the text
has() { grep -qF -- "$2" "$1" || { complain "'$2' is not in $1 (after: ${last:-})"; head -c 600 "$1" >&2; }; }
hasnt() { grep -qF -- "$2" "$1" && complain "'$2' is in $1"; return 0; }
empty() { [ ! -s "$1" ] || { complain "$1 is not empty:"; head -c 300 "$1" >&2; }; }
# json EXPRESSION: a Python expression over `o`, the object on the first line of out (and `lines`, all of them)
json() {
    $python -c "
import json, sys
lines = [json.loads(l) for l in open('out')]
o = lines[0]
sys.exit(0 if ($1) else 1)" || { complain "not true of the JSON: $1"; head -c 600 out >&2; }
}

# Whether this is a build with sanitizers or coverage, in which large pictures take too long.
instrumented() { case ${CROPSHIELD_BUILD:-} in *san | *coverage) ;; *) false ;; esac; }

# For scripts that start the program dozens of times: with CROPSHIELD_TESTS=short (sanitizers) the starts that follow use the small
# network. What the scripts ask is the same. The large one runs instrumented in front of this line and in other scripts of this folder
# (eval, quantize, serve); its steps, narrower and with every instruction set, in tests/parity.
small_network() { [ "${CROPSHIELD_TESTS:-}" != short ] || export CROPSHIELD_MODEL=lite; }

finish() {
    [ $failures = 0 ] && echo "all as expected"
    exit $((failures > 0))
}
