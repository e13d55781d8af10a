"""The README is true: every snippet in it runs, in order, in one folder."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.M | re.S)
TABLE = re.compile(r"^```csv (\S+)\n(.*?)^```", re.M | re.S)


def timeless(text):
    """Leave out what the machine decides: the milliseconds that are expected."""
    return re.sub(r"\d+\.\d+ ms", "ms", text)


def test_every_snippet_runs(tmp_path, photos, prices, monkeypatch):
    monkeypatch.setenv("QUIVER_CACHE", str(tmp_path / "cache"))
    os.rename(prices, tmp_path / "photos.csv")
    for name, table in TABLE.findall(README.read_text()):
        (tmp_path / name).write_text(table)
    outputs = {}
    for language, code in BLOCK.findall(README.read_text()):
        commands = [[sys.executable, "-c", code]] if language == "python" else map(shlex.split, code.splitlines())
        for command in commands:
            words = [sys.executable, "-m", "quiver", *command[1:]] if command[0] == "quiver" else command
            done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
            assert done.returncode == 0, (command, done.stderr)
            outputs[" ".join(command[1:])] = done.stdout
    assert (tmp_path / "page.html").stat().st_size > 10_000
    explained = next(out for command, out in outputs.items() if command.endswith("--explain"))
    assert timeless(explained.strip()) in timeless(README.read_text())
    measured = json.loads((tmp_path / "mine.json").read_text())
    assert measured["dataset"]["questions"] == 3 and measured["systems"][0]["name"] == "products"
    assert measured["systems"][0]["figures"]["nDCG@10"]["value"] > 0.9
    assert len(outputs) == 23
