#!/usr/bin/env python3
"""Writes gptq/small.json beside itself: GPTQ on small problems as the paper has it (arXiv:2210.17323, algorithm 1), by the
upper Cholesky factor of the inverse Hessian in float64. Needs numpy (made with 2.4).

Inputs are multiples of 1/16, so that X^T X is exact in float32 and only rounding inside GPTQ itself can differ. The script
refuses a problem in which a weight that was updated lies within MARGIN steps of a rounding tie, or a scale found from such
ones within two units of float32: the C++ must then agree on every code, scale and zero point.
"""
import json
import pathlib

import numpy as np

IN, OUT, TOKENS, MARGIN = 256, 12, 192, 2e-6
DEAD = (17, 130)
CASES = [
    dict(name="zero points, g128", bits=4, zero_points=True, group=128),
    dict(name="symmetric, g32, desc_act", bits=4, zero_points=False, group=32, act_order=True),
    dict(name="zero points, g64, desc_act with static groups, searched", bits=4, zero_points=True, group=64,
         act_order=True, static_groups=True, search_range=True),
    dict(name="symmetric, per channel, 8 bits, searched", bits=8, zero_points=False, group=0, search_range=True),
]


def uniform(seed, n):
    """n multiples of 2^-16 in [-1/2, 1/2): the upper half of a mixed 32-bit counter."""
    with np.errstate(over="ignore"):
        x = np.arange(n, dtype=np.uint32) * np.uint32(0x9E3779B9) + np.uint32(seed)
        for shift, factor in ((16, 0x21F0AAAD), (15, 0x735A2D97)):
            x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
        x ^= x >> np.uint32(15)
    return (x >> np.uint32(16)).astype(np.float32) / np.float32(65536) - np.float32(0.5)


def problem():
    """Correlated inputs of unequal size: neighbours share a half of their signal."""
    x = np.floor(uniform(1, TOKENS * IN).reshape(TOKENS, IN) * 16)
    x[:, 1:] += x[:, :-1].copy()
    x[:, 5::37] *= 8
    x[:, DEAD] = 0
    w = (uniform(2, OUT * IN) + uniform(4, OUT * IN)).reshape(OUT, IN) / np.float32(4)
    return (x / 16).astype(np.float32), w


def clear_of_ties(fraction, margin=MARGIN):
    close = fraction[np.abs(fraction - 0.5) <= margin]
    assert close.size == 0, f"{close} is too close to a rounding tie: change the problem"


def f16(scale, updated):
    spacing = np.spacing(scale.astype(np.float16)).astype(np.float64)
    if updated:
        clear_of_ties((scale.astype(np.float64) / spacing) % 1, 2.0**-12)
    return scale.astype(np.float16).astype(np.float32)


class Grid:
    def __init__(self, bits, zero_points):
        self.top, self.middle, self.zero_points = 2**bits - 1, 2 ** (bits - 1), zero_points

    def fit(self, w, updated, shrink=1.0):
        """w: [rows, group] float32 -> scale, zero: [rows]."""
        shrink = np.float32(shrink)
        if not self.zero_points:
            width = np.float32(2) * shrink * np.abs(w).max(1)
            return f16(np.maximum(width / np.float32(self.top), np.float32(1e-5) / np.float32(self.top)), updated), \
                np.full(len(w), self.middle)
        low, high = shrink * np.minimum(w.min(1), np.float32(0)), shrink * np.maximum(w.max(1), np.float32(0))
        scale = f16(np.maximum((high - low) / np.float32(self.top), np.float32(1e-5) / np.float32(self.top)), updated)
        return scale, np.clip(-np.rint(low / scale), 0, self.top).astype(int)

    def code(self, w, scale, zero, tie_checked=True):
        steps = (w / scale).astype(np.float32)
        if tie_checked:
            clear_of_ties(np.abs(steps.astype(np.float64)) % 1)
        return np.clip(np.rint(steps) + zero, 0, self.top).astype(int)

    def search(self, w, updated):
        best = None
        for step in range(80):
            scale, zero = self.fit(w, updated, 1 - step / 100)
            q = (self.code(w, scale[:, None], zero[:, None], False) - zero[:, None]) * scale[:, None].astype(np.float64)
            error = (np.abs(q - w) ** 2.4).sum(1)
            if best is None:
                best = [error, scale, zero]
            else:
                assert np.all(np.abs(error - best[0]) > 1e-9 * best[0]) or step == 0, "two ranges are too close"
                better = error < best[0]
                best = [np.where(better, new, old) for new, old in zip((error, scale, zero), best)]
        return best[1], best[2]


def gptq(x, w, bits, zero_points, group, act_order=False, static_groups=False, search_range=False):
    grid = Grid(bits, zero_points)
    fit = grid.search if search_range else grid.fit
    group = group or IN
    x, w = x.astype(np.float64), w.astype(np.float64)
    h = 2 / TOKENS * x.T @ x
    dead = np.diag(h) == 0
    assert dead.sum() == len(DEAD)
    h[dead, dead] = 1
    w[:, dead] = 0
    order = np.argsort(-(x * x).sum(0), kind="stable") if act_order else np.arange(IN)
    static = [fit(w[:, g:g + group].astype(np.float32), False) for g in range(0, IN, group)]
    w, h = w[:, order], h[np.ix_(order, order)]
    h += 0.01 * np.mean(np.diag(h)) * np.eye(IN)
    u = np.linalg.cholesky(np.linalg.inv(h)).T  # H^-1 = U^T U
    codes = np.zeros((OUT, IN), int)
    groups = [None] * (IN // group)
    for j in range(IN):
        g = order[j] // group if static_groups else j // group
        if static_groups:
            groups[g] = static[g]
        elif j % group == 0:
            groups[g] = fit(w[:, j:j + group].astype(np.float32), j > 0)
        scale, zero = groups[g]
        codes[:, order[j]] = q = grid.code(w[:, j].astype(np.float32), scale, zero)
        error = (w[:, j] - (q - zero) * scale.astype(np.float64)) / u[j, j]
        w[:, j:] -= np.outer(error, u[j, j:])
    group_of_input = np.empty(IN, int)
    group_of_input[order] = (order if static_groups else np.arange(IN)) // group
    return codes, np.stack([g[0] for g in groups], 1), np.stack([g[1] for g in groups], 1), group_of_input


def main():
    x, w = problem()
    results = []
    for case in CASES:
        codes, scales, zeros, group_of_input = gptq(x, w, **{k: v for k, v in case.items() if k != "name"})
        back = (codes - zeros[:, group_of_input]) * scales[:, group_of_input].astype(np.float64)
        error = np.mean((x.astype(np.float64) @ (back - w).T) ** 2)
        results.append(case | {
            "error": float(error),
            "codes": ["".join(f"{c:02x}" for c in row) for row in codes],
            "scales": scales.astype(float).tolist(), "zeros": zeros.tolist(), "group_of_input": group_of_input.tolist()})
        print(f"{case['name']}: error {error:.4g}")
    golden = {"made_by": f"make_gptq_golden.py, numpy {np.__version__}", "in": IN, "out": OUT, "tokens": TOKENS,
              "cases": results}
    (pathlib.Path(__file__).parent / "gptq" / "small.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
