import json

from harness import main
from schema import errors

SMALL = ["--rounds", 5, "--prompt-tokens", 16, "--max-tokens", 4, "--device-memory", "64MiB"]


def test_formats_and_batches(lab):
    result = lab.ok("bench", lab.demo, "--formats", "bf16,awq,fp8-static+kv-fp8", "--batch", "1,3", *SMALL, "--eval-data",
                    lab.small_data(), "--json", "b.json", "--markdown", "b.md")
    record = json.loads((lab.directory / "b.json").read_text())
    schema = json.loads((lab.source / "docs" / "record.schema.json").read_text())
    assert list(errors(record, schema, schema)) == []
    runs = [(run["format"], run["batch"]) for run in record["runs"]]
    assert runs == [(name, batch) for name in ("bf16", "awq", "fp8-static+kv-fp8") for batch in (1, 3)]
    markdown = (lab.directory / "b.md").read_text()
    for run in record["runs"]:
        measured, floor = run["measured"], run["floor"]
        assert len(measured["prompt_tokens_per_s"]["samples"]) == len(measured["decode_tokens_per_s"]["samples"]) == 5
        # A step reads all weights once, and each sequence's context.
        cache = run["batch"] * (16 + 1) * measured["block_bytes"] / record["workload"]["block_size"]
        assert floor["decode_bytes"] >= measured["memory"]["linear_bytes"] + cache
        assert floor["decode_bytes"] <= 1.05 * (measured["memory"]["weights_bytes"] + 2 * cache)
    for row in ("pp16", "tg4"):
        assert result.stdout.count(row) == markdown.count(row) == 6
    assert record["workload"]["prompt_tokens"] == 3 * 16 and record["workload"]["max_model_len"] == 16 + 4


def test_profile(lab):
    result = lab.ok("bench", lab.demo, "--formats", "bf16,w4a16", "--batch", 2, *SMALL, "--profile", "--json", "p.json")
    record = json.loads((lab.directory / "p.json").read_text())
    schema = json.loads((lab.source / "docs" / "record.schema.json").read_text())
    assert list(errors(record, schema, schema)) == []
    for run in record["runs"]:
        tokens = {"prompt": 2 * 16, "decode": 2}
        for phase, n_tokens in tokens.items():
            part, floor = run["profile"][phase], run["floor"]
            operations = {o["name"]: o for o in part["operations"]}
            assert {"qkv_proj", "rope+kv_write", "attention", "o_proj", "gate_up_proj", "down_proj", "lm_head", "sampling",
                    "rest"} <= set(operations)
            for i, whole in enumerate(part["seconds"]["samples"]):
                assert abs(sum(o["seconds"]["samples"][i] for o in operations.values()) / whole - 1) < 1e-6
                # The same steps as the throughput's; two clocks are read at their ends.
                rate = run["measured"][f"{phase}_tokens_per_s"]["samples"][i]
                assert abs(n_tokens / rate / whole - 1) < 0.05, (phase, n_tokens / rate, whole)
            # Bytes and operations are the floor's, each counted once.
            for what in ("bytes", "operations"):
                assert abs(sum(o[what] for o in operations.values()) / floor[f"{phase}_{what}"] - 1) < 1e-9
            assert operations["down_proj"]["calls"] == operations["qkv_proj"]["calls"] > 0
        assert run["profile"]["decode"]["steps"] == 3
        for title in ("Prefill", "Decode"):
            assert f"{title}: {run['format']}, batch 2" in result.stdout
    lab.ok("bench", lab.demo, "--formats", "bf16", *SMALL, "--json", "off.json")
    assert all("profile" not in run for run in json.loads((lab.directory / "off.json").read_text())["runs"])
    lab.refused(["bench", lab.demo, "--formats", "bf16", "--device", "cuda", "--profile", *SMALL], "--profile", "cuda")


def test_refusals(lab):
    lab.refused(["bench", lab.demo, "--formats", "bf16", "--batch", "1,0", *SMALL], "batch", "at least 1", "0")
    lab.refused(["bench", lab.demo, "--formats", "bf16", "--rounds", 0], "rounds", "at least 1")
    lab.refused(["bench", lab.demo, "--formats", "bf16", "--lm-head", "int8", *SMALL], "--lm-head", "bf16")
    lab.refused(["bench", lab.demo, "--formats", "awq", "--lm-head", "bf16", *SMALL], "lm_head", "bf16", "16 bits")
    lab.refused(["bench", lab.demo, "--formats", "bf16", "--batch", 32, "--prompt-tokens", 512, "--device-memory", "64MiB"],
                "a batch of 32 with 640 tokens each", "1280 KV blocks", "--device-memory")
    lab.refused(["bench", lab.demo, "--formats", "bf16,nonsense", *SMALL], "nonsense")


def test_synth_refuses_what_it_cannot_write(lab):
    lab.refused(["synth", "qwen2.5-0.6b", "-o", "x"], "qwen2.5-0.6b", "qwen2.5-0.5b", "llama-3.2-1b")
    (lab.directory / "full").mkdir()
    (lab.directory / "full" / "notes.txt").write_text("mine")
    lab.refused(["synth", "qwen2.5-0.5b", "-o", "full", "--force"], "full", "another")


main(globals())
