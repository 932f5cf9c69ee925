#!/usr/bin/env python3
"""Holds quantized directories to the code of the projects whose layouts they are in.

Usage: check_containers.py TRIMETER MODEL WORK [--awq-source DIR]

  ours     `trimeter quantize MODEL` in every format; the weights are decoded by compressed-tensors' compressors, by
           AutoAWQ's packing_utils.py (from its source package), or by the layout's published formula
  theirs   MODEL quantized to nearest and packed by compressed-tensors' compressors in several schemes
Each directory's perplexity by `trimeter eval` against transformers' in float32 with the decoded weights. Not needed at
run time. Checked with compressed-tensors 0.20.0, autoawq 0.2.9, transformers 5.23.0, torch 2.15.0.
"""
import argparse
import importlib.util
import json
import math
import pathlib
import shutil
import subprocess
import sys

import torch
import transformers
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import load_file, save_file

CONTEXT = 256
# Ours multiplies in bf16, theirs in float32; W8A8 rounds activations to 8 bits, which the decoded weights do not.
TOLERANCE = {"weights": 2e-3, "activations": 3e-2}


def scheme_of(config):
    group = config["config_groups"]["group_0"]
    return QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**group["weights"]))


def module_tensors(tensors):
    modules = {}
    for name, tensor in tensors.items():
        module, _, kind = name.rpartition(".")
        modules.setdefault(module, {})[kind] = tensor
    return modules


def decode_fp8(parts, config):
    return parts["weight"].float() * parts["weight_scale"].float()


def decode_awq(parts, config, source):
    path = source / "awq/utils/packing_utils.py"
    spec = importlib.util.spec_from_file_location("packing_utils", path)
    packing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(packing)
    bits, group = config["bits"], config["group_size"]
    iweight, izeros = packing.unpack_awq(parts["qweight"], parts["qzeros"], bits)
    iweight, izeros = packing.reverse_awq_order(iweight, izeros, bits)
    iweight, izeros = iweight & 15, izeros & 15
    scales = parts["scales"].float().repeat_interleave(group, 0)
    return ((iweight.float() - izeros.float().repeat_interleave(group, 0)) * scales).T


def decode_compressed(parts, config):
    state = {**parts, "weight_scale": parts["weight_scale"].float()}
    layout = config["config_groups"]["group_0"].get("format") or config["format"]
    return BaseCompressor.get_value_from_registry(layout).decompress(state, scheme_of(config))["weight"]


def decoded(directory, awq_source):
    """The checkpoint with every quantized module as a float32 weight."""
    config = json.loads((directory / "config.json").read_text())["quantization_config"]
    dense = {}
    for module, parts in module_tensors(load_file(directory / "model.safetensors")).items():
        rest = {k: v for k, v in parts.items() if k in ("weight", "bias")}
        if "qweight" in parts:
            rest["weight"] = decode_awq(parts, config, awq_source)
        elif "weight_packed" in parts or "weight_scale" in parts:
            decode = decode_fp8 if config["quant_method"] == "fp8" else decode_compressed
            rest["weight"] = decode(parts, config)
        dense.update({f"{module}.{k}": v.float() for k, v in rest.items()})
    return dense


def perplexity_of_transformers(model, weights, text):
    config = transformers.AutoConfig.from_pretrained(model)
    network = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    missing, unexpected = network.load_state_dict(weights, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    network.tie_weights()
    tokens = transformers.AutoTokenizer.from_pretrained(model)(text, add_special_tokens=False)["input_ids"]
    total, n = 0.0, 0
    with torch.no_grad():
        for begin in range(0, len(tokens) - 1, CONTEXT):
            window = torch.tensor([tokens[begin:begin + CONTEXT]])
            logits = network(window).logits[0, :-1]
            total += torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="sum").item()
            n += window.shape[1] - 1
    return math.exp(total / n)


THEIRS = {
    "pack4-g128": ("pack-quantized", dict(num_bits=4, strategy="group", group_size=128)),
    "pack4-g64-asymmetric": ("pack-quantized", dict(num_bits=4, strategy="group", group_size=64, symmetric=False)),
    "pack4-channel": ("pack-quantized", dict(num_bits=4, strategy="channel")),
    "pack8-channel": ("pack-quantized", dict(num_bits=8, strategy="channel")),
    "int8": ("int-quantized", dict(num_bits=8, strategy="channel")),
    "fp8-channel": ("float-quantized", dict(num_bits=8, type="float", strategy="channel")),
}


def write_theirs(model, output, layout, arguments):
    shutil.copytree(model, output)
    args = QuantizationArgs(**arguments)
    activations = layout != "pack-quantized"
    inputs = dict(num_bits=8, type=arguments.get("type", "int"), strategy="token", dynamic=True) if activations else None
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    tensors = {}
    for name, tensor in load_file(model / "model.safetensors").items():
        if ".layers." not in name or not name.endswith("proj.weight"):
            tensors[name] = tensor
            continue
        width = args.group_size or tensor.shape[1]
        groups = tensor.float().reshape(tensor.shape[0], -1, width)
        scale, zero = calculate_qparams(groups.amin(-1), groups.amax(-1), args)
        state = {"weight": tensor.float(), "weight_scale": scale.to(tensor.dtype).float(), "weight_zero_point": zero}
        state = BaseCompressor.get_value_from_registry(layout).compress(state, scheme)
        state["weight_scale"] = state["weight_scale"].to(tensor.dtype)
        tensors.update({name.removesuffix("weight") + kind: t.contiguous() for kind, t in state.items() if t is not None})
    save_file(tensors, output / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((model / "config.json").read_text())
    group = {"targets": ["Linear"], "weights": json.loads(args.model_dump_json()), "input_activations": inputs}
    config["quantization_config"] = {"quant_method": "compressed-tensors", "format": layout, "ignore": ["lm_head"],
                                     "config_groups": {"group_0": group}}
    (output / "config.json").write_text(json.dumps(config))


def main():
    parser = argparse.ArgumentParser()
    for name in ("trimeter", "model", "work"):
        parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("--awq-source", type=pathlib.Path)
    flags = parser.parse_args()
    text_file = pathlib.Path(__file__).parent.parent / "tests/golden/perplexity/passages.txt"
    flags.work.mkdir(parents=True)
    directories = []
    for name in ("w4a16", "w8a16", "int8", "fp8", "awq"):
        if name == "awq" and flags.awq_source is None:
            continue
        directories.append(flags.work / f"ours-{name}")
        subprocess.run([flags.trimeter, "quantize", flags.model, "--format", name, "-o", directories[-1]], check=True,
                       capture_output=True)
    for name, (layout, arguments) in THEIRS.items():
        directories.append(flags.work / f"theirs-{name}")
        write_theirs(flags.model, directories[-1], layout, arguments)
    failures = 0
    for directory in directories:
        out = subprocess.run([flags.trimeter, "eval", directory, "--text", text_file, "--context", str(CONTEXT), "--json"],
                             capture_output=True, text=True)
        if out.returncode:
            print(f"{directory.name}: {out.stderr.splitlines()[-1]}")
            failures += 1
            continue
        ours = json.loads(out.stdout)["perplexity"]
        theirs = perplexity_of_transformers(flags.model, decoded(directory, flags.awq_source), text_file.read_text())
        kind = "activations" if "int8" in directory.name or "fp8" in directory.name else "weights"
        ok = abs(ours / theirs - 1) < TOLERANCE[kind]
        failures += not ok
        print(f"{directory.name:28} ours {ours:9.4f}  theirs {theirs:9.4f}  {ours / theirs - 1:+.2e}  {'ok' if ok else 'FAILED'}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
