#!/usr/bin/env bash
# Runs every fuzz target of a build for some seconds over its seed corpus: tests/fuzz/run.sh BUILD_DIR SECONDS
# What is found is left as BUILD_DIR/crash-*: make it small, add it to the corpus, fix it.
set -euo pipefail
build=$(realpath "$1")
seconds=$2
here=$(cd "$(dirname "$0")" && pwd)
cd "$build"
for target in "$here"/fuzz_*.cc; do
  name=$(basename "$target" .cc)
  seeds="$here/corpus/${name#fuzz_}"
  mkdir -p "found/$name"
  echo "== $name: ${seconds}s"
  "./$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=4096 -print_final_stats=0 -verbosity=0 "found/$name" "$seeds"
done
echo "every fuzz target ended without a finding"
