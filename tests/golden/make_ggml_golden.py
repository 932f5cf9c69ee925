"""Blocks of ggml's types: what the gguf package dequantizes them to, and what ggml quantizes floats to.

    python make_ggml_golden.py --ggml BUILD/bin/libggml-base.so     (gguf 0.17.1; ggml of llama-cpp-python 0.3.36)

Writes tests/golden/ggml/:
    TYPE.blocks      random blocks (scales finite, every other bit random)
    TYPE.f32         the package's dequantization of them
    input.f32        rows of 256 floats: normal, uniform, with outliers, tiny, zero, of one sign, ...
    TYPE.quantized   ggml_quantize_chunk of input.f32, without an importance matrix
"""
import argparse
import ctypes
import importlib.metadata
import pathlib

import numpy as np
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as Type

OUT = pathlib.Path(__file__).parent / "ggml"
# byte offsets of the halves in a block
HALVES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q2_K": [80, 82], "Q3_K": [108],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def random_blocks(rng, name, n_values):
    block_values, block_bytes = GGML_QUANT_SIZES[Type[name]]
    blocks = rng.integers(0, 256, (n_values // block_values, block_bytes), dtype=np.uint8)
    for at in HALVES[name]:
        halves = rng.normal(0, 0.1, len(blocks)).astype(np.float16)
        halves[0] = np.float16(6e-8)  # subnormal
        blocks[:, at:at + 2] = halves.view(np.uint8).reshape(-1, 2)
    return blocks


def inputs(rng):
    rows = [rng.normal(0, s, 256) for s in (1, 0.02, 30, 1e-4)]
    rows += [rng.uniform(-1, 1, 256), rng.uniform(0.5, 1, 256), -rng.uniform(0, 1, 256), np.zeros(256), np.full(256, 0.7)]
    outliers = rng.normal(0, 0.02, 256)
    outliers[::37] *= 50
    rows += [outliers, np.where(np.arange(256) % 32 < 16, 0, rng.normal(0, 1, 256)), np.round(rng.normal(0, 3, 256)),
             rng.normal(0, 1, 256) * np.repeat(10.0 ** rng.uniform(-4, 2, 16), 16), rng.laplace(0, 0.05, 256),
             rng.normal(0, 1e-9, 256), rng.standard_t(2, 256) * 0.03]
    return np.array(rows, dtype=np.float32)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ggml", required=True)
    ggml = ctypes.CDLL(parser.parse_args().ggml)
    ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
    ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
    OUT.mkdir(exist_ok=True)
    rng = np.random.default_rng(20)
    x = inputs(rng)
    x.tofile(OUT / "input.f32")
    for name in HALVES:
        blocks = random_blocks(rng, name, 1024)
        blocks.tofile(OUT / f"{name}.blocks")
        quants.dequantize(blocks, Type[name]).astype(np.float32).tofile(OUT / f"{name}.f32")
        block_values, block_bytes = GGML_QUANT_SIZES[Type[name]]
        quantized = np.zeros(x.size // block_values * block_bytes, dtype=np.uint8)
        n = ggml.ggml_quantize_chunk(Type[name].value, x.ctypes.data, quantized.ctypes.data, 0, len(x), 256, None)
        assert n == quantized.size, (name, n, quantized.size)
        quantized.tofile(OUT / f"{name}.quantized")
    (OUT / "versions.txt").write_text(f"gguf {importlib.metadata.version('gguf')}, numpy {np.__version__}, "
                                      "ggml of llama-cpp-python 0.3.36\n")


main()
