#!/usr/bin/env python3
"""Writes tests/golden/containers/: tiny models as the ecosystem's own quantizers write them, and what other code computes
with them (containers_reference.py: golden.safetensors in each).

Usage: make_containers_golden.py STEP...     a step needs the packages named; their versions go to versions.json

    llmcompressor   llmcompressor 0.14.0.1 (compressed-tensors 0.19.0, transformers 5.17.0, torch 2.14.0)
    gptqmodel       gptqmodel 7.7.0 (transformers 5.23.0, torch 2.15.0; installed with BUILD_CUDA_EXT=0)
    transformers    transformers 5.23.0
    autoawq=DIR     awq/ of autoawq 0.2.9's source package, for its packing code
    formula         nothing more
    actorder        compressed-tensors 0.10.2, in PYTHONPATH
    golden          gptqmodel, optimum 2.3.0, compressed-tensors 0.20.0: golden.safetensors of all directories but those
                    that its environment can't read (OTHER_READERS); again in those of llmcompressor and actorder
"""
import importlib.metadata
import importlib.util
import json
import pathlib
import shutil
import sys
import tempfile
import types

import safetensors.torch
import torch
import transformers
import containers_reference as reference
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

OUT = pathlib.Path(__file__).resolve().parent / "containers"
VOCAB = 64
N_CALIBRATION, CALIBRATION_TOKENS = 16, 64


def randomize(model, seed):
    """Matrices that keep the size of their input, with rows and inputs of unequal size; norms around 1; biases that
    matter."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name:
                p.copy_(1 + 0.2 * normal(*p.shape))
            elif name.endswith("bias"):
                p.copy_(0.3 * normal(*p.shape))
            elif "embed" in name or "lm_head" in name:
                p.copy_(normal(*p.shape) * (4 if "embed" in name else 1) / p.shape[1] ** 0.5)
            else:
                uneven = torch.exp(0.5 * normal(p.shape[0], 1)) * torch.exp(0.5 * normal(1, p.shape[1]))
                p.copy_((normal(*p.shape) + 0.3) * uneven / p.shape[1] ** 0.5)
    return model


def tiny(kind, seed, n_layers=2, hidden=64, inner=128, kv_heads=2):
    shape = dict(vocab_size=VOCAB, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=n_layers,
                 num_attention_heads=4, num_key_value_heads=kv_heads, max_position_embeddings=256, rms_norm_eps=1e-5,
                 bos_token_id=1, eos_token_id=2, tie_word_embeddings=True)
    model = Qwen2ForCausalLM(Qwen2Config(**shape)) if kind == "qwen2" else LlamaForCausalLM(LlamaConfig(**shape))
    return randomize(model, seed).to(torch.bfloat16)


def wide(kind, seed):
    """Two groups of 128 in down_proj, one elsewhere."""
    return tiny(kind, seed, 1, hidden=128, inner=256, kv_heads=1)


def save_dense(model, directory):
    model.save_pretrained(directory)
    reference.save_tokenizer(directory)


def token_sequences(seed, n, length):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, VOCAB, (length,), generator=generator).tolist() for _ in range(n)]


def finish(directory, out, writer, *packages):
    """Of what a writer saved, what a reader needs."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "quantize_config.json"):
        if (directory / name).exists():
            shutil.copyfile(directory / name, out / name)
    versions = {p: importlib.metadata.version(p) for p in (*packages, "transformers", "torch")}
    (out / "versions.json").write_text(json.dumps({"writer": writer} | versions, indent=2) + "\n")


# llmcompressor -----------------------------------------------------------------------------------------------------

def weights_args(**args):
    return {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 128} | args


def group(weights, inputs=None, targets=("Linear",)):
    return {"targets": list(targets), "weights": weights, "input_activations": inputs}


INT8_CHANNEL = dict(num_bits=8, type="int", symmetric=True, strategy="channel")
STATIC = dict(num_bits=8, symmetric=True, strategy="tensor", dynamic=False)


