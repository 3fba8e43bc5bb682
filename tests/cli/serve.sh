#!/bin/bash
# serve: starts, answers, loads a changed model, keeps the old one when the new one is bad, keeps caches over a restart, stops.
. "$(dirname "$0")/_lib.sh"
command -v curl >/dev/null || { echo "no curl"; exit 77; }
samples
model=$CROPSHIELD_SOURCE/models/cropshield_cnn.safetensors
. "$CROPSHIELD_SOURCE/tests/cli/_server.sh"
# hold FILE IMMEDIATE|EXCLUSIVE: another process, $holder, keeps a lock on a cache file
hold() {
    rm -f is_held
    $python -c "
import sqlite3, sys, time
base = sqlite3.connect(sys.argv[1], isolation_level=None)
base.execute('BEGIN ' + sys.argv[2])
open('is_held', 'w')
time.sleep(60)" "$@" &
    holder=$!
    for _ in $(seq 200); do [ -e is_held ] && break; sleep 0.05; done
    [ -e is_held ] || complain "no lock on $1"
}
cp "$model" model.safetensors
start --model model.safetensors --cache-file cache.db
[ "$(curl -s "$url/api/v1/predict" --data-binary @leaf.jpg | field "o['cache']['prediction']")" = miss ] || complain "first is no miss"
[ "$(curl -s "$url/api/v1/predict" --data-binary @leaf.jpg | field "o['cache']['prediction']")" = hit ] || complain "second is no hit"
# a bad new model: the old one stays and says so
head -c 100000 "$model" >bad && mv bad model.safetensors
for _ in $(seq 60); do
    curl -s "$url/api/v1/status" >status
    [ "$(field "o['model']['load_failures']" <status)" -ge 1 ] && break
    sleep 0.1
done
[ "$(field "o['model']['load_failures'] >= 1 and bool(o['model']['last_error'])" <status)" = True ] || complain "the bad model is not reported"
curl -sf "$url/api/v1/predict" --data-binary @leaf.png >/dev/null || complain "the old model does not answer"
# a good one again (another file content): loaded, caches cleared
$python - "$model" <<'P'
import json, struct, sys
data = open(sys.argv[1], "rb").read()
n = struct.unpack("<Q", data[:8])[0]
header = json.loads(data[8:8 + n])
header["__metadata__"]["temperature"] = "1.5"
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
open("new", "wb").write(struct.pack("<Q", len(text)) + text + data[8 + n:])
P
mv new model.safetensors
for _ in $(seq 60); do
    [ "$(curl -s "$url/api/v1/status" | field "o['model']['loads']")" = 2 ] && break
    sleep 0.1
done
[ "$(curl -s "$url/api/v1/status" | field "o['model']['temperature']")" = 1.5 ] || complain "the new model was not loaded"
[ "$(curl -s "$url/api/v1/predict" --data-binary @leaf.jpg | field "o['cache']['prediction']")" = miss ] || complain "a stale answer was served"
# the same file again, by a signal: what is known stays known; each load has its line in the log, with name and digest (loads within one
# second share it)
line="info model loaded: cropshield_cnn, digest $(curl -s "$url/api/v1/status" | field "o['model']['digest']")"
told() { [ "$(grep -cF "$line" log)" = "$1" ]; }
for _ in $(seq 50); do told 1 && break; sleep 0.1; done
kill -HUP $server
for _ in $(seq 60); do
    [ "$(curl -s "$url/api/v1/status" | field "o['model']['loads']")" = 3 ] && break
    sleep 0.1
