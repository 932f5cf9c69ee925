#!/usr/bin/env python3
"""Perplexity of the demo model by transformers, for tests/e2e/test_eval.py.

Usage: make_perplexity_golden.py [TEXT CONTEXT ...]      (torch, transformers)

Windows are consecutive, CONTEXT tokens each, no token added; every token but a window's first is scored. Without
arguments it writes perplexity/passages.txt (the evaluation passages) and perplexity/golden.json; with them it prints
the figures of TEXT in bf16 and fp32.
"""
import json
import math
import pathlib
import sys

import torch
import transformers

HERE = pathlib.Path(__file__).parent
MODEL = HERE.parent.parent / "models/demo"


def perplexity(tokens, context, dtype):
    model = transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype=dtype, attn_implementation="eager").eval()
    total, n_scored = 0.0, 0
    with torch.no_grad():
        for begin in range(0, len(tokens), context):
            window = torch.tensor([tokens[begin:begin + context]])
            if window.shape[1] < 2:
                continue
            logits = model(window).logits[0, :-1].float()
            total += torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="none").double().sum().item()
            n_scored += window.shape[1] - 1
    return {"perplexity": math.exp(total / n_scored), "nll": total / n_scored, "tokens_scored": n_scored}


def figures(text, context):
    tokens = transformers.AutoTokenizer.from_pretrained(MODEL)(text, add_special_tokens=False)["input_ids"]
    return {"context": context,
            **{name: perplexity(tokens, context, dtype) for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32))}}


def main():
    if len(sys.argv) > 2:
        for context in sys.argv[2:]:
            print(json.dumps(figures(pathlib.Path(sys.argv[1]).read_text(), int(context))))
        return
    passages = (HERE.parent.parent / "data/eval/passages.jsonl").read_text().splitlines()
    text = "\n\n".join(json.loads(line)["text"] for line in passages) + "\n"
    (HERE / "perplexity/passages.txt").write_text(text)
    golden = {"versions": {"torch": torch.__version__, "transformers": transformers.__version__},
              "windows": [figures(text, context) for context in (64, 256, 1000)]}
    (HERE / "perplexity/golden.json").write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    main()
