import json
import math

from harness import main

DEVICE = ["--device-memory", "64MiB"]


def text_file(lab):
    lines = (lab.source / "data" / "eval" / "passages.jsonl").read_text().splitlines()[:4]
    path = lab.directory / "text.txt"
    path.write_text("\n".join(json.loads(line)["text"] for line in lines))
    return path


def test_json_has_its_fields(lab):
    text = text_file(lab)
    out = json.loads(lab.ok("eval", lab.demo, "--text", text, "--context", 128, "--json", *DEVICE).stdout)
    assert set(out) == {"perplexity", "perplexity_se", "nll", "tokens_scored", "windows", "context", "format", "model", "text"}
    assert math.isclose(out["perplexity"], math.exp(out["nll"]), rel_tol=1e-9)
    assert 5 < out["perplexity"] < 500 and 0 < out["perplexity_se"] < out["perplexity"]
    assert out["format"] == "bf16" and out["context"] == 128
    n_tokens = out["tokens_scored"] + out["windows"]
    assert 128 * (out["windows"] - 1) < n_tokens <= 128 * out["windows"] + 1


def test_perplexity_is_that_of_transformers(lab):
    golden = lab.source / "tests" / "golden" / "perplexity"
    for window in json.loads((golden / "golden.json").read_text())["windows"]:
        for format, tolerance in (("bf16", 1e-3), ("fp32", 1e-5)):
            out = json.loads(lab.ok("eval", lab.demo, "--text", golden / "passages.txt", "--context", window["context"],
                                    "--format", format, "--json", *DEVICE).stdout)
            wanted = window[format]
            assert out["tokens_scored"] == wanted["tokens_scored"], (out, wanted)
            assert math.isclose(out["perplexity"], wanted["perplexity"], rel_tol=tolerance), (format, out, wanted)


def test_formats_differ_and_the_default_context_is_the_models(lab):
    text = text_file(lab)
    perplexity = {}
    for format in ("bf16", "awq"):
        out = json.loads(lab.ok("eval", lab.demo, "--text", text, "--format", format, "--json", *DEVICE).stdout)
        assert out["context"] == 1024 and out["format"] == format
        perplexity[format] = out["perplexity"]
    assert perplexity["bf16"] != perplexity["awq"]
    assert abs(perplexity["awq"] / perplexity["bf16"] - 1) < 0.5


def test_json_to_a_file_and_words_without(lab):
    text = text_file(lab)
    assert lab.ok("eval", lab.demo, "--text", text, "--json", "out.json", *DEVICE).stdout == ""
    out = json.loads((lab.directory / "out.json").read_text())
    words = lab.ok("eval", lab.demo, "--text", text, *DEVICE).stdout
    assert words.startswith(f"perplexity {out['perplexity']:.4f} "), words


main(globals())
