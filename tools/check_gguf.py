#!/usr/bin/env python3
"""GGUF files held to llama.cpp: our blocks to llama-quantize's, and perplexities over the same windows, both ways.

    pip download --no-binary llama-cpp-python --no-deps llama-cpp-python==0.3.36      # carries llama.cpp's sources
    cmake -B BUILD -S llama_cpp_python-0.3.36/vendor/llama.cpp -DCMAKE_BUILD_TYPE=Release -DLLAMA_CURL=OFF
    cmake --build BUILD --target llama
    pip install gguf==0.17.1 numpy diskcache jinja2 typing_extensions
    check_gguf.py --trimeter build/trimeter --llama BUILD/bin --llama-python llama_cpp_python-0.3.36

1. `trimeter quantize` writes the demo model in F16; llama.cpp makes Q8_0, Q4_0, ... of that file, by the function that
   llama-quantize calls with its defaults.
2. `trimeter quantize` writes the same types itself: every tensor must have the same type and the same bytes.
3. The same model as a Llama (attention_bias, o_proj's zero), whose q and k lie in pairs in the file: F16 and Q4_K_M of it, too.
4. llama.cpp and trimeter tokenize the text: the same tokens. Each computes the perplexity of both files over the same
   windows (trimeter eval's: consecutive, every token but a window's first): within 0.5% of each other.
5. That Llama with Llama 2's kind of tokenizer (tests/golden/text): llama.cpp gives the ids that Hugging Face's tokenizers gave.
Prints a table; exits with 1 if one of these does not hold.
"""
import argparse
import ctypes
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

import numpy as np
from gguf import GGUFReader

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONTEXT = 256
# format of trimeter quantize -> llama-quantize's name
TYPES = {"gguf-q8_0": "Q8_0", "gguf-q4_0": "Q4_0", "gguf-q4_k": "Q4_K_M", "gguf-q4_1": "Q4_1", "gguf-q5_0": "Q5_0",
         "gguf-q5_1": "Q5_1", "gguf-q2_k": "Q2_K", "gguf-q3_k": "Q3_K_M", "gguf-q5_k": "Q5_K_M", "gguf-q6_k": "Q6_K"}


def differing_tensors(a, b):
    ours, theirs = ({t.name: t for t in GGUFReader(path).tensors} for path in (a, b))
    if ours.keys() != theirs.keys():
        return sorted(ours.keys() ^ theirs.keys())
    return [n for n in ours if ours[n].tensor_type != theirs[n].tensor_type or not np.array_equal(ours[n].data, theirs[n].data)]


def as_llama(model, directory):
    """A Qwen2 model is a Llama with biases: the same function under the other architecture's conventions."""
    shutil.copytree(model, directory)
    config = json.loads((directory / "config.json").read_text())
    config.update(architectures=["LlamaForCausalLM"], model_type="llama", attention_bias=True)
    (directory / "config.json").write_text(json.dumps(config))
    raw = (directory / "model.safetensors").read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    head, data = json.loads(raw[8:8 + length]), raw[8 + length:]
    n_bytes = 2 * config["hidden_size"]
    for layer in range(config["num_hidden_layers"]):
        head[f"model.layers.{layer}.self_attn.o_proj.bias"] = {
            "dtype": "BF16", "shape": [config["hidden_size"]], "data_offsets": [len(data), len(data) + n_bytes]}
        data += bytes(n_bytes)
    text = json.dumps(head).encode()
    (directory / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    return directory


def with_sentencepiece(model, directory):
    """The model under the golden tokenizer, and that tokenizer's texts with their ids."""
    shutil.copytree(model, directory)
    golden = json.loads((ROOT / "tests/golden/text/sentencepiece_bpe.json").read_text())
    texts = json.loads((ROOT / "tests/golden/text/sentencepiece_texts.json").read_text())["texts"]
    (directory / "tokenizer.json").write_text(json.dumps(golden["base"]))
    (directory / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "</s>"}))
    (directory / "chat_template.jinja").unlink(missing_ok=True)
    llama2 = next(variant for variant in golden["variants"] if variant["name"] == "llama2")
    return directory, [(text, case[0]) for text, case in zip(texts, llama2["encode"], strict=True)]


