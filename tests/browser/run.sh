#!/bin/bash
# The page in a real browser (Debian's Chromium, driven by playwright-core) against the real program. Skips, and says why, where
# node, npm, chromium or the npm package is missing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=${CROPSHIELD_BUILD:-$(mktemp -d)}
program=${CROPSHIELD:?the program to test}
skip() { echo "skipped: $*"; exit 77; }

command -v node >/dev/null || skip "node is not installed"
chromium=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || true)}
[ -n "$chromium" ] || skip "chromium is not installed"
major=$(node -p 'process.versions.node.split(".")[0]')
[ "$major" -ge 18 ] || skip "node $major is older than 18"

# The npm package lies beside the build, not in the checkout.
modules=$build/browser
if [ ! -d "$modules/node_modules/playwright-core" ] || ! cmp -s "$here/package.json" "$modules/package.json"; then
    command -v npm >/dev/null || skip "npm is not installed"
    mkdir -p "$modules"
    cp "$here/package.json" "$modules/package.json"
    (cd "$modules" && npm install --no-save --no-package-lock --no-audit --no-fund --loglevel=error) >"$modules/npm.log" 2>&1 ||
        skip "npm could not install playwright-core: $(tail -1 "$modules/npm.log")"
fi

work=$(mktemp -d)
server=
cleanup() {
    [ -z "$server" ] || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }
    rm -rf "$work"
}
trap cleanup EXIT

env XDG_CACHE_HOME="$work/cache" "$program" serve --port 0 >"$work/out" 2>"$work/log" &
server=$!
url=
for _ in $(seq 200); do
    url=$(sed -n 's/.*listening on \(http:[^ ]*\).*/\1/p' "$work/log" | head -1)
    [ -n "$url" ] && break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.1
done
[ -n "$url" ] || { echo "the server did not start:"; cat "$work/log"; exit 1; }

export CS_URL=$url CS_CHROMIUM=$chromium CS_MODULES=$modules
status=0
if [ -n "${CS_SHOTS:-}" ]; then # CS_SHOTS=docs/images: takes the pictures of the README instead of testing
    node "$here/screenshots.mjs" "$CS_SHOTS"
    exit
fi
node --test --test-concurrency=1 ${CS_TEST_ARGS:-} "$here"/${CS_TEST_FILES:-test_*.mjs} || status=$?
if ! kill -0 "$server" 2>/dev/null; then
    echo "the server went down:"
    tail -20 "$work/log"
    status=1
fi
[ "$status" = 0 ] || tail -5 "$work/log"
exit "$status"
