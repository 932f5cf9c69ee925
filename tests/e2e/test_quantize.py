"""What is quantized to a directory runs as the same format quantized at load does."""
import json
import re
import resource
import signal
import subprocess
import time

from harness import main, read_safetensors

DEVICE = ["--device-memory", "64MiB"]


def answer(lab, model, *more):
    result = lab.ok("generate", model, "-p", "The old sailor", "--max-tokens", 16, *DEVICE, *more)
    assert "stored as" not in result.stderr, result.stderr
    return result.stdout


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


def test_every_format_is_read_back_under_its_name(lab):
    for format in ("fp8-channel", "fp8-block", "fp8-static", "int8-static", "int8", "gptq"):
        lab.ok("quantize", lab.demo, "--format", format, "-o", format)
        result = lab.ok("generate", format, "-p", "The old sailor", "--max-tokens", 16, *DEVICE)
        assert f"format={format}," in result.stderr and len(result.stdout) > 20, (format, result.stderr)
        if format.startswith("fp8") or format == "gptq":  # nothing is folded into norms: the same bits
            assert result.stdout == answer(lab, lab.demo, "--format", format), format


def test_a_format_is_scheme_and_algorithm_and_container(lab):
    for more, scheme, algorithm, container in [
            (["fp8-static", "--scheme", "fp8_e4m3_static"], "fp8_e4m3_static", "calibration", "compressed-tensors"),
            (["fp8", "--scheme", "fp8_e4m3_static", "--samples", 2], "fp8_e4m3_static", "amax", "vllm-fp8"),
            (["int8", "--algorithm", "smoothquant+gptq", "--alpha", 0.5, "--damp", 0.02], "int8", "smoothquant+gptq",
             "compressed-tensors"),
            (["w8a16", "--group-size", 32, "--container", "gptq", "--algorithm", "gptq"], "int8w_g32", "gptq", "gptq"),
            (["w8a16", "--group-size", 64, "--algorithm", "awq"], "int8w_g64", "awq", "compressed-tensors"),
            (["w4a16", "--zero-points"], "int4_g128_zp", "rtn", "compressed-tensors"),
            (["awq", "--no-zero-points", "--container", "gptq-v2"], "int4_g128", "awq", "gptq-v2"),
            (["gptq", "--zero-points", "--container", "gptq-v2", "--samples", 4], "int4_g128_zp", "gptq", "gptq-v2"),
            (["bf16", "--scheme", "fp16"], "fp16", "none", "safetensors")]:
        out = lab.ok("quantize", lab.demo, "--format", *more, "-o", "there", "--force").stdout
        assert f"{more[0]}: {scheme}, {algorithm}, written as {container}" in out, out
        assert len(answer(lab, "there")) > 20
    lab.refused(["quantize", lab.demo, "--format", "awq", "--algorithm", "rtn", "--samples", 2, "-o", "new"], "--samples",
                "rtn")


def test_a_dry_run_writes_nothing(lab):
    out = lab.ok("quantize", lab.demo, "--format", "awq", "--dry-run", "-o", "there").stdout
    assert "2,359,296" in out and not list(lab.directory.iterdir()), out


def in_files(out):
    return int(re.search(r"in files +([0-9,]+)", out).group(1).replace(",", ""))


def test_a_dry_run_says_what_is_then_written(lab):
    for more in (["awq", "--samples", 4, "--keep-worst", 2], ["fp8+kv-fp8"]):
        command = ["quantize", lab.demo, "--format", *more, "-o", "there", "--force"]
        said = in_files(lab.ok(*command, "--dry-run").stdout)
        assert in_files(lab.ok(*command).stdout) == said
        _, data = read_safetensors(lab.directory / "there" / "model.safetensors")
        assert len(data) == said, (len(data), said)


def test_a_kv_cache_in_8_bits(lab):
    lab.refused(["quantize", lab.demo, "--format", "awq+kv-fp8", "-o", "there"], "awq+kv-fp8", "compressed-tensors")
    lab.ok("quantize", lab.demo, "--format", "awq+kv-fp8", "--container", "compressed-tensors", "-o", "there")
    config = json.loads((lab.directory / "there" / "config.json").read_text())["quantization_config"]
    assert config["kv_cache_scheme"]["num_bits"] == 8, config
    command = ["-p", "The old sailor", "--max-tokens", 16, *DEVICE]
    stored = lab.ok("generate", "there", *command)
    loaded = lab.ok("generate", lab.demo, "--format", "awq+kv-fp8", *command)
    assert stored.stdout == loaded.stdout
    assert "for kv_cache: fp8 stored, fp32 executed: scales of the checkpoint" in stored.stderr, stored.stderr
    blocks = [re.search(r"# CPU blocks: (\d+)", result.stderr).group(1) for result in (stored, loaded)]
    assert blocks[0] == blocks[1], blocks


def blocks_of(result):
    return int(re.search(r"# CPU blocks: (\d+)", result.stderr).group(1))


