#!/usr/bin/env python3
"""Fails if an object compiled for one ISA defines a weak symbol outside trimeter::<isa>.

The linker keeps one copy of a weak symbol (an inline function, a template of the standard library). If the copy it keeps
was compiled with AVX-512, the program dies on a CPU without it, in code that has nothing to do with kernels.

Usage: check_symbols.py ARCHIVE...        exit status 1 and one line per offence
"""
import re
import subprocess
import sys

ISAS = ("scalar", "avx2", "avx512", "avx512_bf16")
# Read by the unwinder, the same bytes whatever the ISA.
HARMLESS = ("DW.ref.__gxx_personality_v0",)


def offences(archive):
    listing = subprocess.run(["nm", "-C", "--defined-only", archive], check=True, capture_output=True, text=True).stdout
    member, n_isa_objects, found = None, 0, []
    for line in listing.splitlines():
        if line.endswith(":"):
            member = line[:-1]
            n_isa_objects += "_isa.cc" in member
            continue
        match = re.match(r"[0-9a-f]+ ([WVu]) (.*)", line)
        if not match or "_isa.cc" not in member or match[2] in HARMLESS:
            continue
        if not any(re.search(rf"\btrimeter::{isa}::", match[2]) for isa in ISAS):
            found.append(f"{archive}({member}): weak symbol '{match[2]}'")
    if n_isa_objects < len(ISAS):
        found.append(f"{archive}: {n_isa_objects} objects named *_isa.cc, at least {len(ISAS)} wanted")
    return found


def main():
    found = [line for archive in sys.argv[1:] for line in offences(archive)]
    print("\n".join(found) if found else f"{len(sys.argv) - 1} archives: no weak symbols outside trimeter::<isa>")
    return 1 if found or len(sys.argv) < 2 else 0


if __name__ == "__main__":
    sys.exit(main())
