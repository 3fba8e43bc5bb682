#!/bin/bash
# Resident memory of the default model: the peak of one prediction, an idle server, and a server that has worked and is idle again.
. "$(dirname "$0")/_lib.sh"
if instrumented; then echo "memory of an instrumented build says nothing"; exit 77; fi
[ "$(uname -m)" = x86_64 ] || { echo "bounds are for the packed weights of x86"; exit 77; }
samples
. "$CROPSHIELD_SOURCE/tests/cli/_server.sh"
$python - <<'P' || complain "no 12 MP photo"
from PIL import Image
Image.open("leaf.jpg").convert("RGB").resize((4000, 3000)).save("large.jpg", quality=90)
P
# peak FILE: prints the largest resident size of predict, in MB
peak() {
    $python - "$1" <<'P'
import os, resource, subprocess, sys
subprocess.run([os.environ["CROPSHIELD"], "predict", "--threads", "2", sys.argv[1]], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 // 1000000)
P
}
# below WHAT MB LIMIT
below() {
    echo "$1: $2 MB"
    [ "$2" -le "$3" ] || complain "$1 takes $2 MB, more than $3"
}
resident() { echo $(($(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' /proc/$server/status) * 1024 / 1000000)); }

below "predict, a small photo" "$(peak leaf.jpg)" 160
below "predict, 12 megapixels" "$(peak large.jpg)" 160
start --threads 2
sleep 0.5
below "the idle server" "$(resident)" 120
for _ in 1 2 3 4 5 6 7 8; do
    curl -fsS --data-binary @large.jpg "$url/api/v1/predict?gradcam=1" -o /dev/null || complain "a request failed"
    curl -fsS -X DELETE "$url/api/v1/caches/prediction" -o /dev/null || complain "clearing failed"
done
worked=$(resident)
for _ in $(seq 40); do
    curl -fsS --data-binary @large.jpg "$url/api/v1/predict?gradcam=1" -o /dev/null || complain "a request failed"
    curl -fsS -X DELETE "$url/api/v1/caches/prediction" -o /dev/null || complain "clearing failed"
done
below "the server after 48 requests, over that after 8" $(($(resident) - worked)) 24
stop
finish
