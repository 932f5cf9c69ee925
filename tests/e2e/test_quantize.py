"""What is quantized to a directory runs as the same format quantized at load does."""
import json

from harness import main

DEVICE = ["--device-memory", "64MiB"]


def answer(lab, model, *more):
    return lab.ok("generate", model, "-p", "The old sailor", "--max-tokens", 16, *DEVICE, *more).stdout


def test_a_written_directory_runs_as_its_format(lab):
    for format, method in (("awq", "awq"), ("fp8", "fp8"), ("w4a16", "compressed-tensors")):
        lab.ok("quantize", lab.demo, "--format", format, "-o", format)
        config = json.loads((lab.directory / format / "config.json").read_text())
        assert config["quantization_config"]["quant_method"] == method
        assert answer(lab, format) == answer(lab, lab.demo, "--format", format), format
    assert sorted(p.name for p in lab.directory.iterdir()) == ["awq", "fp8", "w4a16"]
    lab.refused(["generate", "awq", "--format", "fp8", "-p", "x", *DEVICE], "quantized already", "'awq'", "'fp8'")
    lab.refused(["quantize", "awq", "--format", "fp8", "-o", "again"], "quantized already")
    lab.refused(["quantize", lab.demo, "--format", "fp8", "-o", "awq"], "--force")
    out = lab.ok("compare", lab.demo, "--formats", "bf16,w4a16,./w4a16", "--rounds", 5, "--prompts", 1, "--max-tokens", 2,
                 "--no-quality", *DEVICE).stdout
    rows = [line.split() for line in out.splitlines() if line.split()[:1] in (["w4a16"], ["./w4a16"])]
    assert len(rows) >= 2 and rows[0][1:5] == rows[1][1:5], rows


def test_a_dry_run_writes_nothing(lab):
    out = lab.ok("quantize", lab.demo, "--format", "awq", "--dry-run", "-o", "there").stdout
    assert "2,359,296" in out and not list(lab.directory.iterdir()), out


def test_configs_that_are_refused(lab):
    model = lab.model()
    lab.refused(["quantize", lab.demo, "--format", "awq", "-o", "nowhere/there"], "nowhere")
    for quantization, *words in [
            ({"quant_method": "bitsandbytes"}, "quant_method", "bitsandbytes"),
            ({}, "quant_method", "got none"),
            ({"quant_method": "awq", "bits": 3, "group_size": 128}, "bits", "3"),
            ({"quant_method": "awq", "bits": 4, "group_size": 96}, "int4", "per-group(96)"),
            ({"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemv"}, "version", "gemv"),
            ({"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": {"-:(": {}}}, "dynamic"),
            ({"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": {"-:.*q_proj": {}}}, "q_proj", "k_proj"),
            ({"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"}, "format", "nvfp4"),
            ({"quant_method": "compressed-tensors", "config_groups": {"g": {"targets": ["Linear"], "weights": {
                "num_bits": 4, "strategy": "tensor_group"}}}}, "strategy", "tensor_group"),
            ({"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [64, 64]}, "weight_block_size"),
            ({"quant_method": "fp8", "activation_scheme": "dynamic"}, "model.layers.0", "F8_E4M3", "BF16"),
            ({"quant_method": "awq", "bits": 4, "group_size": 128}, "tensor", "model.layers.0"),
    ]:
        lab.edit_json(model / "config.json", quantization_config=quantization)
        lab.refused(["generate", model, "-p", "x", *DEVICE], *words)


main(globals())
