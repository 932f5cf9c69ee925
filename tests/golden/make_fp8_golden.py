#!/usr/bin/env python3
"""Writes fp8/online.json beside itself: the codes and scales of vLLM's online fp8 on weights and activations full of
rounding ties, computed by torch. Needs torch (made with 2.15).

What vLLM's CUDA operators compute (csrc/quantization/w8a8/fp8/common.cu; docs/decisions/0004-fp8-semantics.md):
  weights      scaled_fp8_quant(weight): scale = amax / 448 of the fused matrix; codes of weight * (1 / scale)
  activations  the same, per token, use_per_token_if_dynamic: scale = max(amax / 448, 1 / (448 * 512)); codes of x / scale
each in float32, clamped to +-448, rounded to nearest even.

Values are stored as the integers of bf16s (weights) or of floats (activations). A matrix or token of `step` holds
step * t for the midpoints t between neighbouring e4m3s: there a quotient is exactly a tie, and a product with a rounded
reciprocal often is not. The script refuses data on which the two would agree.
"""
import json
import pathlib

import torch

MAX = 448.0
E4M3 = torch.arange(0x7F, dtype=torch.uint8).view(torch.float8_e4m3fn).float()  # 0 ... 448
MIDPOINTS = (E4M3[1:] + E4M3[:-1]) / 2


def codes(x):
    return x.clamp(-MAX, MAX).to(torch.float8_e4m3fn).view(torch.uint8)


def ties(step, n):
    """n values, half of them negative: step * 448, then midpoints times step."""
    values = torch.cat([torch.tensor([MAX]), MIDPOINTS[torch.arange(n - 1) * 37 % len(MIDPOINTS)]]) * step
    return values * torch.tensor([1.0, -1.0]).repeat(n // 2 + 1)[:n]


def weight_case(step, generator):
    """[6, 128], bf16; the largest value in the last row, so that no part but the whole has the right amax."""
    weight = torch.cat([torch.randn(384, generator=generator) * step * 60, ties(step, 384).flip(0)]).bfloat16().reshape(6, 128)
    scale = weight.abs().amax(dim=1).float().div(MAX).amax()  # the kernel's order: rows, then the largest
    quantized = codes(weight.float() * (1 / scale))
    assert (quantized != codes(weight.float() / scale)).any(), "reciprocal and quotient agree"
    return {"weight_bf16": weight.view(torch.uint16).flatten().tolist(), "scale": scale.item(), "codes": quantized.flatten().tolist()}


def token_case(x):
    scale = torch.clamp(x.abs().amax() / MAX, min=1.0 / (MAX * 512.0))
    quantized = codes(x / scale)
    token = {"x_f32": x.view(torch.int32).tolist(), "scale": scale.item(), "codes": quantized.tolist()}
    return token, bool((quantized != codes(x * (1 / scale))).any())


def main():
    generator = torch.Generator().manual_seed(8)
    weights = [weight_case(step, generator) for step in (1.75 / 256, 1.875 / 64, 1.625 / 1024)]
    steps = [1.75, 1.90625 / 1024, 1.7 / 64, 3.3, 2.0**-20]  # the last one is below the least scale
    tokens = [ties(step, 128) for step in steps] + [torch.randn(128, generator=generator) * 3, torch.zeros(128)]
    cases = [token_case(token) for token in tokens]
    assert sum(differ for _, differ in cases) >= 3, "reciprocal and quotient agree"
    assert cases[4][0]["scale"] == torch.tensor(1 / (MAX * 512.0)).item() > steps[4], "no token has the least scale"
    result = {"torch": torch.__version__, "weights": weights, "tokens": [token for token, _ in cases]}
    path = pathlib.Path(__file__).parent / "fp8" / "online.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, separators=(",", ":")).replace("},{", "},\n{") + "\n")


if __name__ == "__main__":
    main()
