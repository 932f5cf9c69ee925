#!/usr/bin/env python3
"""Makes tests/golden/text/sentencepiece_*.json: what sentencepiece and Hugging Face's tokenizers answer for vocabularies
trained here with sentencepiece, for src/text/ to be compared with.

Usage: make_sentencepiece_golden.py
Needs sentencepiece 0.2.3, tokenizers 0.23.3, transformers 5.23.0 (its conversion of scores to merges), jinja2.

sentencepiece_texts.json     the texts that all of them encode
sentencepiece_bpe.json       a BPE vocabulary with byte fallback, as Llama 2, Mistral and Gemma have it: `base` is a whole
                             tokenizer.json, each variant replaces members of it ("/a/b": value) by those of a real file's structure
sentencepiece_unigram.json   the same of a unigram vocabulary, as T5 and XLM-R have it
sentencepiece_gguf.json      that BPE vocabulary as llama.cpp's converter writes it to a GGUF file, encoded by sentencepiece itself
"""
import base64
import copy
import json
import random
import re
import sys
import tempfile

import sentencepiece
import tokenizers
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer
import transformers.convert_slow_tokenizer

from make_text_golden import OUT, ROOT, STORY, TEXTS, random_texts

VERSIONS = {"sentencepiece": sentencepiece.__version__, "tokenizers": tokenizers.__version__,
            "transformers": transformers.__version__, "python": sys.version.split()[0]}
WANTED = {"sentencepiece": "0.2.3", "tokenizers": "0.23.3", "transformers": "5.23.0"}
assert {name: VERSIONS[name] for name in WANTED} == WANTED, VERSIONS
generate_merges = sys.modules["transformers.convert_slow_tokenizer"].generate_merges

META = "\u2581"
MORE_TEXTS = [
    META, META + META + "a", "a " + META + " b", " " + META, "<s>", "<s> Hello</s>", "Hello<s>  there </s> you", "<unk> <unk><unk>", "a<unk>b",
    "<s>[INST] Hi [/INST] Hello </s><s>[INST] More [/INST]", "[INST][/INST]", "<0x41><0x0A>", "the<0xE2>", "  two   three    four", "\t\ttabs \t ", "line\n\n\nline\n",
    "\u3042\u3044\u3046 \u4e00\u4e8c\u4e09", "\U0001f9d1\u200d\U0001f680 \U0001f44d\U0001f3fd", "\u0915\u094d\u0937\u093f", "e\u0301\u0302 o\u0308", "\ufb01ne \uff21\uff22 \u2460\u2461 \u00bd",
    "12345 67", "word.Word,word;", "<tool>x <tool>  y<tool>", "  <tool>", "sword words word", "cafe\u0301 caf\u00e9 CAFE\u0301", "\u00a0nbsp\u00a0\u00a0x", "zzzz\u20bfqqqq\u20bf\u20bf", "\u20bf", "\x00\x01", "x\u200dy",
]
# Long runs are covered by counting steps; here they would only make the files long.
ALL_TEXTS = [text for text in TEXTS if len(text) <= 400] + MORE_TEXTS + random_texts(110, seed=23)


def corpus(path):
    lines = [json.loads(line)["text"] for name in ["eval/passages.jsonl", "calibration/calibration.jsonl"]
             for line in (ROOT / "data" / name).read_text().splitlines()]
    lines += [STORY, "\u4f60\u597d\uff0c\u4e16\u754c\u3002 \u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8 \u4e00\u4e8c\u4e09 caf\u00e9 na\u00efve \u00fcber"] * 3
    sentences = [s for line in lines for s in re.split(r"(?<=[.!?])\s+|\n", line) if s]
    path.write("\n".join(sentences) + "\n")
    path.flush()


def train(model_type, **options):
    with tempfile.TemporaryDirectory() as folder, open(f"{folder}/text", "w") as text:
        corpus(text)
        sentencepiece.SentencePieceTrainer.train(
            input=text.name, model_prefix=f"{folder}/m", model_type=model_type, character_coverage=0.999, minloglevel=2,
            num_threads=1, split_digits=True, allow_whitespace_only_pieces=True, remove_extra_whitespaces=False, **options)
        with open(f"{folder}/m.model", "rb") as model:
            return model.read()


def proto_of(model):
    proto = sentencepiece_model_pb2.ModelProto()
    proto.ParseFromString(model)
    return proto


def added(id, content, special=True, **flags):
    return {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special, **flags}


