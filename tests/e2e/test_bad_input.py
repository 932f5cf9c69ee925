"""Bad input ends in one line that names file, tensor or field, wanted and got, in status 2, and leaves nothing behind."""
import json
import os
import re
import resource
import shutil
import subprocess

from harness import main, read_safetensors, write_safetensors

COMPARE = ["--formats", "bf16", "--device-memory", "64MiB"]


def generate(model):
    return ["generate", model, "-p", "Once", "--max-tokens", 1, "--device-memory", "64MiB"]


def test_no_model(lab):
    lab.refused(generate(lab.directory / "nowhere"), "nowhere")
    file = lab.directory / "file"
    file.write_text("")
    lab.refused(generate(file), "file")


def test_config(lab):
    model = lab.model()
    config = model / "config.json"
    original = config.read_text()
    for changes, *words in [
            ({"architectures": ["MambaForCausalLM"]}, "MambaForCausalLM"),
            ({"model_type": "llama"}, "model_type", "qwen2", "llama"),
            ({"torch_dtype": "float3"}, "float3"),
            ({"torch_dtype": "float16", "dtype": "bfloat16"}, "dtype", "float16", "bfloat16"),
            ({"hidden_size": None}, "hidden_size"),
            ({"hidden_size": "wide"}, "hidden_size", "wide"),
            ({"num_hidden_layers": -1}, "num_hidden_layers", "-1"),
            ({"num_attention_heads": 3}, "num_key_value_heads", "num_attention_heads 3", "2"),
            ({"hidden_size": 250}, "hidden_size", "250"),
            ({"num_key_value_heads": 3}, "num_key_value_heads", "3"),
            ({"vocab_size": 5000}, "model.embed_tokens.weight", "[5000, 256]", "[4096, 256]"),
            ({"num_hidden_layers": 7}, "model.layers.6"),
            ({"num_hidden_layers": 5}, "model.layers.5"),
            ({"intermediate_size": 512}, "mlp", "[512, 256]", "[768, 256]"),
    ]:
        config.write_text(original)
        lab.edit_json(config, **changes)
        lab.refused(generate(model), "model", *words)
    config.write_text("{")
    lab.refused(generate(model), config)
    config.unlink()
    lab.refused(generate(model), config)


def test_token_ids(lab):
    model = lab.model()
    for file, field, value, *words in [
            ("config.json", "eos_token_id", 4096, "4096"),
            ("config.json", "bos_token_id", 1 << 30, "4096", 1 << 30),
            ("generation_config.json", "eos_token_id", [4095, 5000], "4096", "5000")]:
        original = (model / file).read_text()
        lab.edit_json(model / file, **{field: value})
        lab.refused(generate(model), model / file, field, *words)
        (model / file).write_text(original)


def without_token(model, token):
    """Takes an added token out of tokenizer.json and tokenizer_config.json."""
    path = model / "tokenizer.json"
    content = json.loads(path.read_text())
    content["added_tokens"] = [added for added in content["added_tokens"] if added["content"] != token]
    path.write_text(json.dumps(content))
    path = model / "tokenizer_config.json"
    content = json.loads(path.read_text())
    for key in [key for key, added in content["added_tokens_decoder"].items() if added["content"] == token]:
        del content["added_tokens_decoder"][key]
    path.write_text(json.dumps(content))


def test_a_tokenizer_without_a_needed_token(lab):
    model = lab.model()
    without_token(model, "<|endoftext|>")
    lab.refused(generate(model), model / "config.json", "bos_token_id", "4093", "tokenizer.json")
    model = lab.model()
    without_token(model, "<|im_end|>")
    lab.refused(generate(model), model / "tokenizer_config.json", "eos_token", "<|im_end|>")
    model = lab.model()
    without_token(model, "<|im_start|>")
    lab.ok(*generate(model))  # no chat, no need
    lab.refused([*generate(model), "--chat"], model / "tokenizer_config.json", "<|im_start|>")