def llama_quantize(llama_cpp, source, target, name):
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{name}")
    if llama_cpp.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)) != 0:
        sys.exit(f"llama.cpp does not make {name} of {source}")


def llama_perplexity(llama_cpp, path, text):
    model = llama_cpp.Llama(str(path), n_ctx=CONTEXT, n_batch=CONTEXT, logits_all=True, verbose=False, n_threads=1)
    tokens = model.tokenize(text.encode(), add_bos=False, special=True)
    nll, n = 0.0, 0
    for begin in range(0, len(tokens), CONTEXT):
        window = tokens[begin:begin + CONTEXT]
        if len(window) < 2:
            break
        model.reset()
        model.eval(window)
        logits = model.scores[:len(window) - 1].astype(np.float64)
        top = logits.max(axis=1)
        logsum = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
        nll += float((logsum - logits[np.arange(len(window) - 1), window[1:]]).sum())
        n += len(window) - 1
    return np.exp(nll / n), n


def our_perplexity(trimeter, path, text_file):
    subprocess.run([trimeter, "eval", path, "--text", text_file, "--context", str(CONTEXT), "--json", path + ".json"],
                   check=True, capture_output=True)
    result = json.loads(pathlib.Path(path + ".json").read_text())
    return result["perplexity"], result["tokens_scored"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("trimeter", "llama", "llama-python"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--model", default=ROOT / "models/demo")
    parser.add_argument("--text", default=ROOT / "tests/golden/perplexity/passages.txt")
    args = parser.parse_args()
    os.environ["LLAMA_CPP_LIB_PATH"] = str(pathlib.Path(args.llama).resolve())
    sys.path.insert(0, args.llama_python)
    import llama_cpp
    text = pathlib.Path(args.text).read_text()
    bad = 0
    with tempfile.TemporaryDirectory() as tmp:
        def quantize(format, model=args.model, name=""):
            path = f"{tmp}/{name}{format}.gguf"
            subprocess.run([args.trimeter, "quantize", model, "--format", format, "-o", path], check=True, capture_output=True)
            return path
        f16 = quantize("gguf-f16")
        llama = as_llama(args.model, pathlib.Path(tmp) / "llama")
        files = [("F16, ours", f16, "-")] + [
            (f"{name} as Llama, ours", quantize(format, llama, "llama-"), "-")
            for format, name in (("gguf-f16", "F16"), ("gguf-q4_k", "Q4_K_M"))]
        for format, name in TYPES.items():
            theirs, ours = f"{tmp}/{name}.gguf", quantize(format)
            llama_quantize(llama_cpp, f16, theirs, name)
            differ = differing_tensors(ours, theirs)
            bad += len(differ)
            files.append((f"{name}, llama-quantize's", theirs, "same" if not differ else f"{len(differ)} differ: {differ[:3]}"))
        print(f"{'file':28} {'blocks':8} {'llama.cpp':>10} {'trimeter':>10} {'ratio':>9}  tokens")
        for name, path, blocks in files:
            (theirs, n_theirs), (ours, n_ours) = llama_perplexity(llama_cpp, path, text), our_perplexity(args.trimeter, path, args.text)
            bad += n_theirs != n_ours or abs(ours / theirs - 1) > 0.005
            print(f"{name:28} {blocks:8} {theirs:10.5f} {ours:10.5f} {ours / theirs - 1:+9.4%}  {n_theirs} {n_ours}", flush=True)
        model, cases = with_sentencepiece(llama, pathlib.Path(tmp) / "sentencepiece")
        vocabulary = llama_cpp.Llama(quantize("gguf-q8_0", model, "sentencepiece-"), vocab_only=True, verbose=False)
        differ = [text for text, ids in cases if vocabulary.tokenize(text.encode(), add_bos=False, special=True) != ids]
        bad += len(differ)
        print(f"SentencePiece tokenizer: {len(cases)} texts, {len(differ)} with other tokens {differ[:3] or ''}")
    return 1 if bad else 0


sys.exit(main())