def test_a_kv_cache_in_8_bits_on_what_is_quantized(lab):
    lab.ok("quantize", lab.demo, "--format", "w4a16", "-o", "there")
    lab.ok("quantize", lab.demo, "--format", "gguf-q8_0", "-o", "a.gguf")
    prompt = ["-p", "The old sailor", "--max-tokens", 8, *DEVICE]
    for model, how in (("there", "w4a16"), ("a.gguf", "gguf-q8_0")):
        plain = lab.ok("generate", model, *prompt)
        assert plain.stdout == lab.ok("generate", model, "--format", "own", *prompt).stdout
        for kv, line in (("fp8", "fp8 stored, fp32 executed: scales calibrated for each layer"),
                         ("int8", "int8 stored, fp32 executed: scales for each token and head")):
            result = lab.ok("generate", model, "--format", f"own+kv-{kv}", *prompt)
            assert "for kv_cache: " + line in result.stderr, result.stderr
            assert f"format={how}+kv-{kv}," in result.stderr, result.stderr
            assert blocks_of(result) > 1.9 * blocks_of(plain), (model, kv)
    lab.refused(["generate", "there", "--format", "own+kv-int3", "-p", "x"], "own+kv-int3", "kv-fp8", "kv-int8")
    lab.refused(["generate", "there", "--format", "awq+kv-int8", "-p", "x"], "'w4a16'", "own+kv-int8", "'awq+kv-int8'")
    lab.refused(["quantize", lab.demo, "--format", "fp8+kv-int8", "-o", "x"], "'fp8'", "own+kv-int8")
    (lab.directory / "there").rename(lab.directory / "odd+kv-fp8")
    compare = ["compare", lab.demo, *DEVICE, "--formats"]
    lab.refused([*compare, "bf16,a.gguf+kv-int3"], "a.gguf+kv-int3", "there is no 'kv-int3'")
    lab.refused([*compare, "bf16,./nowhere+kv-fp8"], "nowhere+kv-fp8")
    formats = "bf16,odd+kv-fp8,odd+kv-fp8+kv-fp8,./odd+kv-fp8+kv-int8,a.gguf,a.gguf+kv-fp8,a.gguf+kv-int8"
    lab.ok(*compare, formats, "--rounds", 5, "--prompts", 1, "--max-tokens", 2, "--no-quality", "--json", "r.json")
    runs = json.loads((lab.directory / "r.json").read_text())["runs"]
    assert [run["format"] for run in runs] == formats.split(",")
    config = json.loads((lab.demo / "config.json").read_text())
    head = config["hidden_size"] // config["num_attention_heads"]
    halves = 2 * config["num_hidden_layers"] * config["num_key_value_heads"]
    for run in runs:
        measured, memory = run["measured"], run["measured"]["memory"]
        bytes_of_token = head + 2 if run["format"].endswith("kv-int8") else head
        if run["format"] in ("bf16", "odd+kv-fp8", "a.gguf"):
            bytes_of_token = 2 * head
            plain = measured
        elif run["format"].endswith("+kv-fp8"):
            spare = measured["kv_blocks"] - 2 * plain["kv_blocks"]  # to the block: the odd one, at most
            assert memory["weights_bytes"] == plain["memory"]["weights_bytes"] and spare in (0, 1), run
        assert measured["block_bytes"] == halves * bytes_of_token * 16, run
        left = int(64 * 2**20 * 0.9) - memory["weights_bytes"] - memory["activation_bytes"] - memory["overhead_bytes"]
        assert measured["kv_blocks"] == left // measured["block_bytes"] == run["predicted"]["kv_blocks"], run


def test_scales_of_a_kv_cache_that_nobody_asks_for(lab):
    lab.ok("quantize", lab.demo, "--format", "fp8-channel+kv-fp8", "-o", "there")
    config = json.loads((lab.directory / "there" / "config.json").read_text())["quantization_config"]
    config["kv_cache_scheme"] = None
    told = "Scales of an fp8 KV cache lie beside the weights"
    command = ["generate", "there", "-p", "x", "--max-tokens", 1, *DEVICE]
    assert told not in lab.ok(*command).stderr
    lab.edit_json(lab.directory / "there" / "config.json", quantization_config=config)
    result = lab.ok(*command)
    assert told in result.stderr and "held in bfloat16" in result.stderr, result.stderr
    assert told not in lab.ok(*command, "--format", "own+kv-fp8").stderr


def test_linears_that_are_kept(lab):
    for more in (["--keep-worst", 24], ["--keep-worst", 1000], ["--keep-16bit", "*"],
                 ["--keep-16bit", "*.down_proj", "--keep-worst", 18]):
        command = ["quantize", lab.demo, "--format", "awq", "-o", "there", *more]
        lab.refused(command, "24", "--keep-worst", "--format bf16")
        assert "awq" not in lab.run(*command).stderr.replace("format awq", ""), "it began"
    out = lab.ok("quantize", lab.demo, "--format", "awq", "--keep-16bit", "*.q_proj", "--dry-run", "-o", "there").stdout
    assert "in 16 bits: model.layers.0.self_attn.qkv_proj," in out and "q, k and v" in out, out


