#!/usr/bin/env python3
"""Writes tests/fuzz/corpus/gguf_model: whole models in GGUF files, one layer of 32 channels, good and nasty. Standard library only.

What each nasty one (bad_*) is refused with is in src/model/gguf_weights_test.cc. Those of corpus/gguf are files that are no GGUF
at all, or whose head is wrong, whatever model it is.
"""
import pathlib
import struct

HERE = pathlib.Path(__file__).resolve().parent
U32, I32, F32, BOOL, STRING, ARRAY, U64 = 4, 5, 6, 7, 8, 9, 10
NUMBERS = {U32: "<I", I32: "<i", F32: "<f", BOOL: "<B", U64: "<Q"}
TYPES = {"f32": (0, 1, 4), "f16": (1, 1, 2), "q4_0": (2, 32, 18), "q8_0": (8, 32, 34), "iq4_nl": (20, 32, 18), "bf16": (30, 1, 2)}
HIDDEN, HEADS, HEAD_DIM, INNER = 32, 2, 16, 64
ODD_HEAD_DIM = 12


def string(text):
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def value(type, content):
    if isinstance(content, list):
        return struct.pack("<IIQ", ARRAY, type, len(content)) + b"".join(value(type, x)[4:] for x in content)
    return struct.pack("<I", type) + (string(content) if type == STRING else struct.pack(NUMBERS[type], content))