def llmcompressor_cases():
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    def gptq(groups, **options):
        return [GPTQModifier(config_groups=groups, ignore=["lm_head"], **options)]

    def plain(**options):
        return [QuantizationModifier(**({"ignore": ["lm_head"]} | options))]

    int4_channel = dict(num_bits=4, type="int", symmetric=True, strategy="channel")
    fp8_channel = dict(num_bits=8, type="float", symmetric=True, strategy="channel")
    per_token = dict(num_bits=8, type="int", symmetric=True, strategy="token", dynamic=True)
    return {
        "ct-int4-g128": (wide("llama", 1), gptq({"group_0": group(weights_args())})),
        "ct-int4-g64-asymmetric": (tiny("qwen2", 2), gptq({"group_0": group(weights_args(symmetric=False, group_size=64))},
                                                          actorder="weight")),
        "ct-int4-channel": (tiny("llama", 3, 1), plain(config_groups={"group_0": group(int4_channel)})),
        "ct-w8a16": (tiny("qwen2", 5, 1), plain(config_groups={"group_0": group(INT8_CHANNEL)})),
        "ct-int8": (tiny("llama", 6, 1), [SmoothQuantModifier(smoothing_strength=0.8)] + gptq(
            {"group_0": group(INT8_CHANNEL, per_token)})),
        "ct-int8-static": (tiny("qwen2", 7, 1), plain(config_groups={
            "group_0": group(INT8_CHANNEL, STATIC | {"type": "int"})})),
        "ct-fp8": (tiny("qwen2", 8, 1), plain(scheme="FP8", targets="Linear")),
        "ct-fp8-dynamic": (tiny("llama", 9, 1), plain(scheme="FP8_DYNAMIC", targets="Linear")),
        "ct-fp8-kv": (tiny("qwen2", 13), plain(config_groups={"group_0": group(fp8_channel, per_token | {"type": "float"})},
                                               kv_cache_scheme=STATIC | {"type": "float"})),
        "ct-fp8-channel-static": (tiny("llama", 10, 1), plain(config_groups={
            "group_0": group(fp8_channel, STATIC | {"type": "float"})})),
        "ct-fp8-block": (tiny("llama", 11, 1, hidden=128, kv_heads=4), plain(scheme="FP8_BLOCK", targets="Linear")),
        "ct-mixed": (tiny("qwen2", 12), plain(ignore=["lm_head", "re:.*layers.1.*down_proj"], config_groups={
            "group_0": group(weights_args(group_size=32), targets=["re:.*self_attn.*"]),
            "group_1": group(INT8_CHANNEL, targets=["re:.*mlp.*"])})),
    }


def write_llmcompressor(only):
    from datasets import Dataset
    from llmcompressor import oneshot
    data = Dataset.from_list([{"input_ids": ids, "attention_mask": [1] * len(ids)}
                              for ids in token_sequences(100, N_CALIBRATION, CALIBRATION_TOKENS)])
    for name, (model, recipe) in llmcompressor_cases().items():
        if only and name not in only:
            continue
        with tempfile.TemporaryDirectory() as directory:
            dense, written = pathlib.Path(directory, "dense"), pathlib.Path(directory, "written")
            save_dense(model, dense)
            oneshot(model=str(dense), dataset=data, recipe=recipe, max_seq_length=CALIBRATION_TOKENS,
                    num_calibration_samples=N_CALIBRATION, output_dir=str(written), precision="auto")
            finish(written, OUT / name, "llmcompressor.oneshot", "llmcompressor", "compressed-tensors")


# gptqmodel ---------------------------------------------------------------------------------------------------------

def gptqmodel_cases():
    from gptqmodel.quantization.config import AWQConfig, FORMAT, GPTQConfig
    order = dict(desc_act=True, act_group_aware=False)
    return {
        "gptq-v1-g128": (wide("qwen2", 21), GPTQConfig(bits=4, group_size=128, sym=True)),
        "gptq-v1-g32-desc-act": (tiny("llama", 22), GPTQConfig(bits=4, group_size=32, sym=True, **order)),
        "gptq-v1-g64-asymmetric": (tiny("llama", 23, 1), GPTQConfig(bits=4, group_size=64, sym=False)),
        "gptq-v2-g32-asymmetric-desc-act": (tiny("qwen2", 24, 1), GPTQConfig(
            bits=4, group_size=32, sym=False, format=FORMAT.GPTQ_V2, **order)),
        "gptq-v1-dynamic": (tiny("llama", 25), GPTQConfig(
            bits=4, group_size=32, sym=True, act_group_aware=False, dynamic={r"-:.*\.0\.mlp\.down_proj": {},
                                                      r"+:.*\.1\.mlp\..*": {"bits": 8, "group_size": -1}})),
        "awq-gptqmodel-g64": (tiny("llama", 26, 1, kv_heads=4), AWQConfig(bits=4, group_size=64, sym=False, format=FORMAT.GEMM)),
    }


