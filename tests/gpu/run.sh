#!/usr/bin/env bash
# Every test that needs a card, then the same under compute-sanitizer: tests/gpu/run.sh BUILD_DIRECTORY [LOG_DIRECTORY]
# BUILD_DIRECTORY: of the preset cuda; the programs that gpu_tests.txt names, that file and bench_cuda_check are
# enough, so it may have been copied here.
# TM_SANITIZE="memcheck racecheck" chooses the tools; "" none. Ends with 1 if a test or a tool found anything, with 3
# where there is no card.
set -uo pipefail
build=${1:?usage: tests/gpu/run.sh BUILD_DIRECTORY [LOG_DIRECTORY]}
logs=${2:-$build/gpu-logs}
root=$(cd "$(dirname "$0")/../.." && pwd)
export TRIMETER_SOURCE_DIR=$root TRIMETER_DATA=$root/data
mkdir -p "$logs"
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || { echo "no card: nothing was run" >&2; exit 3; }

failed=0
check() {  # NAME LOG COMMAND...
  local name=$1 log=$2 begin=$SECONDS
  shift 2
  if "$@" >"$log" 2>&1; then
    echo "passed $name ($((SECONDS - begin)) s)"
  else
    echo "FAILED $name: $log"
    tail -30 "$log"
    failed=1
  fi
}
while read -r test; do
  check "$test" "$logs/$test.log" "$build/$test"
done <"$build/gpu_tests.txt"
check "kernels against double precision" "$logs/kernels.log" "$build/bench_cuda_check"

# The whole engine under a sanitizer takes minutes: of it, a few tests, under racecheck one sequence in 4 bits.
# Not the test of an allocation that must fail, which memcheck reports.
for tool in ${TM_SANITIZE-memcheck racecheck}; do
  while read -r test; do
    filter='-*MoreThanTheCardHas*'
    [[ $test == card_against_cpu_test ]] && filter='*WhatAPromptSays*'
    [[ $test == card_against_cpu_test && $tool == racecheck ]] && filter='*OneSequence*/2'
    check "$test under $tool" "$logs/$test.$tool.log" compute-sanitizer --tool "$tool" --error-exitcode 1 \
      "$build/$test" --gtest_filter="$filter"
  done <"$build/gpu_tests.txt"
  part=--small
  [[ $tool == racecheck ]] && part=--race
  check "kernels under $tool" "$logs/kernels.$tool.log" compute-sanitizer --tool "$tool" --error-exitcode 1 \
    "$build/bench_cuda_check" "$part"
done
exit $failed
