#!/usr/bin/env python3
"""Runs the commands of README.md and docs/: every line `build/trimeter ...` of a fenced ```sh block.

Usage: docs_commands.py SOURCE_DIR BUILD_DIR

Each document's commands run in order in an empty directory that has the project's build/, models/, data/ and docs/, so
that a document may write a file and use it. A `make TARGET` line must name a target that the Makefile has; it is not run.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

source, build = (pathlib.Path(p).resolve() for p in sys.argv[1:3])


def commands(document):
    """The command lines of a document's ```sh blocks, continuation lines joined, comments cut."""
    for block in re.findall(r"^```sh\n(.*?)^```", document.read_text(), re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            line = re.sub(r"\s+#.*$", "", line).strip()
            if line and not line.startswith("#"):
                yield line


def run_document(document, make_targets):
    failures, n_run = [], 0
    with tempfile.TemporaryDirectory() as where:
        for name, target in [("build", build), *((n, source / n) for n in ("models", "data", "docs"))]:
            os.symlink(target, pathlib.Path(where, name))
        for command in commands(document):
            words = command.split()
            if words[0] == "make":
                if any(w not in make_targets for w in words[1:] if "=" not in w):
                    failures.append(f"{document.name}: {command}: the Makefile has no such target")
            elif "build/trimeter" in words[0]:
                n_run += 1
                done = subprocess.run(command, shell=True, cwd=where, capture_output=True, text=True, timeout=300)
                print(f"{document.name}: {command}: exit {done.returncode}")
                if done.returncode != 0:
                    failures.append(f"{document.name}: {command}: exit {done.returncode}: {done.stderr[-300:]}")
    return failures, n_run


def main():
    targets = set(re.findall(r"^([a-z-]+(?: [a-z-]+)*):", (source / "Makefile").read_text(), re.M))
    targets = {word for line in targets for word in line.split()}
    failures, n_run = [], 0
    for document in [source / "README.md", *sorted((source / "docs").rglob("*.md"))]:
        failed, ran = run_document(document, targets)
        failures += failed
        n_run += ran
    print("\n".join(failures))
    print(f"{n_run} commands run, {len(failures)} failed")
    return 1 if failures or n_run == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
