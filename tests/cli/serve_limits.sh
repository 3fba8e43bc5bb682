#!/bin/bash
# serve: its limits and the flags that change them, the access token, the figures in the status; a full disk under the cache.
. "$(dirname "$0")/_lib.sh"
command -v curl >/dev/null || { echo "no curl"; exit 77; }
samples
. "$CROPSHIELD_SOURCE/tests/cli/_server.sh"

# what is promised when nothing is said
start
curl -s "$url/api/v1/status" >out
json "o['limits'] == dict(o['limits'], max_bytes=25 << 20, max_pixels=50000000, max_side=16384, max_scans=100, in_flight=64, header_timeout_s=10, body_timeout_s=30)"
json "o['target_ms'] == 200 and o['device'] == 'cpu' and o['precision'] == 'fp32' and o['kernels'] and o['version'] and o['uptime_s'] >= 0 and o['model']['load_ms'] > 0"
stop

# by flags, and by their twins
export CROPSHIELD_IN_FLIGHT=3 CROPSHIELD_TARGET_MS=50
start --header-timeout 0.7 --body-timeout 0.7 --max-bytes 100K --max-pixels 400000 --max-side 700 --max-scans 3 --max-size 300
unset CROPSHIELD_IN_FLIGHT CROPSHIELD_TARGET_MS
curl -s "$url/api/v1/status" >out
json "o['limits'] == dict(o['limits'], max_bytes=100 << 10, max_pixels=400000, max_side=700, max_scans=3, in_flight=3, header_timeout_s=0.7, body_timeout_s=0.7)"
json "o['target_ms'] == 50 and o['limits']['max_body_bytes'] == 6 * (100 << 10) + 65536"
post() { curl -s -o out -w '%{http_code}' --data-binary "@$1" "$url/api/v1/predict"; } # FILE
refused() { # FILE STATUS CODE
    local got
    got=$(post "$1")
    [ "$got" = "$2" ] || complain "$1: $got, not $2"
    json "o['error']['code'] == '$3' and o['error']['message']"
}
$python - <<'P'
from PIL import Image
photo = Image.open("photos/plant1.jpg")
photo.resize((690, 600)).save("many_pixels.jpg", quality=30)
photo.resize((720, 20)).save("long.jpg")
photo.save("scans.jpg", progressive=True)
P
refused leaf.jpg 413 image_too_large      # bytes
refused many_pixels.jpg 413 image_too_large
refused long.jpg 413 image_too_large
refused scans.jpg 413 image_too_large
refused notes.jpg 415 unsupported_format
[ "$(post photos/plant1.jpg)" = 200 ] || complain "a photo within the limits"
json "max(o['image']['display_width'], o['image']['display_height']) == 300"
$python - "${url##*:}" <<'P' || complain "deadlines of head and body"
import socket, sys, time
def late(text):
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as peer:
        peer.sendall(text)
        answer = peer.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 408 ") and b'"code":"timeout"' in answer, answer
    assert 0.5 < time.monotonic() - start < 5
late(b"GET /api/v1/status HTTP/1.1\r\nHost: 127.0.0.1\r\n")
late(b"POST /api/v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nhalf")
P
[ "$(post photos/plant2.jpg)" = 200 ] || complain "the server does not go on"
stop

# a larger photo than the default limit, raw and in a form
head -c 26300000 /dev/zero >padding; cat leaf.jpg padding >large.jpg
start --max-bytes 200M --max-size 4900
[ "$(post large.jpg)" = 200 ] || complain "a photo of 26 MB is refused although 200M are allowed: $(cat out)"
[ "$(curl -s -o out -w '%{http_code}' -F image=@large.jpg "$url/api/v1/predict")" = 200 ] || complain "a form of 26 MB is refused: $(cat out)"
curl -s "$url/api/v1/status" >out; json "o['limits']['max_body_bytes'] == 6 * (200 << 20) + 65536"
# a display image larger than the default bound of the heat maps' memory is kept all the same
if ! instrumented; then
    $python -c "
from PIL import Image
Image.open('leaf.jpg').resize((4900, 4700)).save('broad.jpg')"
    curl -s --data-binary @broad.jpg "$url/api/v1/predict?gradcam=1" >out
    [ "$(curl -s -o map -w '%{http_code}' "$url/api/v1/images/$(field "o['id']" <out)/gradcam?format=jpeg")" = 200 ] || complain "no heat map of a broad photo: $(head -c 300 map)"
fi
stop

