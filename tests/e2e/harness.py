"""Runs the binary as a user would: arguments in; status, stdout, stderr and files out. Standard library only.

A test file has functions test_*(lab) and ends in main(globals()). Usage: test_x.py PROGRAM SOURCE_DIR [NAME ...]
"""
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import traceback

LOG_LEVELS = ("DEBUG ", "INFO ", "WARNING ", "ERROR ")


class Result:
    def __init__(self, process):
        self.status, self.stdout, self.stderr = process.returncode, process.stdout, process.stderr
        self.warnings = [line for line in self.stderr.splitlines() if line.startswith("WARNING ")]
        # What is neither a log line nor progress ("3/9  0:01  loading").
        self.messages = [line for line in self.stderr.splitlines()
                         if line.strip() and not line.startswith(LOG_LEVELS) and not line[0].isdigit()]


class Lab:
    def __init__(self, program, source, directory):
        self.program, self.source, self.directory = pathlib.Path(program).resolve(), pathlib.Path(source).resolve(), directory
        self.demo = self.source / "models" / "demo"

    def run(self, *arguments, env=None, cwd=None, program=None, **more):
        """more: of subprocess.run."""
        more = {"capture_output": True, **more}
        return Result(subprocess.run([str(program or self.program), *map(str, arguments)], cwd=cwd or self.directory,
                                     env={**os.environ, **(env or {})}, text=True, timeout=540, **more))

    def ok(self, *arguments, **more):
        result = self.run(*arguments, **more)
        assert result.status == 0, f"status {result.status}: {result.stderr}"
        return result

    def refused(self, arguments, *words, env=None):
        """Status 2, one line on stderr that holds all words, nothing on stdout, no file left behind."""
        before = sorted(self.directory.rglob("*"))
        result = self.run(*arguments, env=env)
        told = f"{' '.join(map(str, arguments))}\n  status {result.status}, stdout {result.stdout!r}\n  {result.stderr}"
        assert result.status == 2, told
        assert len(result.messages) == 1 and result.messages[0].startswith("trimeter: "), told
        for word in words:
            assert str(word) in result.messages[0], f"wanted {word!r} in: {told}"
        assert result.stdout == "", told
        assert sorted(self.directory.rglob("*")) == before, f"files left behind: {told}"
        return result.messages[0]

    def model(self, name="model"):
        """A copy of the demo model to damage."""
        copy = self.directory / name
        if copy.exists():
            shutil.rmtree(copy)
        shutil.copytree(self.demo, copy)
        return copy

    def edit_json(self, path, **changes):
        """Sets fields; None as a value removes one."""
        content = json.loads(path.read_text())
        for key, value in changes.items():
            if value is None:
                content.pop(key)
            else:
                content[key] = value
        path.write_text(json.dumps(content))

    def small_data(self, n_prompts=6, n_passages=3):
        """The evaluation set, cut short."""
        data = self.directory / "data"
        shutil.copytree(self.source / "data", data, dirs_exist_ok=True)
        for name, n in (("prompts", n_prompts), ("passages", n_passages)):
            path = data / "eval" / f"{name}.jsonl"
            path.write_text("".join(path.read_text().splitlines(keepends=True)[:n]))
        return data


def read_safetensors(path):
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8:8 + length]), raw[8 + length:]


def write_safetensors(path, header, data):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def main(names):
    program, source, *wanted = sys.argv[1:]
    failures = 0
    for name, test in names.items():
        if not name.startswith("test_") or (wanted and name not in wanted):
            continue
        with tempfile.TemporaryDirectory() as directory:
            try:
                test(Lab(program, source, pathlib.Path(directory)))
                print(f"ok      {name}")
            except Exception:
                failures += 1
                print(f"FAILED  {name}\n{traceback.format_exc()}")
    sys.exit(1 if failures else 0)
