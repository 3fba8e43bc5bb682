#!/bin/bash
# The floors hold: no include and no symbol points upward; and the checker itself can fail.
set -eu
"$CROPSHIELD_SOURCE/tools/check-layers" "$CROPSHIELD_SOURCE" "$CROPSHIELD_BUILD"
bad=$(mktemp -d)
trap 'rm -rf "$bad"' EXIT
mkdir -p "$bad/src/base" "$bad/src/engine"
touch "$bad/src/engine/engine.h"
echo '#include "engine/engine.h"' >"$bad/src/base/wrong.c"
if "$CROPSHIELD_SOURCE/tools/check-layers" "$bad" >/dev/null; then
    echo "an upward include was not noticed" >&2
    exit 1
fi
echo 'int csi_engine_function(void); int csi_base_function(void) { return csi_engine_function(); }' >"$bad/src/base/wrong.c"
echo 'int csi_engine_function(void); int csi_engine_function(void) { return 1; }' >"$bad/src/engine/engine.c"
for floor in base engine; do
    objects=$bad/build/CMakeFiles/csi_$floor.dir/src/$floor
    mkdir -p "$objects"
    for source in "$bad/src/$floor"/*.c; do
        cc -c "$source" -o "$objects/$(basename "$source").o"
    done
done
"$CROPSHIELD_SOURCE/tools/check-layers" "$bad" >/dev/null # the includes are right now
if "$CROPSHIELD_SOURCE/tools/check-layers" "$bad" "$bad/build" >/dev/null; then
    echo "an upward call was not noticed" >&2
    exit 1
fi