def test_dtype_is_the_stored_one_unless_named(lab):
    model = lab.model()
    plain = lab.ok(*generate(model))
    assert "stored as" not in plain.stderr, plain.stderr
    lab.edit_json(model / "config.json", torch_dtype="float32")
    assert "Weights stored as bfloat16 are taken as float32" in lab.ok(*generate(model)).stderr
    lab.edit_json(model / "config.json", torch_dtype=None)
    unnamed = lab.ok(*generate(model))
    assert "no dtype is named: bfloat16 is taken" in unnamed.stderr, unnamed.stderr
    assert "format=bf16, dtype=bfloat16" in unnamed.stderr, unnamed.stderr


def test_a_tied_model_with_another_lm_head(lab):
    model = lab.model()
    weights = model / "model.safetensors"
    header, data = read_safetensors(weights)
    begin, end = header["model.embed_tokens.weight"]["data_offsets"]
    copy = {**header["model.embed_tokens.weight"], "data_offsets": [len(data), len(data) + end - begin]}
    write_safetensors(weights, {**header, "lm_head.weight": copy}, data + data[begin:end])
    lab.ok(*generate(model))
    write_safetensors(weights, {**header, "lm_head.weight": copy}, data + data[begin:end - 1] + b"\1")
    lab.refused(generate(model), weights, "lm_head.weight", "tie_word_embeddings")


