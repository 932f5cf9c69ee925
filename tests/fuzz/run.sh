#!/usr/bin/env bash
# Runs every fuzz target of a build for some seconds over its seed corpus, one on each CPU: tests/fuzz/run.sh BUILD_DIR SECONDS
# What is found is left as BUILD_DIR/crash-*: make it small, add it to the corpus, fix it.
set -euo pipefail
export build seconds here
build=$(realpath "$1")
seconds=$2
here=$(cd "$(dirname "$0")" && pwd)
cd "$build"
run() {
  local name=$1
  mkdir -p "found/$name"
  if ! "./$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096 -print_final_stats=0 -verbosity=0 \
    "found/$name" "$here/corpus/${name#fuzz_}" >"$name.log" 2>&1; then
    cat "$name.log"
    echo "$name: a finding"
    return 1
  fi
  echo "$name: $seconds s, nothing found"
}
export -f run
printf '%s\n' "$here"/fuzz_*.cc | xargs -P "$(nproc)" -I{} bash -c 'run "$(basename {} .cc)"'
