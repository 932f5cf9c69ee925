#!/usr/bin/env python3
"""Makes tests/golden/text/gguf_tokenizers.json: what llama.cpp answers for vocabularies inside GGUF files.

Usage: make_gguf_tokenizer_golden.py        (behind make_sentencepiece_golden.py, whose vocabulary and texts it takes)
Needs llama_cpp_python 0.3.36 (with the llama.cpp it carries), gguf 0.19.0, tokenizers 0.23.3.

gpt2    a byte-level vocabulary whose merges, trained on uncut text, cross every boundary that a pre-tokenizer could draw, so that
        another boundary is another token; `kinds` has each value of tokenizer.ggml.pre with the ids of all texts
llama   the vocabulary of sentencepiece_gguf.json with and without add_space_prefix; texts with special tokens in them
A case is [ids] or [ids, bytes as llama.cpp writes them, token by token] where those are not the text again.
"""
import ctypes
import importlib.metadata
import json
import pathlib
import re
import sys
import tempfile

import gguf
import llama_cpp
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from make_text_golden import OUT, STORY

VERSIONS = {name: importlib.metadata.version(name) for name in ["gguf", "tokenizers"]}
VERSIONS |= {"llama_cpp_python": llama_cpp.__version__, "python": sys.version.split()[0]}
WANTED = {"llama_cpp_python": "0.3.36", "gguf": "0.19.0", "tokenizers": "0.23.3"}
assert {name: VERSIONS[name] for name in WANTED} == WANTED, VERSIONS

KINDS = ["default", "gpt-2", "llama-bpe", "smaug-bpe", "qwen2", "qwen35", "tekken", "starcoder", "falcon", "deepseek-llm", "deepseek-coder", "deepseek-v3"]
CONTROL, USER_DEFINED, NORMAL = 3, 4, 1
TEXTS = json.loads((OUT / "sentencepiece_texts.json").read_text())["texts"] + [
    "a  \U0001f600", "   \U0001f600   ", "x   ", "x \n \n", "1234567 12 123,456.78", "\u4e2d\u6587123\u4e2d\u6587", "\ud55c\uad6d\uc5b4 \uc5b8\uc5b4", "\u3072\u3089\u304c\u306a\u30ab\u30bf\u30ab\u30ca",
    "f(x)=y+1; a<=b", "#include <a.h>", "don't DON'T we'LL", "caf\u00e9s \u00c9COLE \u00e9l\u00e8ve", "e\u0301clair", "CamelCaseWords ABCdef aBC", "http://x.y/z?a=1//b/\n/", "\u00bd\u00be \u2160\u2161", "!!??..,, \"quoted\" \u2018q\u2019 \u3002\u3001",
]
WHOLE, STOP, NOTE = "Quixotic", "<|stop|>", "<note>"
# Not to be learnt: they are tokens of another kind.
OTHER_TEXTS = [f"{WHOLE} {WHOLE}\n{WHOLE}", STOP, f"Hello{STOP} Hello{NOTE} Hello", f"<|stop{STOP}>", f"  {NOTE}  {STOP}  "]


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    # Of what looks like a control token llama.cpp makes one, whatever its type says.
    lines = [text for text in TEXTS if len(text) < 200 and not re.search(r"<\|\w+\|>|</?s>", text)] * 3 + [STORY[i:i + 60] for i in range(0, len(STORY), 60)]
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=1300, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False, max_token_length=12))
    model = json.loads(tokenizer.to_str())["model"]
    vocab = {id: token for token, id in model["vocab"].items()}
    tokens = [vocab[id] for id in range(len(vocab))]
    # A word that no merge makes: only kinds that ignore merges find it.
    tokens += [WHOLE, STOP, NOTE]
    types = [NORMAL] * (len(tokens) - 2) + [CONTROL, USER_DEFINED]
    assert len(set(tokens)) == len(tokens)
    return {"tokens": tokens, "token_type": types, "merges": [" ".join(merge) for merge in model["merges"]]}


def write_gguf(path, model, vocabulary, **more):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    writer.add_token_list(vocabulary["tokens"])
    writer.add_token_types(vocabulary["token_type"])
    for key, value in more.items():
        getattr(writer, key)(value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Vocabulary:
    def __init__(self, path):
        params = llama_cpp.llama_model_default_params()
        params.vocab_only = True
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        assert self.model, path
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)

    def encode(self, text, add_special=True):
        raw = text.encode()
        ids = (llama_cpp.llama_token * (len(raw) + 16))()
        n = llama_cpp.llama_tokenize(self.vocab, raw, len(raw), ids, len(ids), add_special, True)
        assert n >= 0, text
        return list(ids[:n])

    def piece(self, id):
        buffer = ctypes.create_string_buffer(256)
        n = llama_cpp.llama_token_to_piece(self.vocab, id, buffer, 256, 0, True)
        assert n >= 0, id
        return buffer.raw[:n]


def cases(path, texts):
    vocabulary = Vocabulary(path)
    result = []
    for text in texts:
        ids = vocabulary.encode(text)
        pieces = b"".join(map(vocabulary.piece, ids))
        result.append([ids] if pieces == text.encode() else [ids, pieces.decode()])
    return result


def main():
    quiet = llama_cpp.llama_log_callback(lambda level, text, data: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    bytes_vocabulary = byte_level()
    texts = TEXTS + OTHER_TEXTS
    words = json.loads((OUT / "sentencepiece_gguf.json").read_text())
    kinds, spaces = [], []
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "vocabulary.gguf"
        for pre in KINDS:
            write_gguf(path, "gpt2", bytes_vocabulary, add_tokenizer_pre=pre, add_token_merges=bytes_vocabulary["merges"], add_bos_token_id=1, add_add_bos_token=False)
            kinds.append({"pre": pre, "encode": cases(path, texts)})
        for prefix in [True, False]:
            write_gguf(path, "llama", words, add_token_scores=words["scores"], add_add_space_prefix=prefix)
            spaces.append({"add_space_prefix": prefix, "encode": cases(path, texts)})
    compact = lambda x: json.dumps(x, separators=(",", ":"))
    lists = {"texts": texts, "kinds": kinds, "llama": spaces}
    lines = [compact("gpt2") + ":" + compact(bytes_vocabulary)] + [f"{compact(key)}:[\n" + ",\n".join(map(compact, x)) + "\n]" for key, x in lists.items()]
    head = {"made_by": "tests/golden/make_gguf_tokenizer_golden.py", "versions": VERSIONS}
    (OUT / "gguf_tokenizers.json").write_text(json.dumps(head)[:-1] + ",\n" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
