import re

from harness import main

DEVICE = ["--device-memory", "64MiB"]
QUESTION = "A farmer has 12 cows and buys 5 more. How many cows does he have?"


def test_chat_answers_in_words(lab):
    for format in ("bf16", "fp8", "awq"):
        result = lab.ok("generate", lab.demo, "--chat", "-p", QUESTION, "--format", format, *DEVICE)
        words = re.findall(r"[A-Za-z]+", result.stdout)
        assert len(words) >= 5 and {"cows", "farmer"} & set(words), result.stdout
        assert "<|im_end|>" not in result.stdout
        assert any(re.search(r"\d+ prompt tokens.* \d+ generated.*tok/s", line) for line in result.stderr.splitlines())


def test_greedy_is_the_default_and_repeats(lab):
    first, second = (lab.ok("generate", lab.demo, "-p", "The old sailor", "--max-tokens", 20, *DEVICE).stdout for _ in "ab")
    assert first == second and len(first) > 20


def test_seeded_sampling_repeats_and_differs_from_another_seed(lab):
    def sampled(seed):
        return lab.ok("generate", lab.demo, "-p", "The old sailor", "--max-tokens", 20, "--temperature", 0.9, "--seed", seed,
                      *DEVICE).stdout
    assert sampled(7) == sampled(7) != sampled(8)


def test_stop_and_max_tokens(lab):
    whole = lab.ok("generate", lab.demo, "-p", "The old sailor", "--max-tokens", 40, *DEVICE).stdout
    stop = whole.split()[3]
    cut = lab.ok("generate", lab.demo, "-p", "The old sailor", "--max-tokens", 40, "--stop", stop, *DEVICE).stdout
    assert cut == whole[:whole.index(stop)] + "\n"
    one = lab.ok("generate", lab.demo, "-p", "The old sailor", "--max-tokens", 1, "--ignore-eos", *DEVICE)
    assert re.search(r"\b1 generated", one.stderr), one.stderr


def test_logprobs_are_shown(lab):
    result = lab.ok("generate", lab.demo, "-p", "The old sailor", "--max-tokens", 3, "--logprobs", 2, *DEVICE)
    rows = [line for line in result.stderr.splitlines() if re.search(r"( -?\d+\.\d{4}.*){3}$", line)]
    assert len(rows) == 3, result.stderr


main(globals())
