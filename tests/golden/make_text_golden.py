#!/usr/bin/env python3
"""Makes tests/golden/text/: what Hugging Face's tokenizers and transformers answer, for src/text/ to be compared with.

Usage: make_text_golden.py          (needs tokenizers, transformers, jinja2; the versions used are written into the files)

tokenizer_*.json   texts with their ids and what those decode to, for models/demo and for two tokenizers trained here
tiny_llama3/, tiny_qwen2/   those two tokenizers: the real split patterns, small vocabularies
splits.json        the behaviours of the Split pre-tokenizer
chat.json          conversations rendered by transformers with the templates of tests/golden/templates
"""
import datetime
import json
import pathlib
import random
import sys

import jinja2
import tokenizers
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers.utils import chat_template_utils

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OUT = HERE / "text"
VERSIONS = {"tokenizers": tokenizers.__version__, "transformers": transformers.__version__,
            "jinja2": jinja2.__version__, "python": sys.version.split()[0]}

LLAMA3_PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                  r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2_PATTERN = LLAMA3_PATTERN.replace(r"\p{N}{1,3}", r"\p{N}")

TEXTS = [
    "", " ", "  ", "a", "Hello, world!", "The quick brown fox jumps over the lazy dog.",
    "I'm you're he'S they'VE I'D we'Ll don'T 'tis o'clock ''s '\u017f", "'re're're 're",
    "caf\u00e9 nai\u0308ve A\u030a \u00c5 \u212b e\u0301\u0323 \u1e9b\u0323", "\uac00 \u1100\u1161 \u1100\u1161\u11a8",
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \u2764\ufe0f", "\u4f60\u597d\uff0c\u4e16\u754c\u3002\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8",
    "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u0928\u092e\u0938\u094d\u0924\u0947 \u0395\u03bb\u03bb\u03b7\u03bd\u03b9\u03ba\u03ac \u0420\u0443\u0441\u0441\u043a\u0438\u0439",
    "a  b   c    d     e", "  leading", "trailing   ", "line\nline\n\nline\n\n\n", "\n", "\n\n ", " \n \n", "a \n b", "\r\n\r\nx\r",
    "\tindented\n\t\ttwice\n    four", "tab\tspace \t mixed  \t", "1", "12", "123", "1234", "12345678901234567890", "3.14159e-10", "x1y22z333",
    "\u0661\u0662\u0663\u0664 \u00bd \u2167 \u4e09", "!!!", "... --- ???\n\n", "a!b?c\n!\n", "(x) [y] {z} <t> @#$%^&*", "http://a.b/c?d=e&f=%20",
    "\u0000\u0001\u001f\u007f", "a\u0000b", "\u0085\u00a0\u1680\u2003\u2028\u2029\u202f\u205f\u3000x", "\u180e \u200b \ufeff a\u180eb", "\u001c\u001d\u001e\u001f x",
    "a" * 3000, "ab" * 1500, "x" * 50 + " " * 400 + "y", " " * 1000, "\n" * 300, "9" * 301, "\u00e9" * 200, "the" * 100,
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "<|endoftext|><|endoftext|>", "x<|im_end|>y", "<|im_end", "<|im_start|><|im_start", "< |im_start|>",
    "<|begin_of_text|>Hello<|eot_id|>", "  <|im_end|>  ", "<tool> a<tool>b  <tool>  c", "wordy [word] aword word wordword word.", "caf\u00e9X cafe\u0301X",
    "\u0301\u0302\u0303", "a\u0301\u0302\u0303\u0304b", "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319A", "\ufb01 \u00df \u0130 \u0131 \u017f \u1e9e", "\uff21\uff22\uff23\uff11\uff12", "\U00010400\U0001d400\U00020000",
    "\uffff\ufffe\ufffd\U0010ffff", "def f(x):\n    return x ** 2  # comment\n\n\nclass A:\n\tpass\n", "{\"key\": [1, 2.5, null, true]}", "SHOUTING AND MiXeD CaSe",
    "She said, \u201cIt\u2019s \u2018fine\u2019\u2014really\u2026\u201d", "\u00a320 \u20ac30 \u00a540 \u20bf1", "\u2200x\u2208\u211d: x\u00b2\u22650", "under_score kebab-case CamelCase snake__case",
]

# Blocks that Unicode 14 and later agree on, with what matters to a tokenizer among them.
RANGES = [(0x20, 0x7E), (0x20, 0x7E), (0x61, 0x7A), (0xA0, 0x17F), (0x300, 0x345), (0x391, 0x3A1), (0x410, 0x44F), (0x5D0, 0x5EA), (0x627, 0x64A), (0x905, 0x939),
          (0x1100, 0x1112), (0x1161, 0x1175), (0x11A8, 0x11C2), (0x1E00, 0x1EFF), (0x2000, 0x206F), (0x20A0, 0x20BF), (0x2150, 0x218B), (0x2190, 0x21FF), (0x2460, 0x24FF),
          (0x3000, 0x303F), (0x3041, 0x3096), (0x30A1, 0x30FA), (0x4E00, 0x4FFF), (0xAC00, 0xAD00), (0xFB00, 0xFB06), (0xFF01, 0xFF5E), (0x1D400, 0x1D454), (0x1F600, 0x1F64F),
          (0x9, 0xD), (0x30, 0x39), (0x660, 0x669)]
