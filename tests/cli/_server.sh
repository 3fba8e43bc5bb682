# Sourced by the scripts that run a server: start ARGS…, stop, and a field of a JSON answer.
start() {
    : >log # the line of the server before must not be read again
    "$CROPSHIELD" serve --port 0 --quiet "$@" 2>log &
    server=$!
    await
}
# await: the server `server`, which writes to log, tells where it listens
await() {
    for _ in $(seq 200); do
        url=$(sed -n 's/.*listening on \(http[^"]*\).*/\1/p' log)
        [ -n "$url" ] && return
        sleep 0.1
    done
    complain "the server did not start"; cat log; finish
}
stop() { kill -TERM $server; wait $server || complain "the server ended with $?"; }
field() { $python -c "import json,sys; o=json.load(sys.stdin); print($1)"; }
