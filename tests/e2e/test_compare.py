import json

from harness import main
from schema import errors

SMALL = ["--rounds", 5, "--prompts", 4, "--max-tokens", 8, "--device-memory", "64MiB"]


def compare(lab, *more):
    return lab.ok("compare", lab.demo, "--formats", "bf16,fp8,awq", *SMALL, "--eval-data", lab.small_data(), "--json", "r.json",
                  "--markdown", "r.md", *more)


def test_a_small_lab(lab):
    result = compare(lab)
    record = json.loads((lab.directory / "r.json").read_text())
    schema = json.loads((lab.source / "docs" / "record.schema.json").read_text())
    assert list(errors(record, schema, schema)) == []
    check_record(record)
    check_report(result, (lab.directory / "r.md").read_text(), record)
    assert sorted(path.name for path in lab.directory.iterdir()) == ["data", "r.json", "r.md"]
    compare(lab, "--no-quality", "--objective", "latency")  # its own files are replaced
    record = json.loads((lab.directory / "r.json").read_text())
    assert record["verdict"]["objective"] == "latency"
    assert all("quality" not in run["measured"] for run in record["runs"])


def check_record(record):
    assert [run["format"] for run in record["runs"]] == ["bf16", "fp8", "awq"]
    assert record["predicted_at"] <= record["measured_from"]
    workload = record["workload"]
    assert (workload["prompts"], workload["max_tokens"], workload["rounds"]) == (4, 8, 5)
    for run in record["runs"]:
        measured, memory = run["measured"], run["measured"]["memory"]
        assert len(measured["generation_tokens_per_s"]["samples"]) == 5
        low, high = measured["generation_tokens_per_s"]["ci95"]
        assert 0 < low <= measured["generation_tokens_per_s"]["median"] <= high
        budget = int(workload["device_memory_bytes"] * workload["utilization"])
        left = budget - memory["weights_bytes"] - memory["activation_bytes"] - memory["overhead_bytes"]
        assert measured["kv_blocks"] == left // measured["block_bytes"] == run["predicted"]["kv_blocks"]
        assert measured["kv_blocks"] * measured["block_bytes"] == memory["kv_bytes"]
        assert ("ratio_to_baseline" in measured) == (run is not record["runs"][0])
    speed = record["hardware"]["speed"]
    assert len(speed["arithmetic"]["samples"]) == 6  # before each round and after the last
    if "cpu_wait" in speed:
        assert len(speed["cpu_wait"]["samples"]) == 5 and all(0 <= x <= 1 for x in speed["cpu_wait"]["samples"]), speed
    bf16, fp8, awq = (run["measured"] for run in record["runs"])
    assert record["kv_buffer_bytes"] == awq["memory"]["kv_bytes"]  # as the allocator has it
    assert awq["kv_blocks"] > fp8["kv_blocks"] > bf16["kv_blocks"]
    assert bf16["quality"]["kld"]["max"] == 0 and bf16["quality"]["top1_agreement"] == 1
    assert 0 < fp8["quality"]["kld"]["mean"] < awq["quality"]["kld"]["mean"]
    assert record["noise_floor"]["kld"]["max"] == 0  # kernels are batch-invariant
    assert len(awq["quality"]["outputs"]) == 4
    assert record["verdict"]["objective"] == "throughput"


def check_report(result, markdown, record):
    text = result.stdout
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 100
    assert text.index("Predicted before any measurement") < text.index("The three meters") < text.index("Verdict")
    for run in record["runs"]:
        for report in (text, markdown):
            assert f"{run['measured']['kv_blocks']:,}" in report
    assert "GPU KV cache size" in result.stderr or "CPU KV cache size" in result.stderr
    assert markdown.startswith("<!-- trimeter -->\n# ")


main(globals())