FRAGMENTS = [" ", "  ", "\n", "\r\n", "\t", "'s", "'LL", "'", "the", " and", "ing", "<|im_start|>", "<|eot_id|>", "<tool>", "word", "12", "e\u0301", "!"]


def random_texts(n, seed):
    rng = random.Random(seed)
    texts = []
    for _ in range(n):
        parts = []
        for _ in range(rng.randint(1, 24)):
            if rng.random() < 0.4:
                parts.append(rng.choice(FRAGMENTS))
            else:
                low, high = rng.choice(RANGES)
                parts += [chr(rng.randint(low, high)) for _ in range(rng.randint(1, 4))]
        texts.append("".join(parts))
    return texts


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    head = {"made_by": "tests/golden/make_text_golden.py", "versions": VERSIONS}
    lists = [f"{json.dumps(key)}: [\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]"
             for key, cases in value.items()]
    path.write_text(json.dumps(head)[:-1] + ",\n" + ",\n".join(lists) + "}\n")


STORY = """It was late in the evening when the old man closed the door of his shop and walked home through the rain. He had
been thinking about the letter all day. "They've asked for me," he said to nobody, "and I don't know what I'll answer." The
street was empty; the lamps were lit; somewhere a dog was barking. He counted the houses as he always did: one, two, three, and
then his own. There were 24 steps to the top, and 12 windows, and behind the last of them she was waiting with the tea.
"""


def corpus():
    text = STORY * 3 + "\n".join(TEXTS[:13])
    text += " ".join(f"{n} the and of to in {n * 7} that was with his her they've I'm" for n in range(200))
    return [text[i:i + 200] for i in range(0, len(text), 200)]


def save_tiny(tokenizer, name, config):
    folder = OUT / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=False) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")


def train(pattern, normalizer, vocab_size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(
        corpus(), trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False))
    return tokenizer


def tiny_llama3():
    tokenizer = train(LLAMA3_PATTERN, None, 600)
    file = json.loads(tokenizer.to_str())
    # A word that no merge makes: only ignore_merges finds it.
    file["model"]["vocab"]["Hello"] = len(file["model"]["vocab"])
    file["model"]["ignore_merges"] = True
    tokenizer = Tokenizer.from_str(json.dumps(file))
    tokenizer.add_special_tokens(["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"])
    tokenizer.add_tokens([AddedToken("<tool>", lstrip=True, rstrip=True, normalized=False),
                          AddedToken("word", single_word=True, normalized=False)])
    bos = "<|begin_of_text|>"
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1",
                                      special_tokens=[(bos, tokenizer.token_to_id(bos))])])
    save_tiny(tokenizer, "tiny_llama3", {"bos_token": bos, "eos_token": {"content": "<|eot_id|>", "lstrip": False},
                                         "chat_template": (HERE / "templates/llama-3-like.jinja").read_text()})
    return tokenizer


def tiny_qwen2():
    tokenizer = train(QWEN2_PATTERN, normalizers.Sequence([normalizers.NFC()]), 600)
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken("caf\u00e9X", normalized=True), AddedToken("cafe\u0301", normalized=True)])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    file = json.loads(tokenizer.to_str())
    # The older form of merges; the trainer writes pairs.
    file["model"]["merges"] = [" ".join(merge) for merge in file["model"]["merges"]]
    save_tiny(Tokenizer.from_str(json.dumps(file)), "tiny_qwen2", {
        "bos_token": None, "eos_token": "<|im_end|>",
        "chat_template": [{"name": "tool_use", "template": "{{ 1 }}"},
                          {"name": "default", "template": (HERE / "templates/qwen2.5-instruct.jinja").read_text()}]})
    folder = OUT / "tiny_qwen2" / "tokenizer.json"
    saved = json.loads(folder.read_text())
    saved["model"]["merges"] = file["model"]["merges"]
    folder.write_text(json.dumps(saved) + "\n")
    return Tokenizer.from_str(folder.read_text())


