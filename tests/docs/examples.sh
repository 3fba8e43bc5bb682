#!/bin/bash
# The examples work against a running server: curl, Python, JavaScript. (The C example is tests/layers' business: it links.)
. "$CROPSHIELD_SOURCE/tests/cli/_lib.sh"
command -v curl >/dev/null || { echo "no curl"; exit 77; }
samples
"$CROPSHIELD" serve --port 0 --quiet 2>log &
server=$!
trap 'kill $server 2>/dev/null; rm -rf "$work"' EXIT
for _ in $(seq 100); do
    url=$(sed -n 's/^listening on //p' log)
    [ -n "$url" ] && break
    sleep 0.1
done
examples=$CROPSHIELD_SOURCE/examples
sh "$examples/curl/diagnose.sh" leaf.jpg "$url" >out || complain "curl example"
has out '"verdict"'
[ -s heatmap.png ] || complain "no heatmap.png"
$python "$examples/python/diagnose.py" --url "$url" leaf.jpg leaf.png >out || complain "Python example"
has out "leaf.png: "
$python "$examples/python/diagnose.py" --url "$url" notes.jpg 2>err && complain "Python example: a bad photo went unnoticed"
has err "unsupported_format"
if command -v node >/dev/null; then
    CROPSHIELD_URL=$url node "$examples/javascript/diagnose.mjs" leaf.jpg >out || complain "JavaScript example"
    has out "leaf.jpg: "
    node "$examples/javascript/diagnose.mjs" --url "$url" leaf.jpg leaf.png >out || complain "JavaScript example with --url"
    has out "leaf.png: "
fi
# without a photo each says how it is called; without a photo's file or a server, what is missing, in one line
kill $server; wait $server 2>/dev/null
troubled() { # STATUS TEXT COMMAND…
    local want=$1 text=$2
    shift 2
    "$@" >out 2>err; [ $? = "$want" ] || complain "$* did not end with $want"
    last=$* has err "$text"; empty out
}
one_line() { [ "$(wc -l <err)" = 1 ] || complain "more than one line: $(cat err)"; }
troubled 2 "usage: " sh "$examples/curl/diagnose.sh"; one_line
troubled 2 "usage: " $python "$examples/python/diagnose.py"
troubled 1 "leaf.jpg: no answer from $url: " $python "$examples/python/diagnose.py" --url "$url" leaf.jpg; one_line
troubled 1 "nowhere.jpg: No such file" $python "$examples/python/diagnose.py" --url "$url" nowhere.jpg; one_line
if command -v node >/dev/null; then
    export CROPSHIELD_URL=$url
    troubled 2 "usage: " node "$examples/javascript/diagnose.mjs"; one_line
    troubled 2 "usage: " node "$examples/javascript/diagnose.mjs" --url "$url"; one_line
    troubled 2 "usage: " node "$examples/javascript/diagnose.mjs" --url; one_line
    troubled 1 "leaf.jpg: no answer from $url: " node "$examples/javascript/diagnose.mjs" leaf.jpg; one_line
    troubled 1 "no such file" node "$examples/javascript/diagnose.mjs" nowhere.jpg; one_line
fi
finish
