"""A model written as a GGUF file runs from the file as the format quantized at load does, and is counted as it is."""
import json
import re
import shutil
import struct

from harness import main

DEVICE = ["--device-memory", "64MiB"]


def half_model(lab):
    """The demo model in float16: what a GGUF file's KV cache is held in."""
    model = lab.model()
    lab.edit_json(model / "config.json", torch_dtype="float16")
    return model


def answer(lab, model, *more):
    return lab.ok("generate", model, "-p", "The old sailor", "--max-tokens", 16, *DEVICE, *more).stdout


def perplexity(lab, model, *more):
    text = lab.directory / "text.txt"
    text.write_text((lab.source / "tests/golden/perplexity/passages.txt").read_text()[:3000])
    return json.loads(lab.ok("eval", model, "--text", text, "--context", 128, "--json", *DEVICE, *more).stdout)


def test_a_written_file_runs_as_its_format(lab):
    model = half_model(lab)
    for format in ("gguf-q8_0", "gguf-q4_k", "gguf-f16"):
        lab.ok("quantize", model, "--format", format, "-o", "a.gguf", "--force")
        assert answer(lab, "a.gguf") == answer(lab, model, "--format", format), format
        assert answer(lab, "a.gguf", "--chat") == answer(lab, model, "--chat", "--format", format), format
        here, there = perplexity(lab, "a.gguf"), perplexity(lab, model, "--format", format)
        assert here["nll"] == there["nll"], (here, there)
        assert here["format"] == format, here
        assert answer(lab, "a.gguf", "--format", format) == answer(lab, "a.gguf"), format
    lab.refused(["generate", "a.gguf", "--format", "fp8", "-p", "x", *DEVICE], "quantized already", "'gguf-f16'", "'fp8'")


def test_what_is_written(lab):
    out = lab.ok("quantize", lab.demo, "--format", "gguf-q4_k", "--dry-run", "-o", "a.gguf").stdout
    assert not list(lab.directory.iterdir()), out
    for row in ("in memory", "in files"):  # norms are in float32 in both
        assert re.search(rf"  {row} +3,658,240 ", out), out
    for row in ("linears: values", "linears: scales", "embedding and lm_head", "norms and biases"):
        assert re.search(rf"  {row} +[0-9,]+ ", out), out
    written = lab.ok("quantize", lab.demo, "--format", "gguf-q4_k", "-o", "a.gguf").stdout
    assert written == out.replace("nothing written", "written"), written
    lab.ok("quantize", lab.demo, "--format", "fp8", "-o", "fp8")
    lab.refused(["quantize", "fp8", "--format", "gguf-q8_0", "-o", "b.gguf"], "quantized already", "fp8")
    shutil.rmtree(lab.directory / "fp8")
    assert sorted(p.name for p in lab.directory.iterdir()) == ["a.gguf"]
    lab.refused(["quantize", lab.demo, "--format", "gguf-q4_k", "-o", "a.gguf"], "a.gguf", "--force")
    lab.refused(["quantize", lab.demo, "--format", "gguf-q4_k", "-o", "nowhere/a.gguf"], "nowhere")
    lab.refused(["quantize", lab.demo, "--format", "gguf-q4_k", "-o", "b"], "b", ".gguf")
    for option in (["--group-size", 32], ["--keep-16bit", "*"], ["--keep-worst", 1], ["--calibration", lab.demo / "README.md"],
                   ["--samples", 1], ["--eval-data", lab.source / "data"], ["--threads", 1], ["--alpha", 0.5]):
        lab.refused(["quantize", lab.demo, "--format", "gguf-q4_k", "-o", "b.gguf", *option], option[0])


