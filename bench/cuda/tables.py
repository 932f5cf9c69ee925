#!/usr/bin/env python3
"""Markdown of what record.sh measured.

Usage: tables.py decode RECORD.json        the table of docs/cuda.md of a `trimeter bench` record
       tables.py short RECORD.json         the README's, of the same record
       tables.py predicted RECORD.json...  how far each run of records, and each order, is from its prediction
       tables.py kernels TIME.txt          the tables of bench/results/*-cuda-kernels.md, and what was asked for
"""
import json
import pathlib
import re
import sys

FEW = ["bf16 cuBLASLt", "bf16", "e4m3 cuBLASLt", "e4m3 row", "e4m3 block", "int8", "int8 wide", "int4 g128", "int4 g32"]
MANY = ["bf16 cuBLASLt", "e4m3 row", "e4m3 block", "int8", "int8 wide", "int4 g128", "int4 g32"]
NAMES = {"e4m3 row": "e4m3", "e4m3 block": "block", "int8 wide": "w8a16"}


def row(*cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def head(*names, left):
    return [row(*(NAMES.get(name, name) for name in names)), "|" + "---|" * left + "--:|" * (len(names) - left)]


def runs_of(path):
    return json.loads(pathlib.Path(path).read_text())["runs"]


def decode(path):
    runs = runs_of(path)
    speed = "decode_tokens_per_s"
    bf16 = {run["batch"]: run for run in runs if run["format"] == "bf16"}
    lines = head("format", "batch", "decode tok/s", "predicted", "x bf16", "predicted", "of the floor", "KV blocks",
                 "from prediction", left=1)
    for run in sorted(runs, key=lambda run: list(dict.fromkeys(r["format"] for r in runs)).index(run["format"])):
        base, measured, predicted = bf16[run["batch"]], run["measured"], run["predicted"]
        median, mad = measured[speed]["median"], measured[speed]["mad"]
        lines.append(row(run["format"], run["batch"], f"{median:,.0f} ± {mad:.{1 if mad < 100 else 0}f}",
                         f"{predicted[speed]:,.0f}", f"{median / base['measured'][speed]['median']:.2f}",
                         f"{predicted[speed] / base['predicted'][speed]:.2f}",
                         f"{median / run['floor'][speed]:.0%}", f"{measured['kv_blocks']:,}",
                         f"{measured['kv_blocks'] / predicted['kv_blocks'] - 1:+.2%}"))
    return lines


def short(path):
    runs = runs_of(path)
    batches = (1, 16, 64)
    lines = head("format", *batches, "KV blocks", left=1)
    for name in dict.fromkeys(run["format"] for run in runs):
        of = {run["batch"]: run for run in runs if run["format"] == name}
        speeds = ((of[batch]["measured"]["decode_tokens_per_s"]["median"],
                   of[batch]["predicted"]["decode_tokens_per_s"]) for batch in batches)
        lines.append(row(name, *(f"{measured:,.0f} ({predicted:,.0f})" for measured, predicted in speeds),
                         f"{of[1]['measured']['kv_blocks']:,}"))
    return lines


def predicted(path):
    runs = runs_of(path)
    lines = []
    for meter in ("decode_tokens_per_s", "generation_tokens_per_s", "ttft_s"):
        ratios = [run["measured"][meter]["median"] / run["predicted"][meter] for run in runs]
        within = sum(abs(ratio - 1) <= 0.12 for ratio in ratios)
        lines.append(f"{path}: {meter}: measured / predicted, within 12%: {within} of {len(runs)}")
        lines += [f"  {run['format']:12} {run.get('batch', ''):>4} {ratio:6.3f}" for run, ratio in zip(runs, ratios)]
    for batch in sorted({run.get("batch") or 0 for run in runs}):
        of_batch = [run for run in runs if (run.get("batch") or 0) == batch]
        for what, speed in (("measured", lambda run: run["measured"]["decode_tokens_per_s"]["median"]),
                            ("predicted", lambda run: run["predicted"]["decode_tokens_per_s"])):
            order = " > ".join(run["format"] for run in sorted(of_batch, key=speed, reverse=True))
            lines.append(f"  batch {batch}: {what:9} {order}")
    return lines


def cells(line, pattern):
    return {found[1]: found for found in (re.match(pattern, part) for part in line.split("|")[1:])}


def kernels(path):
    few, many, decoding, prefill = [], [], [], []
    share, speed, layers = {}, {}, []
    for line in pathlib.Path(path).read_text().splitlines():
        if found := re.match(r"(8B|70B) (\S+) +(\d+) x +(\d+) m=(\d+)", line):
            of = cells(line, r"\s*(.*?) ([\d.]+) us (\d+)% x([\d.]+)")
            layer, tokens = f"{found[1]} {found[2]}", int(found[5])
            layers += [layer] if layer not in layers else []
            few.append(row(layer, f"{found[3]} x {found[4]}", tokens,
                           *(f"{of[name][2]} {of[name][3]}% ({of[name][4]})" for name in FEW)))
            share |= {(layer, tokens, name): int(of[name][3]) for name in FEW}
            speed |= {(layer, tokens, name): float(of[name][4]) for name in FEW}
        elif found := re.match(r"\d+ x +\d+ m=(\d+)", line):
            of = cells(line, r"\s*(.*?) ([\d.]+) us (\d+) TFLOP/s x([\d.]+)")
            many.append(row(found[1], *(f"{of[name][2]} {of[name][3]} ({of[name][4]})" for name in MANY)))
        elif found := re.match(r"(decode|prefill) (\S+) +(?:batch|rows) (\d+) +context (\d+)", line):
            pattern = r"\s*kv (\S+) ([\d.]+) us (\d+)(?: GB/s (\d+%)| TFLOP/s)"
            of = [" ".join(filter(None, cell.groups()[1:])) for cell in cells(line, pattern).values()]
            (decoding if found[1] == "decode" else prefill).append(row(*found.groups()[1:], *of))
    caches = ("bf16", "e4m3", "int8")
    asked = []
    for name in ("bf16", "e4m3 row", "e4m3 block", "int8"):
        below = [f"{layer} m={m} {share[layer, m, name]}%" for layer in layers for m in (1, 8, 16)
                 if share[layer, m, name] < 85]
        asked.append(f"- {NAMES.get(name, name)}, 1 to 16 tokens, >= 85% of read bandwidth: "
                     f"{3 * len(layers) - len(below)} of {3 * len(layers)} shapes and batches; below: {', '.join(below)}.")
    for name in ("int4 g128", "int4 g32"):
        below = [f"{layer} m={m} {speed[layer, m, name]:.2f}" for layer in layers for m in (1, 8, 16)
                 if speed[layer, m, name] < 3]
        slower = [f"{layer} m={m} {speed[layer, m, name]:.2f}" for layer in layers for m in (1, 8, 16, 32, 64)
                  if speed[layer, m, name] < 1]
        asked += [f"- {name}, 1 to 16 tokens, >= 3 times bf16: {3 * len(layers) - len(below)} of {3 * len(layers)}; "
                  f"below: {', '.join(below)}.",
                  f"- {name}, up to 64 tokens, never slower than bf16: slower at {', '.join(slower)}."]
    return [*head("layer", "n x k", "tokens", *FEW, left=2), *few, "",
            *head("tokens", *MANY, left=0), *many, "",
            *head("model", "sequences", "context", *caches, left=1), *decoding, "",
            *head("model", "rows", "context", *caches, left=1), *prefill, "", *asked]


def main():
    kinds = {"decode": decode, "short": short, "predicted": predicted, "kernels": kernels}
    if len(sys.argv) < 3 or sys.argv[1] not in kinds:
        sys.exit(__doc__)
    for path in sys.argv[2:]:
        print("\n".join(kinds[sys.argv[1]](path)))


main()
