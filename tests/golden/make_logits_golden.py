#!/usr/bin/env python3
"""Writes tests/golden/logits/: tiny random models and what transformers computes with them and with models/demo.

Usage: make_logits_golden.py                 needs torch, transformers, tokenizers, safetensors, numpy

For each case, golden.safetensors has for sequence i
    tokens.i      I32 [n]
    positions.i   I32 [p]         the positions whose logits are kept
    logits.i      F32 [p, vocab]  transformers, float32, eager attention
    errors.i      F32 [4]         distances over those positions: max and rms of |float32 - exact|,
                                  max and rms of |bfloat16 - float32|, all of transformers
"exact" is exact_logits() below: the same formulas in float64 by numpy, rotary angles too. What one order of rounding in
float32 is away from it tells how far two orders may be apart.
"""
import json
import pathlib
import platform
import shutil

import numpy as np
import safetensors
import safetensors.torch
import tokenizers
import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = pathlib.Path(__file__).resolve().parent / "logits"
STORY = (
    "The old man had lived by the river all his life, and he knew every stone in it. In the morning he would walk down to "
    "the water with his dog and look at the boats that came up from the sea. \"There is a storm coming,\" he said to the "
    "boy who sat upon the wall. The boy laughed, for the sky was blue and there was no wind at all. But before the sun "
    "went down, the clouds had gathered over the hills, and the rain began to fall upon the roofs of the little town. "
    "Tom has 12 apples. He gives 3 of them to his sister and buys 8 more at the market for 2 dollars each. How many "
    "apples does Tom have now, and how much money did he spend? Tom has 12 - 3 + 8 = 17 apples. He spent 8 * 2 = 16 "
    "dollars. The boy ran home through the wet streets, and his mother stood at the door with a lamp in her hand."
)


def rope_frequencies(config):
    """float64 inverse frequencies, scaled as modeling_rope_utils.py does."""
    rope = config.rope_parameters
    freq = rope["rope_theta"] ** (-np.arange(0, config.head_dim, 2, dtype=np.float64) / config.head_dim)
    if rope["rope_type"] == "linear":
        return freq / rope["factor"]
    if rope["rope_type"] == "llama3":
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        turns = rope["original_max_position_embeddings"] * freq / (2 * np.pi)
        keep = np.clip((turns - low) / (high - low), 0, 1)
        return (1 - keep) * freq / rope["factor"] + keep * freq
    return freq