# the token, by its twin, so that it stands in no list of processes
export CROPSHIELD_TOKEN=rust-and-blight
start
unset CROPSHIELD_TOKEN
[ "$(curl -s -o out -w '%{http_code}' "$url/api/v1/status")" = 401 ] || complain "no token is needed"
json "o['error']['code'] == 'unauthorized'"
[ "$(curl -s -o out -w '%{http_code}' -H 'Authorization: Bearer rust-and-blight' "$url/api/v1/status")" = 200 ] || complain "the token is not taken"
hasnt log "without --token"
stop
# an empty one is a mistake where it is written, and none in the environment
run 2 serve --port 0 --token ''; has err "--token: an empty token protects nothing"
export CROPSHIELD_TOKEN=
start
unset CROPSHIELD_TOKEN
[ "$(curl -s -o out -w '%{http_code}' "$url/api/v1/status")" = 200 ] || complain "an empty token in the environment locks the API"
hasnt log warning
stop
# a network that is served without one is told about
start --host 0.0.0.0
[ "$(grep -c "warning --host 0.0.0.0 without --token: whoever reaches this address may use the API" log)" = 1 ] || complain "no warning about an open server"
stop
start --host 0.0.0.0 --token rust-and-blight; hasnt log "without --token"
stop

# closed standard streams: no socket takes their numbers, into which the log would be written
"$CROPSHIELD" serve --port 0 0<&- 1>&- 2>&- &
server=$!
for _ in $(seq 100); do [ "$(ls /proc/$server/fd 2>/dev/null | wc -l)" -gt 5 ] && break; sleep 0.1; done
for fd in 0 1 2; do [ "$(readlink /proc/$server/fd/$fd)" = /dev/null ] || complain "descriptor $fd became $(readlink /proc/$server/fd/$fd)"; done
stop

# a log for machines: each line is JSON in UTF-8, whatever was asked for
: >log
"$CROPSHIELD" serve --port 0 --log-format json 2>log &
server=$!
await
curl -s "$url/%ff%22%0a%e2%82%ac" >/dev/null
id=$(printf '%064d' 7)
curl -s "$url/%1b%c2%9b2J%7f" >/dev/null # would clear a terminal
long=$(printf 'leaf%.0s' {1..700})
curl -s -H 'X-Request-Id: last' "$url/$long" >/dev/null
curl -s -H 'X-Request-Id: seven' "$url/api/v1/images/$id/gradcam?class=9" >/dev/null
curl -s -X POST -H 'Inference-Header-Content-Length: 0' --data-binary @leaf.jpg -o /dev/null "$url/v2/models/cropshield_cnn/infer"
curl -s --data-binary @leaf.jpg -o /dev/null "$url/api/v1/status"
stop
cp log out
json "lines[0]['message'].startswith('listening on http://127.0.0.1:') and lines[0]['level'] == 'info'"
json "any(l['level'] == 'info' and l['message'].startswith('GET /\ufffd\"') and '\u20ac 404 ' in l['message'] for l in lines) and lines[-1]['message'] == 'stopping'"
json "any(l.get('path') == '/\x1b\x9b2J\x7f' and l['message'].startswith('GET /\x1b\x9b2J\x7f 404 ') for l in lines)"
LC_ALL=C grep -qP '[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]' log && complain "control characters in the log: $(grep 2J log | cat -v)"
json "any(l.get('path') == '/$long' and l['message'].startswith('GET /leafleaf') and ' 404 ' in l['message'] and l['message'].endswith(' ms last') for l in lines)"
# the path that was asked for, whole, and each part of the line by its name
json "[(l['method'], l['path'], l['status'], l.get('request')) for l in lines if 'images' in l['message'] and l['method'] == 'GET'] == [('GET', '/api/v1/images/$id/gradcam', 404, 'seven')]"
json "any(l['message'].startswith('GET /api/v1/images/$id/gradcam 404 ') and l['message'].endswith(' ms seven') for l in lines)"
json "[l['status'] for l in lines if l.get('path') == '/api/v1/status'] == [405] and not any('gate' in l['message'] for l in lines)" # said before its body came
json "any((l.get('method'), l.get('path'), l.get('status')) == ('POST', '/v2/models/cropshield_cnn/infer', 200) and l['ms'] > 0 for l in lines)"

# a disk that is full under the cache: answers go on, the errors are counted, a warning says so
: >log
(ulimit -f 40; exec "$CROPSHIELD" serve --port 0 --quiet --cache-file full.db 2>log) &
server=$!
await
for photo in photos/plant*.jpg leaf.png leaf.webp leaf.jpg; do
    [ "$(post "$photo")" = 200 ] || complain "$photo is not answered on a full disk"
    [ "$(curl -s "$url/api/v1/predict" --data-binary "@$photo" | field "o['cache']['prediction']")" = hit ] || complain "$photo is no hit in memory"
done
for _ in $(seq 50); do
    curl -s "$url/api/v1/caches" >out
    [ "$(field "o['prediction']['disk']['errors'] + o['gradcam']['disk']['errors'] > 0" <out)" = True ] && break
    sleep 0.1
done
json "o['prediction']['disk']['errors'] + o['gradcam']['disk']['errors'] > 0"
has log "full.db"
[ "$(curl -s -o out -w '%{http_code}' -X DELETE "$url/api/v1/caches")" = 200 ] || complain "caches cannot be cleared on a full disk"
[ "$(post leaf.jpg)" = 200 ] || complain "no answer after clearing on a full disk"
stop
finish