def test_a_tokenizer_is_written_truthfully_or_refused(lab):
    model = lab.model()
    command = ["quantize", model, "--format", "gguf-q4_0", "-o", "a.gguf"]
    for more in ["--dry-run"], []:
        assert "a.gguf: its tokenizer does otherwise than tokenizer.json: text that is not in NFC" in lab.ok(*command, *more).stderr
    lab.edit_json(model / "tokenizer.json", normalizer=None)
    assert "does otherwise" not in lab.ok(*command, "--force").stderr
    lab.edit_json(model / "tokenizer.json", pre_tokenizer={"type": "ByteLevel", "add_prefix_space": True, "use_regex": True})
    lab.refused([*command, "--force"], model / "tokenizer.json", "pre_tokenizer", "qwen2", "a space put in front")
    other = lab.model("sentencepiece")
    golden = lab.source / "tests/golden/text"
    base = json.loads((golden / "sentencepiece_bpe.json").read_text())["base"]
    (other / "tokenizer.json").write_text(json.dumps(base))
    (other / "tokenizer_config.json").write_text("{}")
    lab.edit_json(other / "config.json", bos_token_id=1, eos_token_id=2, torch_dtype="float16")
    lab.edit_json(other / "generation_config.json", bos_token_id=None, eos_token_id=None)
    command = ["quantize", other, "--format", "gguf-q4_0", "-o", "b.gguf"]
    lab.refused(command, other / "tokenizer_config.json", "bos_token and eos_token", "no eos_token")
    lab.edit_json(other / "tokenizer_config.json", eos_token="</s>")
    lab.ok(*command)
    assert answer(lab, "b.gguf") == answer(lab, other, "--format", "gguf-q4_0")
    unigram = json.loads((golden / "sentencepiece_unigram.json").read_text())["base"]
    (other / "tokenizer.json").write_text(json.dumps(unigram))
    lab.refused([*command, "--force"], other / "tokenizer.json", "model", "Unigram")


def test_compare_counts_a_file_as_it_is(lab):
    lab.ok("quantize", lab.demo, "--format", "gguf-q4_k", "-o", "a.gguf")
    lab.ok("compare", lab.demo, "--formats", "bf16,gguf-q4_k,a.gguf,gguf-q4_k+kv-int8", "--rounds", 5, "--prompts", 1,
           "--max-tokens", 2, "--no-quality", "--json", "r.json", *DEVICE)
    runs = json.loads((lab.directory / "r.json").read_text())["runs"]
    for run in runs:
        measured, predicted = run["measured"], run["predicted"]
        memory = measured["memory"]
        budget = int(64 * 2**20 * 0.9)
        left = budget - memory["weights_bytes"] - memory["activation_bytes"] - memory["overhead_bytes"]
        assert measured["kv_blocks"] == left // measured["block_bytes"] == predicted["kv_blocks"], run
        assert memory["weights_bytes"] == predicted["memory"]["weights_bytes"], run
    bf16, quantized, file, small_kv = (run["measured"] for run in runs)
    assert file["memory"] == quantized["memory"] and file["memory"]["weights_bytes"] == 3658240, file
    assert file["kv_blocks"] > bf16["kv_blocks"] and small_kv["kv_blocks"] > 1.7 * file["kv_blocks"]
    other = lab.model("other")
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocab = tokenizer["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    lab.refused(["compare", other, "--formats", "bf16,./a.gguf", *DEVICE], "a.gguf", "token", "'a'", "'b'")


def test_nasty_files(lab):
    for path in sorted((lab.source / "tests/fuzz/corpus/gguf_model").glob("*.gguf")):
        command = ["generate", path, "-p", "aab", "--max-tokens", 4, *DEVICE]
        if path.name.startswith("ok_"):
            lab.ok(*command)
        else:
            lab.refused(command, path)
    lab.refused(["generate", "none.gguf", "-p", "x", *DEVICE], "none.gguf")
    whole = lab.directory / "whole.gguf"
    lab.ok("quantize", lab.demo, "--format", "gguf-q8_0", "-o", whole)
    content = whole.read_bytes()
    for n, *words in (0, "magic"), (1000, "number of tensors"), (20000, "tokenizer.ggml"), (len(content) - 4096, "tensor", "wanted it within the file's"):
        whole.write_bytes(content[:n])
        for command in (["generate", whole, "-p", "x", *DEVICE], ["eval", whole, "--text", lab.demo / "README.md", *DEVICE],
                        ["compare", lab.demo, "--formats", f"bf16,{whole}", *DEVICE]):
            lab.refused(command, whole, *words)
    first = lab.directory / "part-00001-of-00002.gguf"
    first.write_bytes(split_file())
    lab.refused(["generate", first, "-p", "x", *DEVICE], "part-00002-of-00002.gguf", "cannot open")


def split_file():
    """The first of two parts, without a tensor."""
    pairs = b"".join(struct.pack("<Q", len(key)) + key + struct.pack("<IH", 2, number)
                     for key, number in ((b"split.no", 0), (b"split.count", 2)))
    head = struct.pack("<IIQQ", 0x46554747, 3, 0, 2) + pairs
    return head + bytes(-len(head) % 32)


main(globals())
