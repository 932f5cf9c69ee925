#!/usr/bin/env python3
"""Writes docs/formats.md, and its table of kernels into README.md, from `trimeter formats`.

Usage: update_docs.py TRIMETER [--check]      with --check nothing is written: exit 1 names the documents that are stale
"""
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main():
    with tempfile.TemporaryDirectory() as where:
        path = pathlib.Path(where, "formats.md")
        subprocess.run([sys.argv[1], "formats", "--markdown", path], check=True)
        formats = path.read_text()
    table = re.search(r"^\| format \| scalar .*?(?=^$)", formats, re.M | re.S)[0]
    readme = (ROOT / "README.md").read_text()
    embedded = re.sub(r"^\| format \| scalar .*?(?=^$)", lambda _: table, readme, count=1, flags=re.M | re.S)
    stale = []
    for name, text in [("README.md", embedded), ("docs/formats.md", formats)]:
        document = ROOT / name
        if table in text and document.is_file() and document.read_text() == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            document.write_text(text)
    if "--check" in sys.argv and stale:
        sys.exit(f"{' and '.join(stale)}: not what `trimeter formats` says: run `make docs`")


main()
