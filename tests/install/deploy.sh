#!/bin/bash
# What deploy/ and the Dockerfile say about the program: packages, settings, health check, unit, and the metrics of the alerts.
. "$CROPSHIELD_SOURCE/tests/cli/_lib.sh"
. "$CROPSHIELD_SOURCE/tests/cli/_server.sh"
dockerfile=$CROPSHIELD_SOURCE/Dockerfile
alerts=$CROPSHIELD_SOURCE/deploy/prometheus-alerts.yml

# The image has the packages of every library that the program asks for (those of Debian 12, from which it is made).
. /etc/os-release
if [ "$ID:${VERSION_ID:-}" = debian:12 ] && ! instrumented; then
    sed '1,/^FROM/d' "$dockerfile" | sed -n '/^FROM/,$p' >last_stage
    readelf -d "$CROPSHIELD" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' >needed
    [ -s needed ] || complain "the program needs no library?"
    while read -r library; do
        path=$(ldd "$CROPSHIELD" | sed -n "s|^[[:space:]]*$library => \([^ ]*\) .*|\1|p")
        package=$(dpkg -S "$path" "/usr$path" "$(readlink -f "$path")" 2>/dev/null | head -1 | cut -d: -f1)
        case $library:$package in ld-linux*:* | *:libc6 | *:libgcc-s1) continue ;; esac
        [ -n "$package" ] || { complain "no package has $library"; continue; }
        grep -qw -- "$package" last_stage || complain "the image lacks $package, which has $library"
    done <needed
fi

# Every setting of image and unit is an option of `serve`.
run 0 serve --help
grep -ohE 'CROPSHIELD_[A-Z_]+' "$dockerfile" "$CROPSHIELD_SOURCE/deploy/cropshield.service" | sort -u >settings
[ -s settings ] || complain "no settings"
while read -r name; do has out "--$(sed 's/CROPSHIELD_//' <<<"$name" | tr 'A-Z_' 'a-z-') "; done <settings

# The health check says yes while the server answers, and no when it is gone.
start --token secret
$python - "$dockerfile" <<'P' >check || complain "no health check"
import json, re, sys
print("\0".join(json.loads(re.search(r"^HEALTHCHECK .*?CMD (\[.*\])$", open(sys.argv[1]).read(), re.M)[1])), end="")
P
healthy() { CROPSHIELD_PORT=${url##*:} xargs -0 -a check env; }
healthy || complain "the health check fails beside a healthy server"

# Every metric that an alert asks for is one that the server has.
curl -fsS -H 'Authorization: Bearer secret' "$url/api/v1/status" >/dev/null
curl -fsS -H 'Authorization: Bearer secret' "$url/metrics" >metrics
grep -oE '\bcropshield_[a-z_]+(\{|\[)' "$alerts" | tr -d '{[' | sort -u >wanted
[ "$(wc -l <wanted)" -ge 8 ] || complain "few metrics in the alerts"
while read -r name; do grep -qE "^$name[{ ]" metrics || complain "no metric $name"; done <wanted
stop
healthy 2>/dev/null && complain "the health check finds a server that is gone"

# The container as the documents start it is healthy and answers to localhost and addresses, but not to foreign names.
grep -h 'docker run' "$dockerfile" "$CROPSHIELD_SOURCE/docs/operations.md" | sed 's/^# //' | sort | uniq -c >commands
[ "$(awk '{ print $1 }' commands)" = 2 ] || complain "not the same command twice: $(cat commands)"
mapfile -t settings < <(grep -oE -- '-e CROPSHIELD_[A-Z_]+=[^ ]+' commands | sed 's/^-e //'; grep -oE 'CROPSHIELD_HOST=[^ ]+' "$dockerfile")
: >log
env "${settings[@]}" "$CROPSHIELD" serve --port 0 --quiet 2>log &
server=$!
await
for row in 200:localhost:8501 200:127.0.0.1:8501 200:192.0.2.1 400:rebound.example:8501; do
    got=$(curl -s -o answer -w '%{http_code}' -H "Host: ${row#*:}" "http://127.0.0.1:${url##*:}/api/v1/status")
    [ "$got" = "${row%%:*}" ] || complain "Host ${row#*:} in the container: $got $(head -c 200 answer)"
done
healthy || complain "the health check fails with the settings of the documents"
stop

if command -v promtool >/dev/null; then promtool check rules "$alerts" >log 2>&1 || { complain "promtool:"; cat log; }; fi
if command -v systemd-analyze >/dev/null; then
    sed "s|/usr/local/bin/cropshield|$CROPSHIELD|" "$CROPSHIELD_SOURCE/deploy/cropshield.service" >cropshield.service
    systemd-analyze verify ./cropshield.service >log 2>&1 || { complain "systemd-analyze:"; cat log; }
fi
finish
