# The short way in. The build itself is CMake's (CMakeLists.txt, CMakePresets.json); these targets name what people do.
#
#   make              build the release preset: build/release/cropshield
#   make run          install what is missing, build, start the web app on http://127.0.0.1:8501 (ARGS="--port 9000")
#   make test         install what the tests need, build, run every family this machine can run
#   make bench        install the peers that are missing, build, measure CropShield beside them in one run
#   make fuzz         fuzz every target for FUZZ_SECONDS each (TARGET=… for one)
#   make install      PREFIX=/usr/local DESTDIR=…
#   make format lint  layout of the C code; static analysis
PREFIX       ?= /usr/local
FUZZ_SECONDS ?= 60
ARGS         ?=

.PHONY: all build run test bench fuzz install format lint clean

all: build

build:
	@tools/setup run
	@tools/build release

run: build
	@exec build/release/cropshield serve $(ARGS)

test:
	@tools/setup test
	@tools/test

bench:
	@tools/setup bench
	@bench/run

fuzz:
	@tools/setup test
	@tools/fuzz $(FUZZ_SECONDS) $(TARGET)

install: build
	@cmake -S . -B build/release -DCMAKE_INSTALL_PREFIX=$(PREFIX) >/dev/null
	@DESTDIR="$(DESTDIR)" cmake --install build/release

format:
	@tools/format

lint:
	@tools/lint

clean:
	rm -rf build
