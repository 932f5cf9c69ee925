#!/bin/bash
# Builds the CUDA kernels and their programs, then checks, times and sanitizes them: needs nvcc, compute-sanitizer and a
# card. Usage: bench/cuda/run.sh [build | check | time | sanitize]...   all of them if none is named
# Environment: ARCH (90a), BUILD (build-cuda-bench), TIME (what `time` is asked for); CODE (sm_$ARCH): with ARCH=80 and
# CODE=compute_80 a newer card compiles and runs what is written for older ones
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${BUILD:-build-cuda-bench}
arch=${ARCH:-90a}
code=${CODE:-sm_$arch}
export build arch code
mkdir -p "$build"

compile() {
  nvcc -std=c++20 -O3 -lineinfo -gencode "arch=compute_$arch,code=$code" -Isrc -x cu -c "$1" -o "$build/$(basename "$1").o"
}
export -f compile
build() {
  printf '%s\n' src/kernels/cuda/*.cu src/tensor/dtype.cc src/kernels/gpu_{rows,scratch}.cc bench/cuda/*.cu | grep -v _test.cc |
    xargs -P "$(nproc)" -I{} bash -c 'compile {}'
  for program in check time; do
    nvcc $(ls "$build"/*.o | grep -v -e check.cu.o -e time.cu.o) "$build/$program.cu.o" -o "$build/$program" -lcublasLt
  done
}
check() { "$build/check"; }
time_all() { "$build/time" "${TIME:-all}"; }
sanitize() {
  echo "compute-sanitizer --tool memcheck"
  compute-sanitizer --tool memcheck --error-exitcode 2 "$build/check" --small | grep -v ^ok
  echo "compute-sanitizer --tool racecheck"
  compute-sanitizer --tool racecheck --error-exitcode 2 "$build/check" --race | grep -v ^ok
}

for step in "${@:-build check time sanitize}"; do
  for one in $step; do
    [ "$one" = time ] && one=time_all
    "$one"
  done
done