def blocks(type, n, state):
    """Rows of small weights that look like chance."""
    def chance():
        state[0] = (state[0] * 1103515245 + 12345) % (1 << 31)
        return state[0] >> 16
    if type == "f32":
        return b"".join(struct.pack("<f", (chance() % 200 - 100) / 500) for _ in range(n))
    if type == "f16":
        return b"".join(struct.pack("<e", (chance() % 200 - 100) / 500) for _ in range(n))
    if type == "bf16":
        return b"".join(struct.pack("<f", (chance() % 200 - 100) / 500)[2:] for _ in range(n))
    _, block, size = TYPES[type]
    return b"".join(struct.pack("<e", 0.02) + bytes(chance() % 256 for _ in range(size - 2)) for _ in range(n // block))


class Model:
    """A model to be changed before it is written: metadata {key: (type, value)}, tensors {name: [shape, type, bytes]}."""

    def __init__(self, architecture="llama", type="q4_0", vocabulary=None):
        self.architecture = architecture
        self.state = [1]  # of its own: a file does not depend on those before it
        self.metadata = {"general.architecture": (STRING, architecture)}
        for key, number in {"block_count": 1, "context_length": 64, "embedding_length": HIDDEN, "feed_forward_length": INNER,
                            "attention.head_count": HEADS, "attention.head_count_kv": 1}.items():
            self.set(key, (U32, number))
        self.set("attention.layer_norm_rms_epsilon", (F32, 1e-5))
        self.metadata.update(vocabulary or of_bytes(["a", "b", "c", "d"]))
        rows = len(self.metadata["tokenizer.ggml.tokens"][1])
        self.tensors = {}
        self.add("token_embd.weight", [rows, HIDDEN], type)
        self.add("output_norm.weight", [HIDDEN], "f32")
        for name, out, inner in (("attn_q", HIDDEN, HIDDEN), ("attn_k", HEAD_DIM, HIDDEN), ("attn_v", HEAD_DIM, HIDDEN),
                                 ("attn_output", HIDDEN, HIDDEN), ("ffn_gate", INNER, HIDDEN), ("ffn_up", INNER, HIDDEN),
                                 ("ffn_down", HIDDEN, INNER)):
            self.add(f"blk.0.{name}.weight", [out, inner], type)
        for name in ("attn_norm", "ffn_norm"):
            self.add(f"blk.0.{name}.weight", [HIDDEN], "f32")

    def set(self, key, pair):
        self.metadata[f"{self.architecture}.{key}"] = pair
        return self

    def put(self, key, pair):
        self.metadata[key] = pair
        return self

    def drop(self, key):
        del (self.tensors if key in self.tensors else self.metadata)[key]
        return self

    def add(self, name, shape, type, data=None):
        n = 1
        for dim in shape:
            n *= dim
        self.tensors[name] = (shape, type, blocks(type, n, self.state) if data is None else data)
        return self

    def bytes(self):
        head = struct.pack("<IIQQ", 0x46554747, 3, len(self.tensors), len(self.metadata))
        for key, pair in self.metadata.items():
            head += string(key) + value(*pair)
        data = b""
        for name, (shape, type, content) in self.tensors.items():
            head += string(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", dim) for dim in reversed(shape))
            head += struct.pack("<IQ", TYPES[type][0], len(data))
            data += content + bytes(-len(content) % 32)
        return head + bytes(-len(head) % 32) + data


def odd_heads():
    """Of heads whose rows are no whole panels."""
    model = Model().set("attention.key_length", (U32, ODD_HEAD_DIM)).set("attention.value_length", (U32, ODD_HEAD_DIM))
    for name, out in (("attn_q", HEADS * ODD_HEAD_DIM), ("attn_k", ODD_HEAD_DIM)):
        model.add(f"blk.0.{name}.weight", [out, HIDDEN], "q4_0")
    return model.add("blk.0.attn_output.weight", [HIDDEN, HEADS * ODD_HEAD_DIM], "f16")


def tokenizer(**fields):
    return {f"tokenizer.ggml.{key}": pair for key, pair in fields.items()}


def of_bytes(tokens, merges=(), pre="gpt-2"):
    return tokenizer(model=(STRING, "gpt2"), pre=(STRING, pre), tokens=(STRING, tokens), merges=(STRING, list(merges)),
                     token_type=(I32, [1] * len(tokens)), eos_token_id=(U32, len(tokens) - 1))


def every_byte():
    """GPT-2's characters for the bytes."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return [chr(byte) for byte in shown] + [chr(256 + i) for i in range(len(hidden))]


def sentencepiece():
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + ["\u2581", "a", "aa"]
    types = [2, 3, 3] + [6] * 256 + [1] * 3
    return tokenizer(model=(STRING, "llama"), tokens=(STRING, tokens), token_type=(I32, types),
                     scores=(F32, [0.0] * 259 + [-1.0, -2.0, -3.0]))


def with_tokens(type="q4_0"):
    """A model whose tokenizer is whole: what is wrong is found in the weights."""
    return Model(type=type, vocabulary=of_bytes(every_byte()))


def qwen2():
    model = Model("qwen2", "f16", of_bytes([*every_byte(), "aa", "<|end|>"], ["a a"], "qwen2"))
    for name, rows in (("q", HIDDEN), ("k", HEAD_DIM), ("v", HEAD_DIM)):
        model.add(f"blk.0.attn_{name}.bias", [rows], "f32")
    return model


def good():
    yield "ok_llama", Model(type="q8_0", vocabulary=sentencepiece())
    yield "ok_qwen2", qwen2().add("output.weight", [258, HIDDEN], "q8_0")
    yield "ok_factor_without_type", with_tokens().set("rope.scaling.factor", (F32, 4.0))
    yield "ok_scale_linear", with_tokens().set("rope.scale_linear", (F32, 4.0))
    yield "ok_mixed", with_tokens().add("blk.0.ffn_up.weight", [INNER, HIDDEN], "q8_0")


def bad():
    nan, huge = struct.pack("<f", float("nan")), 1 << 40
    yield "architecture", Model("mamba")
    yield "no_architecture", Model().drop("general.architecture")
    yield "experts", Model().set("expert_count", (U32, 8))
    yield "window", Model("qwen2").set("attention.sliding_window", (U32, 4096))
    yield "yarn", Model().set("rope.scaling.type", (STRING, "yarn"))
    yield "attn_factor", Model().set("rope.scaling.attn_factor", (F32, 1.5))
    yield "rope_dims", Model().set("rope.dimension_count", (U32, 8))
    yield "rope_freqs", Model().add("rope_freqs.weight", [HEAD_DIM // 2], "f32", struct.pack("<8f", 1, 1, 1, 1, 1, 1, 8, 8))
    yield "no_layers", Model().set("block_count", (U32, 0))
    yield "layers_without_tensors", Model().set("block_count", (U64, huge))
    yield "layer_missing", Model().set("block_count", (U32, 2))
    yield "heads_without_end", Model().set("attention.head_count", (U64, huge))
    yield "heads_overflow", (Model().set("attention.head_count", (U32, (1 << 31) - 1)).set("attention.head_count_kv", (U32, 1))
                             .set("attention.key_length", (U32, (1 << 31) - 2)))
    yield "heads_of_each_layer", Model().set("attention.head_count", (U32, [2]))
    yield "kv_heads", Model().set("attention.head_count_kv", (U32, 3))
    yield "width", Model().set("embedding_length", (U32, 64))
    yield "no_context", Model().drop("llama.context_length")
    yield "epsilon", Model().set("attention.layer_norm_rms_epsilon", (F32, -1.0))
    yield "tensor_missing", Model().drop("blk.0.ffn_up.weight")
    yield "embedding_missing", Model().drop("token_embd.weight")
    yield "stranger", Model().add("blk.0.ffn_gate_inp.weight", [INNER, HIDDEN], "f32")
    yield "shape", Model().add("blk.0.ffn_down.weight", [HIDDEN, 32], "q4_0")
    yield "flat", Model().add("blk.0.attn_q.weight", [HIDDEN * HIDDEN], "q4_0")
    yield "type", Model().add("blk.0.attn_v.weight", [HEAD_DIM, HIDDEN], "iq4_nl")
    yield "norm_type", with_tokens().add("blk.0.attn_norm.weight", [HIDDEN], "q8_0")
    yield "norm_nan", with_tokens().add("blk.0.attn_norm.weight", [HIDDEN], "f32", nan * HIDDEN)
    yield "mixed_rows", odd_heads().add("blk.0.attn_v.weight", [ODD_HEAD_DIM, HIDDEN], "q8_0")
    yield "block_nan", with_tokens().add("blk.0.attn_output.weight", [HIDDEN, HIDDEN], "q4_0", (b"\x00\x7e" + bytes(16)) * HIDDEN)
    yield "float_nan", with_tokens("f32").add("blk.0.ffn_down.weight", [HIDDEN, INNER], "f32", nan * (HIDDEN * INNER))
    yield "bias_missing", qwen2().drop("blk.0.attn_k.bias")
    yield "no_tokenizer", Model().drop("tokenizer.ggml.model")
    yield "tokenizer_model", Model().put("tokenizer.ggml.model", (STRING, "bert"))
    yield "pre", Model().put("tokenizer.ggml.pre", (STRING, "klingon"))
    yield "no_tokens", Model().drop("tokenizer.ggml.tokens")
    yield "tokens_type", Model().put("tokenizer.ggml.tokens", (U32, [1, 2, 3, 4]))
    yield "too_many_tokens", Model().put("tokenizer.ggml.tokens", (STRING, ["a", "b", "c", "d", "e"]))
    yield "token_twice", Model().put("tokenizer.ggml.tokens", (STRING, ["a", "b", "a", "d"]))
    yield "token_types", Model().put("tokenizer.ggml.token_type", (I32, [1]))
    yield "merge", Model().put("tokenizer.ggml.merges", (STRING, ["ab"]))
    yield "eos", Model().put("tokenizer.ggml.eos_token_id", (U32, 4))
    yield "eot", Model().put("tokenizer.ggml.eot_token_id", (U64, (1 << 32) + 1))
    yield "scores", Model().put("tokenizer.ggml.model", (STRING, "llama"))
    yield "no_byte_tokens", Model().put("tokenizer.ggml.model", (STRING, "llama")).put("tokenizer.ggml.scores", (F32, [0.0] * 4))


def main():
    folder = HERE / "corpus" / "gguf_model"
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in [*good(), *((f"bad_{name}", model) for name, model in bad())]:
        (folder / f"{name}.gguf").write_bytes(model.bytes())
    whole = Model().bytes()
    (folder / "bad_truncated.gguf").write_bytes(whole[:-100])


main()
