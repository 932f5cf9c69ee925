#!/usr/bin/env python3
"""Holds data/eval and data/calibration to what data/README.md says of them.

Usage: check_eval_data.py DATA_DIR        exit status 1 and one line per offence
"""
import collections
import json
import pathlib
import re
import sys

NGRAM = 8
EQUATION = re.compile(r"((?:\d+(?:\.\d+)?\s*[-+*/]\s*)+\d+(?:\.\d+)?)\s*=\s*(\d+(?:\.\d+)?)")
FILES = {  # fields, categories, texts in each (None: any number), words in each
    "eval/prompts.jsonl": ({"id": str, "category": str, "prompt": str, "chat": bool}, 6, 8, (3, 100)),
    "eval/passages.jsonl": ({"id": str, "category": str, "text": str}, 5, 8, (100, 300)),
    "calibration/calibration.jsonl": ({"id": str, "category": str, "text": str}, 5, None, (100, 200)),
}


def words(text):
    return re.findall(r"[\w']+", text.lower())


def check_file(path, fields, n_categories, n_each, word_range):
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    per_category = collections.Counter()
    for number, row in enumerate(rows, 1):
        where = f"{path.name}:{number}"
        if {k: type(v) for k, v in row.items()} != fields:
            yield f"{where}: fields {sorted(row)}, wanted {sorted(fields)} with types {list(fields.values())}"
            continue
        per_category[row["category"]] += 1
        text = row.get("text", row.get("prompt"))
        n_words = len(text.split())
        if not word_range[0] <= n_words <= word_range[1]:
            yield f"{where}: {n_words} words, wanted {word_range[0]} to {word_range[1]}"
        for left, right in EQUATION.findall(text):
            value = eval(left)  # digits and - + * / alone: EQUATION matched it
            if abs(value - float(right)) > 1e-9:
                yield f"{where}: {left} = {right} is false"
    if len(per_category) != n_categories:
        yield f"{path.name}: categories {sorted(per_category)}, wanted {n_categories}"
    if n_each is not None and set(per_category.values()) != {n_each}:
        yield f"{path.name}: {dict(per_category)}, wanted {n_each} in each"


def check_uniqueness(data_dir):
    ids, seen = {}, {}
    for name in FILES:
        for row in map(json.loads, (data_dir / name).read_text(encoding="utf-8").splitlines()):
            here = f"{name} {row['id']}"
            if ids.setdefault((name, row["id"]), row) is not row:
                yield f"{here}: the id is there twice"
            w = words(row.get("text", row.get("prompt")))
            for gram in {tuple(w[i:i + NGRAM]) for i in range(len(w) - NGRAM + 1)}:
                if seen.setdefault(gram, here) != here:
                    yield f"{here}: shares '{' '.join(gram)}' with {seen[gram]}"


def main(data_dir):
    found = [o for name, rule in FILES.items() for o in check_file(data_dir / name, *rule)]
    found += check_uniqueness(data_dir)
    print("\n".join(found) if found else "evaluation and calibration text are as data/README.md says")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1])))
