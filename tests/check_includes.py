#!/usr/bin/env python3
"""Fails on an include that goes up the levels of CONTRIBUTING.md, or across to a folder of the same level.

Usage: check_includes.py SOURCE_DIR        exit status 1 and one line per offence
"""
import pathlib
import re
import sys

LEVELS = {
    "base": 0,
    "record": 1, "tensor": 1, "api": 2,
    "io": 2, "text": 3, "kernels": 2,
    "schemes": 3,
    "spec": 4,
    "algorithms": 5, "containers": 5,
    "model": 6, "cost": 6,
    "engine": 7, "meters": 7,
    "probe": 8, "report": 8,
    "lab": 9,
    "cli": 10,
}
# What a folder may not know although it lies lower.
FORBIDDEN = {
    "report": "everything but base and record: a report is rendered from the record alone",
    "meters": "the engine behind api/",
}
ALLOWED_ONLY = {
    "report": {"base", "record"},
    "meters": {"base", "record", "tensor", "api"},
}


def offences(source_dir):
    for path in sorted(source_dir.rglob("*")):
        if path.suffix not in {".h", ".cc", ".inl", ".cu", ".cuh"}:
            continue
        folder = path.relative_to(source_dir).parts[0]
        is_test = path.stem.endswith("_test")
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = re.match(r'\s*#\s*include\s*["<]([^">/]+)/', line)
            where = f"{path.relative_to(source_dir)}:{number}"
            if match and match[1] in {".", ".."}:
                yield f"{where}: an include is written from src/"
            if not match or match[1] not in LEVELS:
                continue
            target = match[1]
            if folder not in LEVELS:
                yield f"{where}: folder '{folder}' has no level"
            elif target != folder and LEVELS[target] >= LEVELS[folder]:
                yield f"{where}: {folder}/ (L{LEVELS[folder]}) includes {target}/ (L{LEVELS[target]})"
            elif target != folder and not is_test and target not in ALLOWED_ONLY.get(folder, LEVELS):
                yield f"{where}: {folder}/ may not know {FORBIDDEN[folder]}"


if __name__ == "__main__":
    found = list(offences(pathlib.Path(sys.argv[1])))
    print("\n".join(found) if found else "includes go down the levels only")
    sys.exit(1 if found else 0)
