# SPDX-License-Identifier: MIT
# A thin face on Meson. tools/build knows the variants, tools/deps what must be installed.
PREFIX ?= /usr/local
DESTDIR ?=
SUITE ?=

.PHONY: all build deps deps-build run test test-long install clean
all: build

deps:
	@tools/deps build test

deps-build:
	@tools/deps build

build: deps-build
	@tools/build plain

run: build
	@build/tool/naru tour

test: deps
	@tests/run

test-long: deps
	@tests/run-long $(SUITE)

install: deps-build
	@tools/build install "$(PREFIX)"
	@DESTDIR="$(DESTDIR)" meson install -C build-install --no-rebuild --quiet

clean:
	@rm -rf build build-*