def template(before, after):
    item = lambda token: {"SpecialToken": {"id": token, "type_id": 0}}
    single = [item(token) for token in before] + [{"Sequence": {"id": "A", "type_id": 0}}] + [item(token) for token in after]
    ids = {"<unk>": 0, "<s>": 1, "</s>": 2}
    return {"type": "TemplateProcessing", "single": single, "pair": single + [{"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in before + after}}


def sequence(key, *steps):
    return {"type": "Sequence", key: list(steps)}


def replace(old, new):
    return {"type": "Replace", "pattern": {"String": old}, "content": new}


def metaspace(scheme, **more):
    return {"type": "Metaspace", "replacement": META, "prepend_scheme": scheme, **more}


PREPEND = {"type": "Prepend", "prepend": META}
ESCAPE = replace(" ", META)
PIECES = [replace(META, " "), {"type": "ByteFallback"}, {"type": "Fuse"}]
STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
LLAMA2_NORMALIZER = sequence("normalizers", PREPEND, ESCAPE)
LLAMA2_DECODER = sequence("decoders", *PIECES, STRIP)
SPECIALS = [added(0, "<unk>"), added(1, "<s>"), added(2, "</s>")]
GEMMA = {"/normalizer": ESCAPE, "/decoder": sequence("decoders", *PIECES),
         "/pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}}


def bpe_base(proto):
    vocab = {piece.piece: id for id, piece in enumerate(proto.pieces)}
    scores = [(piece.piece, piece.score) for piece in proto.pieces]
    merges = generate_merges(vocab, scores, skip_tokens=["<unk>", "<s>", "</s>"])
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": SPECIALS, "normalizer": LLAMA2_NORMALIZER, "pre_tokenizer": None,
            "post_processor": template(["<s>"], []), "decoder": LLAMA2_DECODER,
            "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None,
                      "fuse_unk": True, "byte_fallback": True, "ignore_merges": False, "vocab": vocab, "merges": [" ".join(m) for m in merges]}}


def bpe_variants(n):
    instruct = SPECIALS + [added(n, "[INST]"), added(n + 1, "[/INST]")]
    tools = SPECIALS + [added(n, "<tool>", special=False, lstrip=True, rstrip=True), added(n + 1, "word", special=False, single_word=True),
                        added(n + 2, "cafe\u0301", special=False, normalized=True), added(n + 3, "[INST]", special=False, normalized=True, rstrip=True)]
    first = {"/normalizer": None, "/pre_tokenizer": metaspace("first", split=False)}
    return {
        "llama2": {},
        "mistral_v03": {**first, "/added_tokens": instruct},
        "gemma": {**GEMMA, "/added_tokens": SPECIALS + [added(n, "\n\n", special=False), added(n + 1, META * 3, special=False), added(n + 2, "  ", special=False)]},
        "metaspace_always": {"/normalizer": None, "/pre_tokenizer": metaspace("always"), "/decoder": metaspace("always")},
        "metaspace_first_split": {"/normalizer": None, "/pre_tokenizer": metaspace("first", split=True), "/decoder": metaspace("first")},
        "metaspace_never": {"/normalizer": None, "/pre_tokenizer": metaspace("never"), "/decoder": metaspace("never")},
        "metaspace_of_old": {"/normalizer": {"type": "NFKC"}, "/pre_tokenizer": {"type": "Metaspace", "replacement": META, "add_prefix_space": True}},
        "white_space_split": {"/normalizer": {"type": "NFD"}, "/pre_tokenizer": sequence("pretokenizers", {"type": "WhitespaceSplit"}, {"type": "Digits", "individual_digits": False}, metaspace("first"))},
        "no_bytes_fused": {"/model/byte_fallback": False},
        "no_bytes_not_fused": {"/model/byte_fallback": False, "/model/fuse_unk": False},
        "no_bytes_no_unk": {"/model/byte_fallback": False, "/model/unk_token": None},
        "ignore_merges": {"/model/ignore_merges": True, "/pre_tokenizer": {"type": "Split", "pattern": {"Regex": f" ?{META}?\\w+"}, "behavior": "Isolated", "invert": False}, "/normalizer": ESCAPE},
        "added_tokens": {"/added_tokens": tools},
        "added_tokens_first": {**first, "/added_tokens": tools},
        "around": {"/post_processor": template(["<s>"], ["</s>"])},
    }


def unigram_base(proto):
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": SPECIALS,
            "normalizer": sequence("normalizers", {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()},
                                   {"type": "Strip", "strip_left": False, "strip_right": True}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": META}),
            "pre_tokenizer": metaspace("always"), "post_processor": template([], ["</s>"]), "decoder": metaspace("always"),
            "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": False, "vocab": [[piece.piece, piece.score] for piece in proto.pieces]}}


def unigram_variants():
    return {
        "t5": {},
        "xlm_roberta": {"/pre_tokenizer": sequence("pretokenizers", {"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": META, "add_prefix_space": True}),
                        "/decoder": {"type": "Metaspace", "replacement": META, "add_prefix_space": True}, "/post_processor": template(["<s>"], ["</s>"])},
        "bytes": {"/model/byte_fallback": True, "/normalizer": LLAMA2_NORMALIZER, "/pre_tokenizer": None, "/decoder": LLAMA2_DECODER},
        "nfkd_stripped": {"/normalizer": sequence("normalizers", {"type": "NFKD"}, {"type": "Strip", "strip_left": True, "strip_right": False}), "/pre_tokenizer": metaspace("never", split=False)},
        "unknown_is_a_token": {"/model/unk_id": 40},
    }


def patched(base, patch):
    file = copy.deepcopy(base)
    for pointer, value in patch.items():
        *path, last = pointer[1:].split("/")
        place = file
        for key in path:
            place = place[key]
        place[last] = value
    return file


def decode_cases(tokenizer, seed, n_most=60):
    """Random ids, byte tokens often: bytes that are no UTF-8."""
    rng = random.Random(seed)
    size, cases = tokenizer.get_vocab_size(), []
    for _ in range(n_most):
        ids = [rng.randrange(min(262, size)) if rng.random() < 0.7 else rng.randrange(size) for _ in range(rng.randint(1, 10))]
        cases.append([ids, tokenizer.decode(ids, skip_special_tokens=False), tokenizer.decode(ids, skip_special_tokens=True)])
    return cases


def variant(name, base, patch):
    tokenizer = Tokenizer.from_str(json.dumps(patched(base, patch)))
    around = tokenizer.encode("", add_special_tokens=True).ids
    n_before = len(around) - (2 in around)
    result = {"name": name, "patch": patch, "before": around[:n_before], "after": around[n_before:], "encode": [], "decode": decode_cases(tokenizer, 31)}
    for text in ALL_TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert tokenizer.encode(text).ids == result["before"] + ids + result["after"], text
        case = [ids]
        # Left out where it is the text again.
        if (decoded := tokenizer.decode(ids, skip_special_tokens=False)) != text:
            case.append(decoded)
        result["encode"].append(case)
    return result


def write(name, value):
    compact = lambda x: json.dumps(x, separators=(",", ":"))
    head = {"made_by": "tests/golden/make_sentencepiece_golden.py", "versions": VERSIONS}
    lines = [f"{compact(key)}:" + ("[\n" + ",\n".join(map(compact, x)) + "\n]" if isinstance(x, list) else compact(x)) for key, x in value.items()]
    (OUT / name).write_text(json.dumps(head)[:-1] + ",\n" + ",\n".join(lines) + "}\n")


def gguf(model, proto):
    """Texts in which no token of ours stands: sentencepiece takes control symbols apart as text."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    types = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6}  # sentencepiece's numbers are those of tokenizer.ggml.token_type
    texts = [text for text in ALL_TEXTS if not re.search(r"</?s>|<unk>", text)]
    return {"tokens": [piece.piece for piece in proto.pieces], "scores": [piece.score for piece in proto.pieces], "token_type": [types[piece.type] for piece in proto.pieces],
            "encode": [[text, processor.encode(text, add_bos=True)] for text in texts]}


def rules(path):
    """A few hundred of NFKC's rules and some of several characters, as sentencepiece's own tables have them."""
    import unicodedata
    table = {}
    for code in [*range(0xA0, 0x180), *range(0x2460, 0x2480), *range(0xFB00, 0xFB07), *range(0xFF01, 0xFF5F), *range(0x1E00, 0x1E20), 0x2126, 0x212B, 0x1D400, 0x1D401]:
        if (nfkc := unicodedata.normalize("NFKC", chr(code))) != chr(code):
            table[(code,)] = [ord(c) for c in nfkc]
        if len(nfd := unicodedata.normalize("NFD", chr(code))) == 2 and unicodedata.normalize("NFC", nfd) == chr(code):
            table[tuple(map(ord, nfd))] = [code]
    table |= {(code,): [] for code in [1, 2, 0x7F, 0x200B]} | {(code,): [0x20] for code in [9, 10, 13, 0xA0, 0x3000]}
    with open(path, "w") as out:
        for source, target in sorted(table.items()):
            out.write(" ".join(f"{c:X}" for c in source) + "\t" + " ".join(f"{c:X}" for c in target) + "\n")


def main():
    write("sentencepiece_texts.json", {"texts": ALL_TEXTS})
    model = train("bpe", vocab_size=1000, byte_fallback=True, normalization_rule_name="identity")
    proto = proto_of(model)
    base = bpe_base(proto)
    write("sentencepiece_bpe.json", {"base": base, "variants": [variant(name, base, patch) for name, patch in bpe_variants(len(proto.pieces)).items()]})
    write("sentencepiece_gguf.json", gguf(model, proto))
    with tempfile.NamedTemporaryFile(suffix=".tsv") as table:
        rules(table.name)
        model = train("unigram", vocab_size=1000, byte_fallback=True, normalization_rule_tsv=table.name)
    base = unigram_base(proto_of(model))
    write("sentencepiece_unigram.json", {"base": base, "variants": [variant(name, base, patch) for name, patch in unigram_variants().items()]})


if __name__ == "__main__":
    main()