def tiny_gpt2():
    """ByteLevel alone: GPT-2's own regex, with a space put in front."""
    tokenizer = train(QWEN2_PATTERN, None, 300)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=True)
    tokenizer.add_special_tokens(["<|endoftext|>"])
    save_tiny(tokenizer, "tiny_gpt2", {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"})
    return tokenizer


def encode_cases(tokenizer, texts):
    cases = []
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        special = tokenizer.encode(text).ids
        case = {"text": text, "ids": ids, "special_tokens_before": special[:len(special) - len(ids)]}
        assert special == case["special_tokens_before"] + ids
        # Left out where it is the text again, as it nearly always is.
        for key, skip in [("decoded", False), ("decoded_skipping", True)]:
            if (decoded := tokenizer.decode(ids, skip_special_tokens=skip)) != text:
                case[key] = decoded
        cases.append(case)
    return cases


def decode_cases(tokenizer, n, seed):
    """Random ids: bytes that are no UTF-8."""
    rng = random.Random(seed)
    cases = []
    for _ in range(n):
        ids = [rng.randrange(min(300, tokenizer.get_vocab_size())) if rng.random() < 0.8 else rng.randrange(tokenizer.get_vocab_size())
               for _ in range(rng.randint(1, 12))]
        cases.append({"ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False)})
    return cases


def utf8_cases(n, seed):
    rng = random.Random(seed)
    hand = [b"", b"abc", b"\xff", b"\xc3", b"\xc3\xa9", b"\xe2\x82", b"\xe2\x82\xac", b"\xe2\x28\xa1", b"\xf0\x9f\x98", b"\xf0\x9f\x98\x80", b"\xf0\x28\x8c\xbc",
            b"\xed\xa0\x80", b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf4\x90\x80\x80", b"\xf0\x80\x80\x80", b"a\xe2\x82b\xf0\x9fc", b"\x80\xbf\xfe"]
    lead = [0x41, 0xC2, 0xC3, 0xE0, 0xE2, 0xED, 0xEF, 0xF0, 0xF1, 0xF4, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xFF]
    made = [bytes(rng.choice(lead) for _ in range(rng.randint(1, 12))) for _ in range(n)]
    return [{"bytes": list(b), "decoded": b.decode("utf-8", errors="replace")} for b in hand + made]


def split_cases():
    text = "the-final--countdown, 42 of 7-"
    cases = []
    for behavior in ["isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous"]:
        for pattern, regex in [("-", False), (r"\d+|-", True), (r"\w*", True)]:
            for invert in [False, True]:
                split = pre_tokenizers.Split(Regex(pattern) if regex else pattern, behavior=behavior, invert=invert)
                cases.append({"behavior": behavior, "pattern": pattern, "regex": regex, "invert": invert, "text": text,
                              "pieces": [piece for piece, _ in split.pre_tokenize_str(text)]})
    return cases


CONVERSATIONS = [
    [{"role": "user", "content": "Hi there"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "  What is 2+2?\n"}],
    [{"role": "user", "content": "One"}, {"role": "assistant", "content": "Two"}, {"role": "user", "content": "Three"}],
    [{"role": "system", "content": ""}, {"role": "user", "content": ""}, {"role": "assistant", "content": ""}],
    [{"role": "user", "content": "<b>&\"quoted\"</b> {{ not a template }} {% nor this %} \u4f60\u597d \U0001f600"}, {"role": "system", "content": "late"}],
    [{"role": "user", "content": "q"}, {"role": "tool", "content": "42"}, {"role": "tool", "content": "43"}, {"role": "assistant", "content": "a"}],
    [],
]


def render(template, messages, add_generation_prompt):
    today = datetime.date.today().strftime("%d %b %Y")
    try:
        text, _ = chat_template_utils.render_jinja_template(
            conversations=[messages], chat_template=template, add_generation_prompt=add_generation_prompt,
            bos_token="<|begin_of_text|>", eos_token="<|eot_id|>")
        return {"text": text[0].replace(today, "@TODAY@")}
    except (jinja2.exceptions.TemplateError, TypeError, ValueError, ArithmeticError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


def chat_cases():
    templates = {path.stem: path.read_text() for path in sorted((HERE / "templates").glob("*.jinja"))}
    templates["demo"] = json.loads((ROOT / "models/demo/tokenizer_config.json").read_text())["chat_template"]
    templates |= {f"construct {i}": template for i, template in enumerate(json.loads((HERE / "templates/constructs.json").read_text()))}
    cases = []
    for name, template in templates.items():
        conversations = CONVERSATIONS[2:3] if name.startswith("construct") else CONVERSATIONS
        renderings = [{"messages": messages, "add_generation_prompt": add, **render(template, messages, add)}
                      for messages in conversations for add in [False, True]]
        cases.append({"name": name, "template": template, "renderings": renderings})
    return cases


def main():
    texts = TEXTS + random_texts(300, seed=7)
    demo = Tokenizer.from_file(str(ROOT / "models/demo/tokenizer.json"))
    for name, tokenizer in [("demo", demo), ("tiny_llama3", tiny_llama3()), ("tiny_qwen2", tiny_qwen2()), ("tiny_gpt2", tiny_gpt2())]:
        write(OUT / f"tokenizer_{name}.json",
              {"encode": encode_cases(tokenizer, texts), "decode": decode_cases(tokenizer, 200, seed=11)})
    write(OUT / "utf8.json", {"cases": utf8_cases(400, seed=13)})
    write(OUT / "splits.json", {"cases": split_cases()})
    write(OUT / "chat.json", {"cases": chat_cases()})


if __name__ == "__main__":
    main()
