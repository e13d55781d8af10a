"""docs/serve.md is true: its commands run, in order, against a service that the first one starts and SIGTERM ends."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from .conftest import make_shop

PAGE = (Path(__file__).parents[3] / "docs" / "serve.md").read_text()
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.M | re.S)


def test_every_snippet_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("QUIVER_CONFIG", str(tmp_path / "config"))
    make_shop(tmp_path)
    (_, start), *blocks = BLOCK.findall(PAGE)
    command = [sys.executable, "-m", *shlex.split(start.replace("--port 8000", "--port 0"))]
    serving = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = re.match(r"serving at (\S+)", serving.stdout.readline())[1]
        outputs = [run(code, language, address, tmp_path) for language, code in blocks]
        refused = httpx.get(f"{address}/v1/collections")
    finally:
        serving.send_signal(signal.SIGTERM)
        _, errors = serving.communicate(timeout=120)
    assert serving.returncode in (0, -signal.SIGTERM) and "Traceback" not in errors
    words, pictures, printed, keys = outputs
    if words is not None:
        assert {hit["meta"]["colour"] for hit in json.loads(words)["hits"]} == {"red"}
        assert json.loads(pictures)["hits"][0]["id"] == "photos/red0.png"
    assert "photos/red0.png 0\n" in printed
    assert "qv_" in keys and "colour = 'red'" in keys
    assert refused.status_code == 401


def run(code, language, address, folder):
    """Run a snippet against the service; None if its program is not installed."""
    code = code.replace("http://localhost:8000", address)
    lines = [[sys.executable, "-c", code]] if language == "python" else map(shlex.split, code.splitlines())
    said = ""
    for words in lines:
        command = [sys.executable, "-m", *words] if words[0] == "quiver" else words
        if shutil.which(command[0]) is None:
            return None
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=dict(os.environ))
        assert done.returncode == 0, (command, done.stderr)
        said += done.stdout
    return said
