"""Bad input ends in one line that names file, tensor or field, wanted and got, in status 2, and leaves nothing behind."""
import json

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
            ({"torch_dtype": "float3"}, "float3"),
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
    path.write_text("{")
    lab.refused(generate(model), path)
    path.unlink()
    lab.refused(generate(model), path)


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
    lab.refused(["compare", lab.demo, *COMPARE, "--objective", "beauty"], "beauty", "throughput")
    for option, value, *words in [("--rounds", 4, "5", "4"), ("--prompts", 0, "1"), ("--prompts", 1000, "48"),
                                  ("--max-tokens", 0, "1"), ("--utilization", 1.5, "1.5"), ("--block-size", 17, "17"),
                                  ("--max-model-len", 4096, "1024", "4096"), ("--eval-data", "nowhere", "nowhere"),
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
        foreign = lab.directory / "foreign"
        foreign.write_text("not ours")
        lab.refused(["compare", lab.demo, *COMPARE, option, foreign], "--force")
        assert foreign.read_text() == "not ours"


def test_a_full_disk_for_the_record(lab):
    result = lab.run("compare", lab.demo, *COMPARE, "--rounds", 5, "--prompts", 1, "--max-tokens", 2, "--no-quality", "--json",
                     "/dev/full")
    assert result.status == 2, result.stderr
    assert len(result.messages) == 1 and "/dev/full" in result.messages[0], result.stderr
    assert "No space left" in result.messages[0], result.stderr


def test_profile(lab):
    profile = lab.directory / "profile.json"
    profile.write_text("{\"schema\": 1}")
    lab.refused(["compare", lab.demo, *COMPARE, "--hardware", profile], profile, "name")


def test_eval(lab):
    lab.refused(["eval", lab.demo, "--text", "nowhere.txt"], "nowhere.txt")
    text = lab.directory / "text.txt"
    text.write_text("One")
    lab.refused(["eval", lab.demo, "--text", text, "--context", 1, "--device-memory", "64MiB"], "context", "1")
    lab.refused(["eval", lab.demo, "--text", text, "--context", 5000, "--device-memory", "64MiB"], "5000", "1024")
    text.write_text("")
    lab.refused(["eval", lab.demo, "--text", text, "--device-memory", "64MiB"], "tokens")
    text.write_bytes(b"caf\xe9")
    lab.refused(["eval", lab.demo, "--text", text, "--device-memory", "64MiB"], "UTF-8")


main(globals())