def test_logits_that_are_no_numbers(lab):
    model = lab.model()
    weights = model / "model.safetensors"
    header, data = read_safetensors(weights)
    begin, end = header["model.norm.weight"]["data_offsets"]
    huge = b"\x61\x7f" * ((end - begin) // 2)  # bf16 3e38: finite, and its products are not
    write_safetensors(weights, header, data[:begin] + huge + data[end:])
    for format in ("bf16", "fp16", "fp32", "fp8", "awq"):
        command = [*generate(model), "--format", format]
        lab.refused(command, f"{model} in {format}", "finite logit")
        lab.refused([*command, "--temperature", 1], f"{model} in {format}", "finite logit")
    text = lab.directory / "text.txt"
    text.write_text("Once upon a time")
    lab.refused(["eval", model, "--text", text, "--device-memory", "64MiB"], "finite logits")
    result = lab.run("compare", model, *COMPARE, "--rounds", 5, "--prompts", 1, "--max-tokens", 2, "--json", "r.json")
    assert result.status == 2 and "finite logit" in result.messages[-1], result.stderr
    assert not (lab.directory / "r.json").exists()


def test_weights_beyond_awq(lab):
    model = lab.model()
    weights = model / "model.safetensors"
    header, data = read_safetensors(weights)
    name = "model.layers.2.mlp.down_proj.weight"
    begin, end = header[name]["data_offsets"]
    write_safetensors(weights, header, data[:begin] + b"\x96\x7e" * ((end - begin) // 2) + data[end:])  # 1e38
    lab.refused([*generate(model), "--format", "awq"], weights, name, "65504")


def test_safetensors(lab):
    model = lab.model()
    weights = model / "model.safetensors"
    header, data = read_safetensors(weights)
    norm = "model.norm.weight"

    def damaged(**changes):
        return {**header, norm: {**header[norm], **changes}}

    begin, end = header[norm]["data_offsets"]
    for changed, *words in [
            (damaged(data_offsets=[begin + len(data), end + len(data)]), norm),
            (damaged(data_offsets=[max(0, begin - 2), end - 2]), "tensor"),
            (damaged(data_offsets=[end, begin]), norm),
            (damaged(shape=[257]), norm),
            (damaged(dtype="F3"), norm, "F3"),
            (damaged(shape=[1 << 62, 1 << 62]), norm),
            ({k: v for k, v in header.items() if k != norm}, "model.safetensors"),
    ]:
        write_safetensors(weights, changed, data)
        lab.refused(generate(model), weights, *words)
    raw = (lab.demo / "model.safetensors").read_bytes()
    for content in (raw[:-100], raw + b"more", raw[:100], b"", (1 << 62).to_bytes(8, "little") + raw[8:]):
        weights.write_bytes(content)
        lab.refused(generate(model), weights)
    weights.unlink()
    lab.refused(generate(model), "model.safetensors")


def test_shards(lab):
    model = lab.model()
    header, _ = read_safetensors(model / "model.safetensors")
    (model / "model.safetensors").rename(model / "model-00001-of-00002.safetensors")
    index = model / "model.safetensors.index.json"
    weight_map = {name: "model-00001-of-00002.safetensors" for name in header if name != "__metadata__"}
    index.write_text(json.dumps({"weight_map": weight_map}))
    lab.ok(*generate(model))
    index.write_text(json.dumps({"weight_map": {**weight_map, "model.norm.weight": "model-00002-of-00002.safetensors"}}))
    lab.refused(generate(model), "model-00002-of-00002.safetensors")


def test_weights_that_are_no_numbers(lab):
    model = lab.model()
    weights = model / "model.safetensors"
    header, data = read_safetensors(weights)
    begin, _ = header["model.norm.weight"]["data_offsets"]
    write_safetensors(weights, header, data[:begin] + b"\xff\xff" + data[begin + 2:])  # a bf16 NaN
    lab.refused(generate(model), "model.norm.weight")


def test_tokenizer(lab):
    model = lab.model()
    path = model / "tokenizer.json"
    original = json.loads(path.read_text())
    merge = original["model"]["merges"][0]
    left = merge.split(" ")[0] if isinstance(merge, str) else merge[0]
    vocab = {token: i for token, i in original["model"]["vocab"].items() if token != left}
    for model_part, *words in [({"vocab": vocab}, left), ({"type": "Unigram"}, "Unigram"), ({"merges": 3}, "merges")]:
        path.write_text(json.dumps({**original, "model": {**original["model"], **model_part}}))
        lab.refused(generate(model), path, *words)
    ids = {**original["model"]["vocab"], "!": original["model"]["vocab"]["#"]}
    path.write_text(json.dumps({**original, "model": {**original["model"], "vocab": ids}}))
    assert len(lab.refused(generate(model), path, "'!'", "'#'")) < 300
    for text in ("{", "[" * 100000):
        path.write_text(text)
        lab.refused(generate(model), path)
    path.unlink()
    lab.refused(generate(model), path)


def test_a_pattern_that_runs_away(lab):
    model = lab.model()
    path = model / "tokenizer.json"
    content = json.loads(path.read_text())
    content["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": "(a+)+$"}
    path.write_text(json.dumps(content))
    lab.refused(["generate", model, "-p", "a" * 300 + "b", "--device-memory", "64MiB"], path, "(a+)+$", "limit")


def test_chat_template(lab):
    model = lab.model()
    (model / "chat_template.jinja").write_text("{% for %}")
    lab.refused([*generate(model), "--chat"], model / "chat_template.jinja", "line 1")
    (model / "chat_template.jinja").unlink()
    lab.edit_json(model / "tokenizer_config.json", chat_template="{{ raise_exception('no system') }}")
    lab.refused([*generate(model), "--chat"], model / "tokenizer_config.json", "no system")


def test_chat_without_a_template(lab):
    model = lab.model()
    lab.edit_json(model / "tokenizer_config.json", chat_template=None)
    lab.refused([*generate(model), "--chat"], "chat_template")
    lab.refused([*generate(lab.demo), "--system", "Be brief."], "--chat")


def test_prompt_longer_than_the_model(lab):
    lab.refused(["generate", lab.demo, "-p", "word " * 2000, "--device-memory", "64MiB"], "1024")
    lab.refused(["compare", lab.demo, *COMPARE, "--max-tokens", 1020], "1024")


def test_device_memory_too_small(lab):
    for command in (["compare", lab.demo, "--formats", "bf16"], generate(lab.demo)[:-2]):
        lab.refused([*command, "--device-memory", "8MiB"], "weights", "missing")
    lab.refused([*generate(lab.demo)[:-2], "--device-memory", "plenty"], "--device-memory", "plenty")


def test_impossible_isa(lab):
    lab.refused(generate(lab.demo), "avx9000", env={"TRIMETER_ISA": "avx9000"})


def test_formats_and_options(lab):
    lab.refused(["compare", lab.demo, "--formats", "bf16,fp7"], "fp7", "fp8")
    lab.refused(["compare", lab.demo, "--formats", "bf16,bf16"], "bf16,bf16")
    for formats in ("bf16,", ",bf16", "bf16,,fp8"):
        lab.refused(["compare", lab.demo, "--formats", formats], "--formats", formats)
    for threads in (-1, 1025, "many"):
        lab.refused([*generate(lab.demo), "--threads", threads], "--threads", threads)
    for seed in (-1, 1 << 64, "x", "1.5"):
        lab.refused([*generate(lab.demo), "--seed", seed], "--seed", seed)
    lab.ok(*generate(lab.demo), "--seed", (1 << 64) - 1)
    lab.refused(["compare", lab.demo, *COMPARE, "--objective", "beauty"], "beauty", "throughput")
    for option, value, *words in [("--rounds", 4, "5", "4"), ("--prompts", 0, "1"), ("--prompts", 1000, "48"),
                                  ("--max-tokens", 0, "1"), ("--utilization", 1.5, "1.5"), ("--block-size", 17, "17"),
                                  ("--max-model-len", 4096, "1024", "4096"),
                                  ("--max-model-len", -1, "-1", "1 to", "1024"), ("--eval-data", "nowhere", "nowhere"),
                                  ("--hardware", "nowhere.json", "nowhere.json")]:
        lab.refused(["compare", lab.demo, *COMPARE, option, value], *words)
    for option, value in [("--temperature", -1), ("--top-p", 0), ("--top-p", 1.5), ("--min-p", 2), ("--top-k", -2),
                          ("--repetition-penalty", 0), ("--max-tokens", 0)]:
        lab.refused(["generate", lab.demo, "-p", "Once", "--device-memory", "64MiB", option, value],
                    option[2:].replace("-", "_"), value)


def test_outputs_that_cannot_be_written(lab):
    for option in ("--json", "--markdown"):
        lab.refused(["compare", lab.demo, *COMPARE, option, "no/such/place"], "no/such/place")
        lab.refused(["compare", lab.demo, *COMPARE, option, lab.directory], "directory")
        lab.refused(["compare", lab.demo, *COMPARE, option, "/proc/x.out"], "/proc/x.out")  # root may, the system does not
        foreign = lab.directory / "foreign"
        foreign.write_text("not ours")
        lab.refused(["compare", lab.demo, *COMPARE, option, foreign], "--force")
        assert foreign.read_text() == "not ours"
    lab.refused(["compare", lab.demo, *COMPARE, "--json", "one.out", "--markdown", "./one.out"], "one.out", "two files")


def test_a_full_disk_for_the_record(lab):
    result = lab.run("compare", lab.demo, *COMPARE, "--rounds", 5, "--prompts", 1, "--max-tokens", 2, "--no-quality", "--json",
                     "/dev/full")
    assert result.status == 2, result.stderr
    assert len(result.messages) == 1 and "/dev/full" in result.messages[0], result.stderr
    assert "No space left" in result.messages[0], result.stderr


def test_no_room_for_what_is_printed(lab):
    for arguments in (["--help"], ["generate", "--help"], ["--version"], ["formats"], []):
        with open("/dev/full", "w") as full:
            result = lab.run(*arguments, stdout=full, stderr=subprocess.PIPE, capture_output=False)
        assert result.status == 2 and "No space left" in result.messages[-1], (arguments, result.stderr)


def test_more_threads_than_the_system_gives(lab):
    # The limit does not hold for root: another user, who may read copies.
    os.chmod(lab.directory, 0o755)
    model = lab.model()
    program = shutil.copy(lab.program, lab.directory)
    for path in (program, *lab.directory.rglob("*")):
        os.chmod(path, 0o755)
    user = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    result = lab.run(*generate(model), "--threads", 64, program=program, **user,
                     preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NPROC, (8, 8)))
    assert result.status == 2, result.stderr
    assert re.fullmatch(r"trimeter: threads: wanted 64, the system gave \d+: .*", result.messages[-1]), result.stderr


def test_a_cache_that_cannot_be_kept(lab):
    result = lab.ok("hardware", "--force", env={"XDG_CACHE_HOME": "/etc/passwd"})
    assert "Read bandwidth" in result.stdout
    assert len([line for line in result.warnings if "/etc/passwd" in line]) == 1, result.stderr


def test_a_cache_that_is_broken(lab):
    env = {"XDG_CACHE_HOME": str(lab.directory / "cache")}
    lab.ok("hardware", env=env)
    kept, = (lab.directory / "cache" / "trimeter").iterdir()
    whole = kept.read_text()
    kept.write_text(whole[:100])
    result = lab.ok("hardware", env=env)
    assert len([line for line in result.warnings if str(kept) in line]) == 1, result.stderr
    assert "exception" not in result.stderr, result.stderr
    assert json.loads(kept.read_text()).keys() == json.loads(whole).keys()


def test_passages_longer_than_the_model(lab):
    data = lab.small_data(n_prompts=1, n_passages=3)
    result = lab.ok("compare", lab.demo, *COMPARE, "--rounds", 5, "--prompts", 1, "--max-tokens", 2, "--eval-data", data,
                    "--max-model-len", 80)
    told, = [line for line in result.warnings if "evaluation passages" in line]
    assert "3 of 3" in told and "80 tokens" in told, result.stderr


def test_profile(lab):
    profile = lab.directory / "profile.json"
    profile.write_text("{\"schema\": 1}")
    lab.refused(["compare", lab.demo, *COMPARE, "--hardware", profile], profile, "name")
    # Not into the cache that others share: beside them it is measured as they leave the machine.
    lab.ok("hardware", "--json", profile, "--force", env={"XDG_CACHE_HOME": str(lab.directory / "cache")})
    mine = json.loads(profile.read_text())
    for field, value in ("isa", "sse2"), ("threads", mine["threads"] + 1):
        profile.write_text(json.dumps({**mine, field: value}))
        lab.refused(["compare", lab.demo, *COMPARE, "--hardware", profile], profile, field, str(value), str(mine[field]))
    profile.write_text(json.dumps({**mine, "kernels": []}))
    result = lab.ok("compare", lab.demo, *COMPARE, "--rounds", 5, "--prompts", 1, "--max-tokens", 2, "--no-quality",
                    "--hardware", profile, "--json", "record.json")
    assert "no kernels" in result.stderr and "machine while" not in result.stdout, result.stderr
    assert "speed" not in json.loads((lab.directory / "record.json").read_text())["hardware"]


def test_eval(lab):
    lab.refused(["eval", lab.demo, "--text", "nowhere.txt"], "nowhere.txt")
    text = lab.directory / "text.txt"
    text.write_text("One")
    lab.refused(["eval", lab.demo, "--text", text, "--context", 1, "--device-memory", "64MiB"], "context", "1")
    lab.refused(["eval", lab.demo, "--text", text, "--context", 5000, "--device-memory", "64MiB"], "5000", "1024")
    text.write_text("")
    lab.refused(["eval", lab.demo, "--text", text, "--device-memory", "64MiB"], "tokens")
    text.write_bytes(b"caf\xe9")
    lab.refused(["eval", lab.demo, "--text", text, "--device-memory", "64MiB"], text, "UTF-8")


main(globals())
