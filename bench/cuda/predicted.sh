#!/bin/bash
# How far prediction and a card are apart: bench/cuda/predicted.sh BUILD_DIRECTORY OUTPUT_DIRECTORY [SHAPE...]
# BUILD_DIRECTORY: of the preset cuda, with trimeter and bench_cuda_step. Measures the card's profile, then for each
# shape (qwen2.5-0.5b qwen2.5-7b if none is named) the stages of a step beside what is predicted of them, and what
# `trimeter bench` decodes beside what it predicts; last, the lab's table of models/demo. Ends with one line a case.
set -euo pipefail
build=$(realpath "${1:?usage: predicted.sh BUILD_DIRECTORY OUTPUT_DIRECTORY [SHAPE...]}")
: "${2:?usage: predicted.sh BUILD_DIRECTORY OUTPUT_DIRECTORY [SHAPE...]}"
mkdir -p "$2/models"
out=$(realpath "$2")
shift 2
cd "$(dirname "$0")/../.."
export XDG_CACHE_HOME=$out/cache
profile=$out/hardware.json
begin=$SECONDS
[ -f "$profile" ] || "$build/trimeter" hardware --device cuda --json "$profile" >"$out/hardware.txt" 2>&1
echo "the profile took $((SECONDS - begin)) s"

shapes=("$@")
[ $# -gt 0 ] || shapes=(qwen2.5-0.5b qwen2.5-7b)
batches_of() { [ "$1" = qwen2.5-7b ] && echo 1,16,64 || echo 1,16,64,256; }
for shape in "${shapes[@]}"; do
  "$build/bench_cuda_step" "$shape" bf16,fp8,awq "$(batches_of "$shape")" 160 "$profile" >"$out/step-$shape.txt"
  grep -E ': step|predicted' "$out/step-$shape.txt"
done
for shape in "${shapes[@]}"; do
  memory=12GiB
  [ "$shape" = qwen2.5-7b ] && memory=30GiB
  model=$out/models/$shape
  [ -d "$model" ] || "$build/trimeter" synth "$shape" -o "$model"
  "$build/trimeter" bench "$model" --device cuda --formats bf16,fp8,awq --batch "$(batches_of "$shape")" \
    --prompt-tokens 128 --max-tokens 64 --rounds 5 --max-model-len 192 --device-memory "$memory" \
    --hardware "$profile" --json "$out/bench-$shape.json" --force >"$out/bench-$shape.txt" 2>&1
done
"$build/trimeter" compare models/demo --device cuda --formats bf16,fp8,int8,awq,w4a16,bf16+kv-fp8 --device-memory 4GiB \
  --rounds 9 --no-quality --hardware "$profile" --json "$out/compare-demo.json" --force >"$out/compare-demo.txt" 2>&1

python3 - "$out" <<'EOF'
import json, pathlib, sys

for path in sorted(pathlib.Path(sys.argv[1]).glob("*-*.json")):
    runs = json.loads(path.read_text())["runs"]
    for meter in ("decode_tokens_per_s", "ttft_s"):
        print(f"{path.stem}: {meter}: measured, predicted, measured / predicted")
        n_within = 0
        for run in runs:
            measured, predicted = run["measured"][meter]["median"], run["predicted"][meter]
            ratio = measured / predicted
            n_within += abs(ratio - 1) <= 0.12
            print(f"  {run['format']:12} {run.get('batch', ''):>4} {measured:12.6g} {predicted:12.6g} {ratio:6.3f}")
        print(f"  within 12%: {n_within} of {len(runs)}")
    for batch in sorted({run.get("batch") or 0 for run in runs}):
        of_batch = [run for run in runs if (run.get("batch") or 0) == batch]
        order = lambda speed: " > ".join(run["format"] for run in sorted(of_batch, key=speed, reverse=True))
        print(f"  batch {batch}: measured  {order(lambda r: r['measured']['decode_tokens_per_s']['median'])}\n"
              f"  batch {batch}: predicted {order(lambda r: r['predicted']['decode_tokens_per_s'])}")
EOF