def write_gptqmodel(only):
    from gptqmodel import BACKEND, GPTQModel
    data = [{"input_ids": ids, "attention_mask": [1] * len(ids)}
            for ids in token_sequences(100, N_CALIBRATION, CALIBRATION_TOKENS)]
    for name, (model, config) in gptqmodel_cases().items():
        if only and name not in only:
            continue
        with tempfile.TemporaryDirectory() as directory:
            dense, written = pathlib.Path(directory, "dense"), pathlib.Path(directory, "written")
            save_dense(model, dense)
            theirs = GPTQModel.load(str(dense), config, device="cpu")
            theirs.quantize(data, batch_size=4)
            theirs.save(str(written))
            finish(written, OUT / name, "GPTQModel.quantize", "gptqmodel")


# by layer functions of other packages ------------------------------------------------------------------------------

def write_by_matrix(name, model, quantize, config, writer, *packages):
    """quantize(weight) -> tensors of the module, by what stands behind its name. Biases are kept."""
    tensors = {}
    for key, tensor in model.state_dict().items():
        if ".layers." not in key or not key.endswith("proj.weight"):
            if key != "lm_head.weight":  # tied
                tensors[key] = tensor
            continue
        tensors |= {key.removesuffix("weight") + kind: t.contiguous() for kind, t in quantize(key, tensor).items()}
    with tempfile.TemporaryDirectory() as directory:
        written = pathlib.Path(directory)
        safetensors.torch.save_file(tensors, written / "model.safetensors", metadata={"format": "pt"})
        described = json.loads(model.config.to_json_string(use_diff=False)) | {
            "architectures": [type(model).__name__], "dtype": str(model.dtype).removeprefix("torch."),
            "quantization_config": config}
        (written / "config.json").write_text(json.dumps(described, indent=2) + "\n")
        finish(written, OUT / name, writer, *packages)


def write_autoawq(source):
    """WQLinear_GEMM.from_linear, with scales and zero points by the formula of AwqQuantizer.pseudo_quantize_tensor."""
    for name in ("awq", "awq.modules", "awq.modules.linear", "awq.utils"):  # without their __init__.py, which import all
        package = types.ModuleType(name)
        package.__path__ = [str(pathlib.Path(source, *name.split(".")))]
        sys.modules[name] = package
    from awq.modules.linear.gemm import WQLinear_GEMM
    size = 64
    model = tiny("llama", 31, 1).to(torch.float16)

    def quantize(key, weight):
        groups = weight.float().reshape(weight.shape[0], -1, size)
        low, high = groups.amin(-1), groups.amax(-1)
        scales = ((high - low).clamp(min=1e-5) / 15).half()
        zeros = (-torch.round(low / scales.float())).clamp(0, 15)
        codes = (torch.round(groups / scales.float()[..., None]) + zeros[..., None]).clamp(0, 15)
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        linear.weight.data = ((codes - zeros[..., None]) * scales.float()[..., None]).reshape(weight.shape)
        packed = WQLinear_GEMM.from_linear(linear, 4, size, scales=scales.T.contiguous().float(), zeros=zeros.T.contiguous())
        return {kind: getattr(packed, kind) for kind in ("qweight", "qzeros", "scales")}

    write_by_matrix("awq-autoawq-g64", model, quantize, {
        "quant_method": "awq", "bits": 4, "group_size": size, "zero_point": True, "version": "gemm",
        "modules_to_not_convert": None}, "autoawq 0.2.9: WQLinear_GEMM.from_linear")


def write_transformers():
    from transformers.integrations.finegrained_fp8 import Fp8Quantize
    config = transformers.FineGrainedFP8Config(modules_to_not_convert=["lm_head"])
    fp8 = Fp8Quantize(types.SimpleNamespace(quantization_config=config, pre_quantized=False))

    def quantize(key, weight):
        return {k.rpartition(".")[2]: t for k, t in fp8._quantize_one(key, weight).items()}

    write_by_matrix("fp8-block", tiny("qwen2", 32, 1, hidden=128, inner=256, kv_heads=4), quantize, config.to_dict(), "Fp8Quantize")


