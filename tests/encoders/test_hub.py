import json
import logging
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import transformers

from quiver.encoders import _hub
from quiver.errors import BadSpec, MissingWeights

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HELD = {
    "config.json": b"{}",
    "tokenizer.json": b'{"a": 1}',
    "model.safetensors": b"weights",
    "pytorch_model.bin": b"the same weights",
    "onnx/model.onnx": b"once more",
    "onnx/config.json": b"{}",
    "2_Dense/pytorch_model.bin": b"other weights",
    "README.md": b"words",
}


class Hub(BaseHTTPRequestHandler):
    """As much of the Hugging Face Hub as a download asks for."""

    asked: list[str]

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.partition("?")[0]
        self.asked.append(path)
        if path.startswith("/owner/name/resolve/"):
            self.answer(HELD.get(path.split("/", 5)[5]))
        elif path.startswith("/api/models/owner/name/tree/"):
            entries = [{"type": "file", "path": n, "oid": n, "size": len(data)} for n, data in HELD.items()]
            self.answer(json.dumps(entries).encode())
        elif path.startswith("/api/models/owner/name"):
            siblings = [{"rfilename": name} for name in HELD]
            self.answer(json.dumps({"id": "owner/name", "sha": COMMIT, "siblings": siblings}).encode())
        else:
            self.answer(None)

    def answer(self, data):
        self.send_response(404 if data is None else 200)
        if data is None:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hash(data)}"')
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        if self.command == "GET" and data:
            self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def hub(cache, monkeypatch):
    """Serve HELD on this machine; give the list of paths asked for."""
    Hub.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # as a shell may have it
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Hub.asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def unreachable(cache, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_model_is_downloaded_once_with_one_copy_of_its_weights(hub):
    wanted = ["2_Dense/pytorch_model.bin", "config.json", "model.safetensors", "tokenizer.json"]
    assert _hub.load("owner/name", names) == wanted
    asked = len(hub)
    assert _hub.load("owner/name", names) == wanted
    assert len(hub) == asked, "the second time nothing is asked of the Hub"


def test_settings_come_without_weights(hub):
    assert _hub.load("owner/name", names, weights=False) == ["config.json", "tokenizer.json"]


def test_an_unfinished_download_is_finished(hub):
    def build(folder):
        if not (folder / "model.safetensors").is_file():
            raise FileNotFoundError("no weights")
        return (folder / "model.safetensors").read_bytes()

    _hub.load("owner/name", names, weights=False)
    assert _hub.load("owner/name", build) == b"weights"


def test_one_file_is_the_best_there_is(hub):
    assert _hub.file("owner/name", ["absent", "config.json", "tokenizer.json"], instead="").read_bytes() == b"{}"
    with pytest.raises(MissingWeights, match="owner/name has none of absent: give checkpoint=FILE"):
        _hub.file("owner/name", ["absent"], instead="give checkpoint=FILE")


def test_a_name_the_hub_does_not_know_is_a_bad_spec(hub):
    with pytest.raises(BadSpec, match="the Hugging Face Hub has no model 'owner/nobody', or it is private"):
        _hub.load("owner/nobody", names)


def test_a_name_that_cannot_be_one_is_a_bad_spec(unreachable):
    with pytest.raises(BadSpec, match="neither a folder nor the name of a model"):
        _hub.load("two words", names)


def test_a_folder_wins_over_the_hub(tmp_path, monkeypatch, unreachable):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner/name").mkdir(parents=True)
    (tmp_path / "owner/name/config.json").write_text("{}")
    assert _hub.load("owner/name", names) == ["config.json"]


def test_what_is_on_disk_needs_no_network(hub, monkeypatch):
    _hub.load("owner/name", names)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert "model.safetensors" in _hub.load("owner/name", names)
    assert _hub.file("owner/name", ["model.safetensors"], instead="").read_bytes() == b"weights"


def test_quiet_leaves_logging_as_it_was():
    transformers.logging.get_logger()  # sets its level on first use
    logger, root = logging.getLogger("transformers"), logging.getLogger()
    before = (logger.level, list(root.handlers))
    with pytest.raises(ZeroDivisionError), _hub.quiet():
        logging.info("this would set up logging for the whole program")
        _ = 1 / 0
    assert (logger.level, list(root.handlers)) == before