def exact_logits(model, tokens):
    """[n, vocab] in float64 from the model's weights."""
    config = model.config
    w = {name: p.detach().to(torch.float64).numpy() for name, p in model.named_parameters()}
    n, d, heads, kv_heads = len(tokens), config.head_dim, config.num_attention_heads, config.num_key_value_heads

    def norm(x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + config.rms_norm_eps) * w[name + ".weight"]

    def linear(x, name):
        return x @ w[name + ".weight"].T + w.get(name + ".bias", 0)

    angles = np.arange(n, dtype=np.float64)[:, None] * rope_frequencies(config)[None]
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]

    def rope(x):
        a, b = x[..., : d // 2], x[..., d // 2:]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    x = w["model.embed_tokens.weight"][tokens]
    for i in range(config.num_hidden_layers):
        at = f"model.layers.{i}."
        y = norm(x, at + "input_layernorm")
        q = rope(linear(y, at + "self_attn.q_proj").reshape(n, heads, d))
        k = rope(linear(y, at + "self_attn.k_proj").reshape(n, kv_heads, d)).repeat(heads // kv_heads, 1)
        v = linear(y, at + "self_attn.v_proj").reshape(n, kv_heads, d).repeat(heads // kv_heads, 1)
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(d) + np.triu(np.full((n, n), -np.inf), 1)
        p = np.exp(scores - scores.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        x = x + linear(np.einsum("hqk,khd->qhd", p, v).reshape(n, heads * d), at + "self_attn.o_proj")
        y = norm(x, at + "post_attention_layernorm")
        gate = linear(y, at + "mlp.gate_proj")
        x = x + linear(gate / (1 + np.exp(-gate)) * linear(y, at + "mlp.up_proj"), at + "mlp.down_proj")
    return norm(x, "model.norm") @ w.get("lm_head.weight", w["model.embed_tokens.weight"]).T


def load(directory, dtype):
    return AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, attn_implementation="eager").eval()


def rms(x):
    return float(np.sqrt((x * x).mean()))


def write_golden(directory, out, sequences, n_positions):
    model, rounded = load(directory, torch.float32), load(directory, torch.bfloat16)
    if getattr(model.config, "head_dim", None) is None:
        model.config.head_dim = model.config.hidden_size // model.config.num_attention_heads
    tensors = {}
    for i, tokens in enumerate(sequences):
        positions = np.unique(np.linspace(0, len(tokens) - 1, n_positions).round().astype(np.int64))
        with torch.no_grad():
            ids = torch.tensor([tokens])
            logits = model(ids).logits[0, positions].numpy()
            logits_bf16 = rounded(ids).logits[0, positions].to(torch.float32).numpy()
        off = np.abs(logits.astype(np.float64) - exact_logits(model, tokens)[positions])
        off_bf16 = np.abs(logits_bf16 - logits)
        errors = [float(off.max()), rms(off), float(off_bf16.max()), rms(off_bf16)]
        print(f"{out.name} {len(tokens):4d} tokens: |logit| <= {np.abs(logits).max():.2f}, errors",
              *(f"{e:.2e}" for e in errors))
        tensors[f"tokens.{i}"] = torch.tensor(tokens, dtype=torch.int32)
        tensors[f"positions.{i}"] = torch.tensor(positions, dtype=torch.int32)
        tensors[f"logits.{i}"] = torch.from_numpy(logits).contiguous()
        tensors[f"errors.{i}"] = torch.tensor(errors, dtype=torch.float32)
    safetensors.torch.save_file(tensors, out / "golden.safetensors")


def randomize(model, seed):
    """Matrices that keep the size of their input, norms around 1, biases that matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if "norm" in name:
                p.copy_(1 + 0.2 * noise)
            elif name.endswith("bias"):
                p.copy_(0.3 * noise)
            else:
                p.copy_(noise / p.shape[1] ** 0.5 * (4 if "embed" in name else 1))
    return model


def write_model(name, model, dtype, **save):
    out = OUT / name
    out.mkdir(parents=True)
    model.to(dtype).save_pretrained(out, **save)
    (out / "generation_config.json").unlink(missing_ok=True)
    return out


def as_transformers_v4(directory):
    """config.json as the Hub's models have it: rope_theta, rope_scaling and torch_dtype."""
    path = directory / "config.json"
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config, indent=2) + "\n")


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    (OUT / "demo").mkdir(parents=True)
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    text = tokenizers.Tokenizer.from_file(str(ROOT / "models/demo/tokenizer.json")).encode(STORY).ids
    write_golden(ROOT / "models/demo", OUT / "demo", [text[:7], text[20:60], text[:200]], 8)

    tiny = {"vocab_size": 300, "num_hidden_layers": 2, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
            "bos_token_id": 1, "eos_token_id": 2}
    qwen2 = Qwen2Config(hidden_size=128, intermediate_size=128, num_attention_heads=4, num_key_value_heads=2,
                        tie_word_embeddings=False, **tiny)
    llama2 = LlamaConfig(hidden_size=64, intermediate_size=160, num_attention_heads=4, num_key_value_heads=4, head_dim=32,
                         **tiny)
    llama3 = LlamaConfig(hidden_size=128, intermediate_size=192, num_attention_heads=8, num_key_value_heads=2,
                         tie_word_embeddings=True, rope_parameters={
                             "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
                             "high_freq_factor": 4.0, "original_max_position_embeddings": 32}, **tiny)
    linear = LlamaConfig(hidden_size=64, intermediate_size=128, num_attention_heads=2, num_key_value_heads=1,
                         rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}, **tiny)
    biased = LlamaConfig(hidden_size=64, intermediate_size=128, num_attention_heads=4, num_key_value_heads=2,
                         attention_bias=True, mlp_bias=True, **tiny)
    directories = [
        write_model("qwen2_untied", randomize(Qwen2ForCausalLM(qwen2), 1), torch.bfloat16),
        write_model("llama2_fp16", randomize(LlamaForCausalLM(llama2), 2), torch.float16),
        write_model("llama3_sharded", randomize(LlamaForCausalLM(llama3), 3), torch.bfloat16, max_shard_size="150KB"),
        write_model("llama_linear_rope", randomize(LlamaForCausalLM(linear), 4), torch.bfloat16),
        write_model("llama_biases_fp32", randomize(LlamaForCausalLM(biased), 5), torch.float32),
    ]
    for directory in directories[1:4]:
        as_transformers_v4(directory)
    tokens = np.random.default_rng(6).integers(0, 300, 100).tolist()
    for directory in directories:
        write_golden(directory, directory, [tokens[:1], tokens[10:27], tokens], 10)

    versions = {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__,
                "tokenizers": tokenizers.__version__, "safetensors": safetensors.__version__, "numpy": np.__version__}
    (OUT / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")


if __name__ == "__main__":
    main()
