#!/usr/bin/env python3
"""Holds the directories that `trimeter quantize` writes to the code of others that reads them.

Usage: check_containers.py BUILD MODEL WORK [CASE...]      BUILD has trimeter and containers_golden_test

Each case is written to WORK, opened by transformers (tests/golden/containers_reference.py says with what) and compared
  by logits       of three passages, by containers_golden_test: see there for the tolerance
  by perplexity   `trimeter eval` against the opened model's with our rounding of activations, over the same windows.
                  Rounding moves a logit by E (rms), two models that round alike are apart by at most sqrt(2) E in a
                  token's log-probability, and by 1/sqrt(n) of that in the mean of n tokens: four times that is allowed
Not needed at run time. Needs gptqmodel, optimum and compressed-tensors. Checked with gptqmodel 7.7.0, optimum 2.3.0,
compressed-tensors 0.20.0, transformers 5.23.0, torch 2.15.0.
"""
import json
import math
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests/golden"))

import containers_reference as reference
import tokenizers
import torch
from safetensors.torch import load_file

CONTEXT = 256
PASSAGES = ((0, 7), (100, 164), (300, 500))
CASES = {
    "fp8": ["fp8"],
    "fp8-static": ["fp8-static"],
    "int8": ["int8"],
    "w8a16": ["w8a16"],
    "w4a16": ["w4a16"],
    "w4a16-g32": ["w4a16", "--group-size", "32"],
    "w4a16-mixed": ["w4a16", "--keep-16bit", "*.0.mlp.down_proj"],
    "awq": ["awq"],
    "awq-g32": ["awq", "--group-size", "32"],
    "awq-mixed": ["awq", "--keep-16bit", "*.0.mlp.down_proj"],
    "gptq": ["gptq"],
    "gptq-g32": ["gptq", "--group-size", "32"],
    "gptq-mixed": ["gptq", "--keep-16bit", "*.0.mlp.down_proj"],
    "gptq-act-order": ["gptq", "--act-order"],
    "gptq-v2-act-order-g32": ["gptq", "--act-order", "--group-size", "32", "--container", "gptq-v2"],
    "gptq-static-groups": ["gptq", "--act-order", "--static-groups"],
    "fp8-compressed-tensors": ["fp8", "--container", "compressed-tensors"],
    "awq-compressed-tensors": ["awq", "--container", "compressed-tensors"],
    "gptq-compressed-tensors": ["gptq", "--container", "compressed-tensors", "--act-order", "--static-groups"],
    "fp8-channel": ["fp8-channel"],
    "fp8-block": ["fp8-block"],
    "int8-static": ["int8-static"],
    "int8-gptq": ["int8", "--algorithm", "smoothquant+gptq"],
    "w8a16-g32": ["w8a16", "--group-size", "32"],
    "gptq-v2-zero-points": ["gptq", "--zero-points", "--container", "gptq-v2"],
}


def perplexity(network, tokens):
    total, n = 0.0, 0
    with torch.no_grad():
        for begin in range(0, len(tokens) - 1, CONTEXT):
            window = torch.tensor(tokens[begin:begin + CONTEXT])
            logits = network(window[None]).logits[0, :-1].float()
            total += torch.nn.functional.cross_entropy(logits, window[1:], reduction="sum").item()
            n += len(window) - 1
    return math.exp(total / n)


def rounding_error(golden):
    tensors = load_file(golden)
    off = torch.cat([tensors[f"rounded.{i}"] - tensors[f"exact.{i}"] for i in range(len(PASSAGES))])
    return off.square().mean().sqrt().item()


def check(name, build, model, work, text_file, tokens):
    directory = work / name
    subprocess.run([build / "trimeter", "quantize", model, "--format", *CASES[name], "-o", directory], check=True,
                   capture_output=True)
    opened = reference.Reference(directory)
    out = subprocess.run([build / "trimeter", "eval", directory, "--text", text_file, "--context", str(CONTEXT), "--json"],
                         check=True, capture_output=True, text=True)
    ours = json.loads(out.stdout)["perplexity"]
    theirs, rounded = (perplexity(opened.models[m], tokens) for m in ("theirs", "rounded"))
    golden = directory / "golden.safetensors"
    opened.write_golden(golden, [tokens[a:b] for a, b in PASSAGES], 8)
    allowed = 4 * math.sqrt(2 / len(tokens)) * rounding_error(golden)
    ok = abs(ours / rounded - 1) <= allowed
    print(f"{name:22} perplexity: ours {ours:.4f}  theirs {theirs:.4f} ({ours / theirs - 1:+.2e})  with our rounding "
          f"{rounded:.4f} ({ours / rounded - 1:+.2e}; allowed {allowed:.1e})  {'ok' if ok else 'FAILED'}", flush=True)
    return ok


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    build, model, work = (pathlib.Path(argument).resolve() for argument in sys.argv[1:4])
    work.mkdir(parents=True)
    text_file = pathlib.Path(reference.__file__).parent / "perplexity/passages.txt"
    tokens = tokenizers.Tokenizer.from_file(str(model / "tokenizer.json")).encode(
        text_file.read_text(), add_special_tokens=False).ids
    passed = [check(name, build, model, work, text_file, tokens) for name in sys.argv[4:] or CASES]
    logits = subprocess.run([build / "containers_golden_test"], env=os.environ | {"TRIMETER_GOLDEN_CONTAINERS": str(work)})
    return 0 if all(passed) and logits.returncode == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