done
[ "$(curl -s "$url/api/v1/predict" --data-binary @leaf.jpg | field "o['cache']['prediction']")" = hit ] || complain "loading the same file again emptied the cache"
for _ in $(seq 50); do told 2 && break; sleep 0.1; done
told 2 || complain "not one line for each load: $(cat log)"
stop
# over a restart
start --model model.safetensors --cache-file cache.db
[ "$(curl -s "$url/api/v1/predict" --data-binary @leaf.jpg | field "o['cache']['prediction']")" = hit ] || complain "the cache did not survive the restart"
stop
# what a clear cannot delete is told, and does not come back with a restart when it could be deleted later
start --model model.safetensors --cache-file cache.db
hold cache.db IMMEDIATE
got=$(curl -s -o answer -w '%{http_code}' -X DELETE "$url/api/v1/caches/prediction")
[ "$got" = 500 ] && has answer "cannot be written" || complain "clearing a locked cache file: $got $(cat answer)"
kill $holder; wait $holder
stop
start --model model.safetensors --cache-file cache.db
[ "$(curl -s "$url/api/v1/predict" --data-binary @leaf.jpg | field "o['cache']['prediction']")" = miss ] || complain "a restart brought back what was cleared"
stop
# float32 on AMX's tiles has other last digits than on AVX-512 alone: answers of the one are not the other's; --compact uses no tiles
if "$CROPSHIELD" doctor | grep -q amxbf16; then
    for step in "miss --cpu-mask amxint8" "hit --cpu-mask amxint8" "hit --cpu-mask all" "miss --compact" "hit --compact --cpu-mask amxint8"; do
        start --model model.safetensors --precision fp32 --cache-file cache.db ${step#* }
        got=$(curl -s "$url/api/v1/predict" --data-binary @leaf.jpg | field "o['cache']['prediction']")
        [ "$got" = "${step%% *}" ] || complain "restarted with '$step': $got"
        stop
    done
else
    echo "left out: cached answers of AMX's floats (no amxbf16)"
fi
# a damaged cache file is set aside
{ printf 'SQLite format 3\0'; head -c 3000 /dev/urandom; } >cache.db
run 0 doctor --cache-file cache.db; has out "warn  cache      cache.db: damaged"
rm -f cache.db-wal cache.db-shm
start --model model.safetensors --cache-file cache.db
[ "$(curl -s "$url/api/v1/predict" --data-binary @leaf.jpg | field "o['cache']['prediction']")" = miss ] || complain "a damaged cache was served"
grep -q warning log || complain "no warning about the damaged cache"
stop
# what was never a cache is left as it is; the doctor says so before
$python -c "
import sqlite3
base = sqlite3.connect('other.db')
base.execute('CREATE TABLE t (a)')
base.commit()"
cp leaf.jpg photo.jpg
for file in other.db photo.jpg; do
    cp $file before
    run 1 doctor --cache-file $file; has out "fail  cache      $file: not used: "
    start --cache-file $file
    [ "$(curl -s "$url/api/v1/predict" --data-binary @leaf.jpg | field "o['cache']['prediction']")" = miss ] || complain "no answer beside $file"
    grep "warning the cache file '$file' is not used: " log | sed 's/.*not used: //' >reason
    has out "not used: $(cat reason)"; [ -s reason ] || complain "no warning about $file"
    stop
    cmp -s $file before || complain "$file was changed"
    [ "$(find . -maxdepth 1 -name "$file*" | wc -l)" = 1 ] || complain "beside $file: $(ls)"
done
run 1 serve --port 0 --model nowhere.safetensors; has err "not_found"
# signals while the cache file is opened, which another process keeps locked: they end the program at once
hold locked.db EXCLUSIVE
for signal in TERM INT; do
    "$CROPSHIELD" serve --port 0 --cache-file locked.db 2>log &
    server=$!
    # The shell blocks signals too until it has become the program.
    for _ in $(seq 500); do
        grep -q cropshield /proc/$server/comm && [ $((0x$(sed -n 's/^SigBlk:[[:space:]]*//p' /proc/$server/status) & 0x4000)) -ne 0 ] && break
        sleep 0.02
    done
    kill -$signal $server
    wait $server || complain "SIG$signal while opening: the server ended with $?"
    has log stopping
    hasnt log listening
done
kill $holder
start
port=${url##*:}
run 1 serve --port "$port"; has err "$port"
curl -sf "$url/v2/health/live" >live || complain "no answer"
stop
hasnt log "/v2/health/live"
# without --quiet each request has its line
: >log # the line of the server before must not be read again
"$CROPSHIELD" serve --port 0 2>log &
server=$!
await
curl -sf "$url/v2/health/live" >live || complain "no answer"
curl -s "$url/%1b%c2%9b2J%7f" >out # would clear a terminal
curl -s "$url/$(printf 'leaf%.0s' {1..700})" >out
stop
has log "GET /v2/health/live 200"
has log 'GET /\u001b\u009b2J\u007f 404 '
grep -qE ' GET /(leaf){199}lea 404 [0-9.]+ ms$' log || complain "a long path hides the status: $(grep leafleaf log | tail -c 200)"
LC_ALL=C grep -qP '[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]' log && complain "control characters in the log: $(cat -v log)"
# the port that is taken where none is said: seen at an address that no machine has (RFC 5737), so that nothing is opened
if [ "$(cat /proc/sys/net/ipv4/ip_nonlocal_bind 2>/dev/null)" != 1 ]; then
    run 1 serve --host 192.0.2.1; has err "cannot listen on 192.0.2.1 port 8501: "
fi
finish