def write_formula():
    """What AutoFP8 wrote: a scale for each tensor, static activations. The parts of a fused linear differ."""
    model = tiny("qwen2", 33, 1)

    def quantize(key, weight):
        scale = weight.abs().amax().float() / 448
        inputs = 0.03 if "down_proj" in key or "o_proj" in key else 0.02
        return {"weight": (weight.float() / scale).clamp(-448, 448).to(torch.float8_e4m3fn), "weight_scale": scale,
                "input_scale": torch.tensor(inputs * (1.1 if "k_proj" in key or "up_proj" in key else 1))}

    write_by_matrix("fp8-tensor-static", model, quantize, {
        "quant_method": "fp8", "activation_scheme": "static", "ignored_layers": ["lm_head"]}, "by formula")


def write_actorder():
    """compressed-tensors' act-order, which its newer versions have dropped; groups of inputs by falling size."""
    from compressed_tensors.compressors.quantized_compressors.pack_quantized import PackedQuantizationCompressor
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.utils import calculate_qparams
    size = 32
    args = QuantizationArgs(num_bits=4, strategy="group", group_size=size, actorder="group")
    compressor = PackedQuantizationCompressor()

    def quantize(key, weight):
        n = weight.shape[1]
        seed = int("".join(c for c in key if c.isdigit())) * 2 + ("o_proj" in key) + 100 * ("down" in key) + 7 * ("mlp" in key)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))  # q, k, v see the same inputs
        groups = torch.empty(n, dtype=torch.int32)
        groups[order] = torch.arange(n, dtype=torch.int32) // size
        ordered = weight.float()[:, order].reshape(weight.shape[0], -1, size)
        scale, zero = calculate_qparams(ordered.amin(-1), ordered.amax(-1), args)
        scale = scale.to(weight.dtype)
        packed = compressor.compress_weight(weight=weight, scale=scale, zero_point=zero, quantization_args=args, g_idx=groups)
        return packed | {"weight_scale": scale, "weight_g_idx": groups}

    group = {"targets": ["Linear"], "weights": json.loads(args.model_dump_json()), "input_activations": None,
             "output_activations": None}
    write_by_matrix("ct-int4-g32-actorder", tiny("qwen2", 34, 1), quantize, {
        "quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed",
        "kv_cache_scheme": None, "config_groups": {"group_0": group}, "ignore": ["lm_head"]},
        "PackedQuantizationCompressor", "compressed-tensors")


# Versions of compressed-tensors: 0.20 has no act-order, and with it transformers finds packed zero points too small.
OTHER_READERS = {"ct-int4-g32-actorder": "0.10", "ct-int4-g64-asymmetric": "0.19"}


def write_golden(only):
    torch.set_num_threads(1)
    version = importlib.metadata.version("compressed-tensors").rpartition(".")[0]
    for directory in sorted(path for path in OUT.iterdir() if path.is_dir()):
        if (only and directory.name not in only) or OTHER_READERS.get(directory.name, "0.20") != version:
            continue
        print(directory.name, reference.Reference(directory).write_golden(directory / "golden.safetensors", [
            *token_sequences(7, 3, 4), *token_sequences(8, 1, 24)], 2), flush=True)


def main():
    OUT.mkdir(exist_ok=True)
    steps = [s for s in sys.argv[1:] if not (OUT / s).is_dir() and not s.startswith(("ct-", "gptq-", "awq-"))]
    only = [s for s in sys.argv[1:] if s not in steps]
    if not steps:
        sys.exit(__doc__)
    for step in steps:
        if step.startswith("autoawq="):
            write_autoawq(step.removeprefix("autoawq="))
        else:
            write = {"llmcompressor": write_llmcompressor, "gptqmodel": write_gptqmodel, "transformers": write_transformers,
                     "formula": write_formula, "actorder": write_actorder, "golden": write_golden}[step]
            write(only) if step in ("llmcompressor", "gptqmodel", "golden") else write()


if __name__ == "__main__":
    main()
