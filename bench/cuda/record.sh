#!/bin/bash
# All that docs/cuda.md and bench/results/*-cuda-* say of a card, in one run of one build, one program after the other
# (some 6 minutes on an H200 with 16 cores, and what card_against_cpu_test takes).
#   bench/cuda/record.sh BUILD_DIRECTORY OUTPUT_DIRECTORY [PART...]
# BUILD_DIRECTORY: of the preset cuda, with bench_cuda_check, bench_cuda_time and bench_cuda_step; it may have been copied
# here. PART: check sanitize profile bench compare card time step; all if none is named. bench and compare predict from the
# output directory's profile. Each program's time and end is a line of parts.txt; the last lines say how far predictions
# and the card are apart. Ends with 1 if a program failed.
set -uo pipefail
build=$(realpath "${1:?usage: record.sh BUILD_DIRECTORY OUTPUT_DIRECTORY [PART...]}")
mkdir -p "${2:?usage: record.sh BUILD_DIRECTORY OUTPUT_DIRECTORY [PART...]}/models"
out=$(realpath "$2")
shift 2
cd "$(dirname "$0")/../.." || exit
export TRIMETER_SOURCE_DIR=$PWD TRIMETER_DATA=$PWD/data XDG_CACHE_HOME=$out/cache
failed=0

run() {  # NAME SECONDS_AT_MOST COMMAND...: its output is NAME.txt
  local name=$1 most=$2 begin=$SECONDS status=0
  shift 2
  timeout "$most" "$@" >"$out/$name.txt" 2>&1 || status=$?
  [ $status = 0 ] || failed=1
  echo "$name: status $status, $((SECONDS - begin)) s: $(tail -1 "$out/$name.txt")" | tee -a "$out/parts.txt"
}
sanitize=(compute-sanitizer --error-exitcode 2 --tool)
model_of() {
  [ -d "$out/models/$1" ] || "$build/trimeter" synth "$1" -o "$out/models/$1" >/dev/null
  echo "$out/models/$1"
}
memory_of() { [ "$1" = qwen2.5-7b ] && echo 30GiB || echo 12GiB; }
recorded() {  # NAME SECONDS_AT_MOST COMMAND...: with the profile, to NAME.json and NAME.md as well
  run "$@" --hardware "$out/profile.json" --json "$out/$1.json" --markdown "$out/$1.md" --force
}

part() {
  case $1 in
    check) run check 120 "$build/bench_cuda_check" ;;
    sanitize)
      run racecheck 120 "${sanitize[@]}" racecheck "$build/bench_cuda_check" --race
      run memcheck 120 "${sanitize[@]}" memcheck "$build/bench_cuda_check" --small
      ;;
    profile) run profile 120 "$build/trimeter" hardware --device cuda --json "$out/profile.json" ;;
    bench)
      for shape in qwen2.5-7b qwen2.5-0.5b; do
        batches=1,16,64,256
        [ $shape = qwen2.5-7b ] && batches=1,16,24,32,48,64
        recorded bench-$shape 120 "$build/trimeter" bench "$(model_of $shape)" --device cuda --formats bf16,fp8,awq \
          --batch $batches --prompt-tokens 128 --max-tokens 64 --rounds 5 --max-model-len 192 \
          --device-memory "$(memory_of $shape)"
      done
      ;;
    compare)
      recorded compare-demo 120 "$build/trimeter" compare models/demo --device cuda \
        --formats bf16,fp8,int8,awq,w4a16,bf16+kv-fp8 --device-memory 4GiB --rounds 9
      for shape in qwen2.5-7b qwen2.5-0.5b; do
        recorded compare-$shape 120 "$build/trimeter" compare "$(model_of $shape)" --device cuda --formats bf16,fp8,w4a16 \
          --no-quality --rounds 5 --device-memory "$(memory_of $shape)"
      done
      ;;
    card)
      run cuda_test 60 "$build/cuda_test"
      run card_against_cpu_test 300 "$build/card_against_cpu_test"
      ;;
    time) run time 120 "$build/bench_cuda_time" all ;;
    step)
      run step-qwen2.5-7b 120 "$build/bench_cuda_step" qwen2.5-7b bf16,fp8,awq 1,4,16,64 160
      run step-qwen2.5-0.5b 60 "$build/bench_cuda_step" qwen2.5-0.5b bf16,fp8,awq 1,16,64 160
      ;;
    *)
      echo "no part is called $1" >&2
      exit 1
      ;;
  esac
}
[ $# -gt 0 ] || set -- check sanitize profile bench compare card time step
for name; do part "$name"; done
for record in "$out"/bench-*.json "$out"/compare-*.json; do
  [ -f "$record" ] && bench/cuda/tables.py predicted "$record"
done
exit $failed
