import re
import shlex
import subprocess
import sys

from harness import main

COMMANDS = ["compare", "quantize", "generate", "eval", "hardware", "formats"]


def test_no_command_is_help(lab):
    text = lab.ok().stdout
    for command in COMMANDS:
        assert re.search(rf"^  {command}\b", text, re.M), text


def test_every_command_explains_itself_with_an_example(lab):
    for command in COMMANDS:
        result = lab.ok(command, "--help")
        assert result.stderr == ""
        assert f"\n  trimeter {command}" in result.stdout, result.stdout


def test_options_of_the_examples_exist(lab):
    for command in COMMANDS:
        text = lab.ok(command, "--help").stdout
        for line in re.findall(rf"^  (trimeter {command}.*)$", text, re.M):
            for word in shlex.split(line):
                assert not word.startswith("-") or re.search(rf"(^|[ ,]){word}\b", text, re.M), (line, word)


def test_version_names_the_commit(lab):
    assert re.fullmatch(r"trimeter \d+\.\d+\.\d+ \((unknown|[0-9a-f]{7,40}(-dirty)?)\)\n", lab.ok("--version").stdout)


def test_usage_errors(lab):
    lab.refused(["conpare"], "conpare")
    lab.refused(["compare"], "MODEL")
    lab.refused(["compare", lab.demo], "--formats")
    lab.refused(["compare", lab.demo, "--formats", "bf16", "--rounds", "many"], "--rounds")
    lab.refused(["generate", lab.demo], "--prompt")
    lab.refused(["formats", "--colour"], "--colour")


def test_formats_are_listed_with_their_kernels(lab):
    text = lab.ok("formats").stdout
    for name in ("bf16", "fp16", "fp32", "fp8", "awq"):
        assert re.search(rf"^  {name} .*(tested|slow path|absent)", text, re.M), text
    absent = lab.ok("formats", env={"TRIMETER_ISA": "scalar"}).stdout.count("absent")
    assert absent == text.count("absent"), "another ISA in use changes nothing of what there is"
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 100


def test_documents_have_the_table_of_formats(lab):
    subprocess.run([sys.executable, lab.source / "tools/update_docs.py", lab.program, "--check"], check=True)


def test_documents_have_the_tables_of_a_cards_records(lab):
    results = lab.source / "bench/results"
    for kind, record, document in [
            ("decode", "2026-11-30-cuda-h200-qwen2.5-7b.json", "docs/cuda.md"),
            ("decode", "2026-11-30-cuda-h200-qwen2.5-0.5b.json", "docs/cuda.md"),
            ("short", "2026-11-30-cuda-h200-qwen2.5-7b.json", "README.md"),
            ("kernels", "2026-11-30-cuda-time.txt", "bench/results/2026-11-30-cuda-kernels.md")]:
        tables = subprocess.run([sys.executable, lab.source / "bench/cuda/tables.py", kind, results / record], check=True,
                                capture_output=True, text=True).stdout
        said = set((lab.source / document).read_text().splitlines())
        assert "| " in tables and not [line for line in tables.splitlines() if line not in said], document


def test_hardware_is_measured_once(lab):
    env = {"XDG_CACHE_HOME": str(lab.directory / "cache")}
    first = lab.ok("hardware", "--json", "profile.json", env=env)
    second = lab.ok("hardware", env=env)
    measured_at = re.search(r"measured (\S+);", first.stdout)[1]
    assert f"measured {measured_at};" in second.stdout, "the kept profile was not used"
    assert "cache" in second.stdout
    assert re.search(r"^GPU       (none: .+|.+ \(compute capability \d+\.\d, .+\))$", first.stdout, re.M), first.stdout
    assert lab.ok("compare", lab.demo, "--formats", "bf16", "--hardware", "profile.json", "--rounds", 5, "--prompts", 1,
                  "--max-tokens", 2, "--no-quality", "--device-memory", "64MiB").stdout


main(globals())