def test_options_are_refused_by_name(lab):
    for format, *more in [("awq", "--alpha", 0.5), ("fp8", "--act-order"), ("awq", "--desc-act"), ("fp8", "--damp", 0.1),
                          ("awq", "--activation-scale", "amax"), ("fp8", "--samples", 4), ("awq", "--group-size", 48),
                          ("awq", "--container", "exl2"), ("gguf-q8_0", "--act-order"), ("gguf-q8_0", "--container", "gptq"),
                          ("int8", "--algorithm", "hqq"), ("int8", "--scheme", "int3"), ("w8a16", "--zero-points"),
                          ("gguf-q8_0", "--algorithm", "rtn"), ("gguf-q8_0", "--scheme", "int8")]:
        name = "--act-order" if more[0] == "--desc-act" else more[0]
        lab.refused(["quantize", lab.demo, "--format", format, "-o", "there", *more], name)
    for format, *more in [("fp8", "--algorithm", "gptq"), ("bf16", "--algorithm", "awq"), ("w4a16", "--algorithm", "smoothquant"),
                          ("int8", "--container", "autoawq"), ("bf16", "--container", "autoawq"), ("awq", "--container", "safetensors"),
                          ("gptq", "--container", "compressed-tensors", "--act-order"), ("awq", "--container", "gptq")]:
        lab.refused(["quantize", lab.demo, "--format", format, "-o", "there", "--dry-run", *more], format, more[1])
    lab.refused(["quantize", lab.demo, "--format", "gptq", "--zero-points", "-o", "there", "--dry-run"], "--container gptq-v2")
    lab.refused(["quantize", lab.demo, "--format", "gguf-q8_0+kv-fp8", "-o", "there"], "gguf-q8_0+kv-fp8")
    lab.refused(["quantize", lab.demo, "--format", "fp8-static", "--activation-scale", "most", "-o", "there"], "most")


def test_a_disk_that_is_full(lab):
    for format, there in (("fp8", "there"), ("gguf-q8_0", "there.gguf")):
        result = lab.run("quantize", lab.demo, "--format", format, "-o", there,
                         preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)))
        assert result.status == 2, (format, result.status, result.stderr)
        assert there in result.messages[-1] and "File too large" in result.messages[-1], result.stderr
        assert not list(lab.directory.iterdir()), list(lab.directory.iterdir())


def interrupted(lab, signal_number, *arguments):
    """Runs a command until it has begun to write, sends the signal, and says how it ended."""
    process = subprocess.Popen([lab.program, *map(str, arguments)], cwd=lab.directory, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    while not any(lab.directory.iterdir()) and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal_number)
    _, stderr = process.communicate(timeout=60)
    assert "trimeter: " not in stderr, stderr
    return process.returncode


def test_a_signal_leaves_nothing_behind(lab):
    for number in (signal.SIGTERM, signal.SIGINT):
        for format, there in (("gptq", "there"), ("gguf-q4_k", "there.gguf")):
            status = interrupted(lab, number, "quantize", lab.demo, "--format", format, "-o", there)
            assert status == -number, (format, number, status)  # a shell says 128 + number
            assert not list(lab.directory.iterdir()), list(lab.directory.iterdir())


def test_a_signal_leaves_what_was_there(lab):
    lab.ok("quantize", lab.demo, "--format", "fp8", "-o", "there")
    before = {p: p.read_bytes() for p in (lab.directory / "there").iterdir()}
    process = subprocess.Popen([lab.program, "quantize", lab.demo, "--format", "gptq", "-o", "there", "--force"],
                               cwd=lab.directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while len(list(lab.directory.iterdir())) == 1:
        time.sleep(0.001)
    process.terminate()
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM, process.returncode
    assert [p.name for p in lab.directory.iterdir()] == ["there"]
    assert {p: p.read_bytes() for p in (lab.directory / "there").iterdir()} == before


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


def test_errors_of_every_linear_are_told_and_ranked(lab):
    text = lab.ok("quantize", lab.demo, "--format", "w8a16", "-o", "a").stdout
    assert "not measured" in text and "--calibration" in text
    (lab.directory / "texts.txt").write_text("The old sailor went down to the sea.\n\nShe had three apples and ate two.\n")
    text = lab.ok("quantize", lab.demo, "--format", "w8a16", "-o", "b", "--calibration", "texts.txt").stdout
    layers = [line.split() for line in text.splitlines() if len(line.split()) == 5 and line.split()[0].isdigit()]
    assert [row[0] for row in layers] == list("012345")
    errors = sorted((float(cell) for row in layers for cell in row[1:]), reverse=True)
    ranked = [float(line.split()[-1]) for line in text.splitlines() if " int8w " in line and "model.layers." in line]
    assert len(ranked) == 10 and ranked == errors[:10] and ranked[-1] > 0


def test_a_gguf_file_is_no_model_to_quantize(lab):
    lab.refused(["quantize", "x.gguf", "--format", "fp8", "-o", "a"], "x.gguf", "checkpoint in floats", "GGUF")


main(globals())
