# What a person types. Everything else is CMake (CMakePresets.json).
#   make          build/trimeter
#   make lab      the lab on the demo model: predict, run bf16, fp8 and awq, reconcile, verdict
#   make test     every test
#   make sanitize the unit tests under ASan + UBSan        make fuzz   every fuzz target for FUZZ_SECONDS each
#   make format   clang-format over the sources            make tidy   clang-tidy over the sources
#   make docs     the tables in README.md and docs/ that the program writes
# Each installs what is missing first (tools/bootstrap.sh), and does no work twice.
SHELL := /bin/bash
JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 60
# A device memory at which this model's weights matter: 11.6 MB of weights would vanish in gigabytes.
LAB_DEVICE_MEMORY ?= 64MiB
SOURCES = $(shell git ls-files '*.cc' '*.h' '*.inl')

.PHONY: all lab test sanitize tsan fuzz format tidy docs clean bootstrap bootstrap-fuzz

all: build/build.ninja
	@cmake --build build -j $(JOBS) --target trimeter

build/build.ninja: | bootstrap
	@cmake --preset release

bootstrap:
	@tools/bootstrap.sh build

lab: all
	build/trimeter compare models/demo --formats bf16,fp8,awq --device-memory $(LAB_DEVICE_MEMORY)

test: build/build.ninja
	@cmake --build build -j $(JOBS)
	@ctest --test-dir build --output-on-failure -j $(JOBS)

sanitize tsan: | bootstrap
	@cmake --preset $(PRESET)
	@cmake --build build-$(PRESET) -j $(JOBS)
	@ctest --test-dir build-$(PRESET) --output-on-failure -L unit -j $(JOBS)
sanitize: PRESET = dev
tsan: PRESET = tsan

bootstrap-fuzz:
	@tools/bootstrap.sh fuzz

fuzz: | bootstrap-fuzz
	@cmake --preset fuzz
	@cmake --build build-fuzz -j $(JOBS) --target fuzz
	@tests/fuzz/run.sh build-fuzz $(FUZZ_SECONDS)

format:
	@clang-format -i $(SOURCES)

tidy: | bootstrap-fuzz
	@cmake --preset fuzz >/dev/null
	@run-clang-tidy -quiet -p build-fuzz '/src/.*\.cc$$'

docs: all
	@tools/update_docs.py build/trimeter

clean:
	@rm -rf build build-dev build-tsan build-fuzz build-cuda
