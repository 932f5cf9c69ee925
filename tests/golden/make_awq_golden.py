#!/usr/bin/env python3
"""Writes awq/small.json beside itself: AWQ's searches on a small problem, as the reference's formula has them, with direct
products X @ D.T in float64 and no Gram matrix. Needs numpy (made with 2.4).

The problem is made of integers over powers of two by a counter-based generator that awq_test.cc has too, so only results
are stored. The script refuses a problem in which two choices are within MARGIN of each other: the C++ must then agree on
every exponent, clipping step, scale and code, whatever the order of its float sums.
"""
import json
import pathlib

import numpy as np

IN, OUT, TOKENS, GROUP, GRID, CLIP_STEPS = 256, 24, 96, 128, 20, 10
MARGIN = 2e-5


def uniform(seed, n):
    """n multiples of 2^-16 in [-1/2, 1/2): the upper half of a mixed 32-bit counter."""
    with np.errstate(over="ignore"):
        x = np.arange(n, dtype=np.uint32) * np.uint32(0x9E3779B9) + np.uint32(seed)
        for shift, factor in ((16, 0x21F0AAAD), (15, 0x735A2D97)):
            x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
        x ^= x >> np.uint32(15)
    return (x >> np.uint32(16)).astype(np.float32) / np.float32(65536) - np.float32(0.5)


def problem():
    x = uniform(1, TOKENS * IN).reshape(TOKENS, IN)
    w = (uniform(2, OUT * IN) + uniform(3, OUT * IN) + uniform(4, OUT * IN)).reshape(OUT, IN) / np.float32(8)
    gain = np.ones(IN, np.float32)
    gain[5::37] = 16  # outlier channels
    gain[7::5] *= np.float32(0.25)
    w[::3, 11] *= np.float32(4)  # outlier weights, for clipping
    return x * gain, w


def quantize(w):
    """AutoAWQ's pseudo_quantize_tensor in float32, its scale rounded to half as the checkpoint stores it."""
    g = w.astype(np.float32).reshape(-1, GROUP)
    low, high = g.min(1, keepdims=True), g.max(1, keepdims=True)
    scale = (np.maximum(high - low, np.float32(1e-5)) / np.float32(15)).astype(np.float16).astype(np.float32)
    zero = np.clip(-np.rint(low / scale), 0, 15)
    code = np.clip(np.rint(g / scale) + zero, 0, 15)
    back = ((code - zero) * scale).astype(np.float32)
    return code.astype(int).reshape(w.shape), scale.reshape(len(w), -1), zero.astype(int).reshape(len(w), -1), back.reshape(w.shape)


def scales_for(x, exponent):
    s = np.maximum(np.abs(x.astype(np.float64)).mean(0) ** exponent, 1e-4)
    return (s / np.sqrt(s.max() * s.min())).astype(np.float32)


def search_scales(x, w):
    errors = []
    for step in range(GRID):
        s = scales_for(x, step / GRID)
        d = quantize(w * s)[3].astype(np.float64) / s - w
        errors.append(np.mean((x.astype(np.float64) @ d.T) ** 2))
    order = np.argsort(errors)
    assert errors[order[1]] > errors[order[0]] * (1 + MARGIN), "two exponents are too close: change the problem"
    return int(order[0]), errors


def search_clip(x, w):
    steps = np.zeros((OUT, IN // GROUP), int)
    clipped = w.copy()
    for g in range(IN // GROUP):
        cols = slice(g * GROUP, (g + 1) * GROUP)
        xs, ws = x[:, cols].astype(np.float64), w[:, cols]
        largest = np.abs(ws).max(1, keepdims=True)
        limits = [largest * np.float32(1 - i / GRID) for i in range(CLIP_STEPS)]
        errors = np.stack([((xs @ (quantize(np.clip(ws, -m, m))[3].astype(np.float64) - ws).T) ** 2).sum(0) for m in limits])
        two = np.sort(errors, 0)[:2]
        assert np.all(two[1] > two[0] * (1 + MARGIN)), "two clipping steps are too close: change the problem"
        steps[:, g] = errors.argmin(0)
        limit = np.take_along_axis(np.stack(limits)[:, :, 0], steps[None, :, g], 0)[0][:, None]
        clipped[:, cols] = np.clip(ws, -limit, limit)
    return steps, clipped


def main():
    x, w = problem()
    step, errors = search_scales(x, w)
    s = scales_for(x, step / GRID)
    scaled = w * s
    steps, clipped = search_clip(x.astype(np.float64) / s, scaled)
    code, scale, zero, back = quantize(clipped)
    final = np.mean((x.astype(np.float64) @ (back.astype(np.float64) / s - w).T) ** 2)
    golden = {
        "made_by": f"make_awq_golden.py, numpy {np.__version__}",
        "in": IN, "out": OUT, "tokens": TOKENS,
        "exponent": step / GRID,
        "errors": [float(e) for e in errors],
        "final_error": float(final),
        "scales": [float(v) for v in s],
        "clip_steps": steps.tolist(),
        "codes": ["".join(f"{c:x}" for c in row) for row in code],
        "group_scales": scale.astype(float).tolist(),
        "zeros": zero.tolist(),
    }
    path = pathlib.Path(__file__).parent / "awq" / "small.json"
    path.write_text(json.dumps(golden, indent=0) + "\n")
    print(f"{path}: exponent {step / GRID}, error {errors[0]:.4g} -> {errors[step]:.4g} -> {final:.4g} with clipping, "
          f"steps {np.bincount(steps.ravel(), minlength=CLIP_STEPS).tolist()}")


if __name__ == "__main__":
    main()
