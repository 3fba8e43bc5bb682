#!/bin/bash
# make install: program, libraries, header, pkg-config file, man page, completions; a C program builds against what was installed.
. "$CROPSHIELD_SOURCE/tests/cli/_lib.sh"
prefix=$work/prefix
cmake --install "$CROPSHIELD_BUILD" --prefix "$prefix" >log 2>&1 || { complain "install failed"; cat log; }
for file in bin/cropshield include/cropshield/cropshield.h share/man/man1/cropshield.1 share/bash-completion/completions/cropshield \
    share/zsh/site-functions/_cropshield share/fish/vendor_completions.d/cropshield.fish; do
    [ -s "$prefix/$file" ] || complain "not installed: $file"
done
# the GPU's plug-in where it was built, at a place where the installed program finds it
if grep -q '^CS_CUDA:BOOL=ON' "$CROPSHIELD_BUILD/CMakeCache.txt"; then
    [ -s "$prefix/lib/cropshield/libcropshield_cuda.so" ] || complain "the plug-in is not installed"
    "$prefix/bin/cropshield" doctor >out; hasnt out "no plug-in"
fi
pc=$(find "$prefix" -name cropshield.pc)
[ -n "$pc" ] || complain "no cropshield.pc"
"$prefix/bin/cropshield" --version >out || complain "the installed program does not run"
# only what the header declares is exported
library=$(find "$prefix" -name 'libcropshield.so.1*' | head -1)
nm -D --defined-only "$library" | awk '{print $3}' | grep -v '^cs_' | grep -vE '^(_init|_fini|__bss_start|_edata|_end)$' >symbols
empty symbols
PKG_CONFIG_PATH=$(dirname "$pc")
export PKG_CONFIG_PATH
cat >program.c <<'C'
#include <cropshield/cropshield.h>
#include <stdio.h>
int main(void) { puts(cs_version()); return 0; }
C
# shellcheck disable=SC2046
cc program.c $(pkg-config --cflags --libs cropshield) -Wl,-rpath,"$(dirname "$library")" -o program && ./program >out || complain "a program does not build with pkg-config"
has out "1.0.0"
bash -c ". '$prefix/share/bash-completion/completions/cropshield'; COMP_WORDS=(cropshield pre); COMP_CWORD=1; PATH=$prefix/bin:\$PATH; _cropshield; echo \"\${COMPREPLY[*]}\"" >out
has out predict
if command -v man >/dev/null; then man -l "$prefix/share/man/man1/cropshield.1" >/dev/null 2>err && empty err; fi
finish
