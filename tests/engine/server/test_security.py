"""One test for each rule of security: who may ask, from where, for what, and how much."""

import io
import json
import os
import pickle
import socket
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quiver.engine.core import messages
from quiver.engine.core.child_process import ChildProcess
from quiver.engine.core.messages import BadMessage
from quiver.engine.server.keys import Keys
from quiver.engine.server.settings import Limits, Settings
from quiver.engine.server.uploads import _checked, _error
from quiver.errors import BadMedia, BadSpec, MissingExtra

from .conftest import running

SEARCH = "/v1/collections/shop/search"


def test_without_keys_it_listens_to_this_machine_only(tmp_path):
    assert Settings().local and Settings(host="::1").local
    for host in ("0.0.0.0", "::", "192.168.1.2", "example.org"):
        with pytest.raises(BadSpec, match="quiver key add"):
            Settings(host=host).check(keys=False)
        Settings(host=host).check(keys=True)
    done = subprocess.run(
        [sys.executable, "-m", "quiver", "serve", str(tmp_path / "none"), "--host", "0.0.0.0"],
        capture_output=True, text=True, check=False, env={**os.environ, "QUIVER_CONFIG": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 2 and "there is no key: make one first" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "localhost.evil.example", "", "shop"])
def test_a_request_addressed_to_another_host_is_refused(client, host):
    for path in ("/v1/collections", "/", "/livez", "/openapi.json"):
        answer = client.get(path, headers={"Host": host})
        assert answer.status_code == 421 and answer.json()["type"] == "urn:quiver:unknown-host"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9", "[::1]:8000", "LOCALHOST:80", "10.0.0.7"])
def test_a_request_addressed_to_this_machine_or_to_an_address_is_answered(client, host):
    assert client.get("/livez", headers={"Host": host}).status_code == 200


def test_pages_of_other_sites_may_not_ask(served):
    for headers in (
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ):  # fmt: skip
        answer = served.client.post(SEARCH, json={"text": "red"}, headers=headers)
        assert answer.status_code == 403 and answer.json()["type"] == "urn:quiver:cross-site"
        assert "access-control-allow-origin" not in answer.headers
    own = {"Origin": served.address, "Sec-Fetch-Site": "same-origin"}
    assert served.client.post(SEARCH, json={"text": "red"}, headers=own).status_code == 200
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert served.client.get("/", headers=link).status_code == 200
    preflight = served.client.options(SEARCH, headers={"Origin": "https://evil.example"})
    assert preflight.status_code == 403


def test_every_answer_has_the_headers_that_bind_a_browser(client):
    for answer in (
        client.get("/"),
        client.get("/nope"),
        client.post(SEARCH, json={"text": "red"}),
        client.get("/docs"),
    ):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("name", ["image", "audio", "video", "before", "after"])
@pytest.mark.parametrize("value", ["/etc/passwd", "http://127.0.0.1:9/x", "file:///etc/passwd", "photos/red0.png"])
def test_no_path_or_address_is_taken_from_a_client(client, name, value):
    answer = client.post(SEARCH, json={name: value})
    assert answer.status_code == 422 and "opens no path and no address" in answer.json()["detail"]
    part = client.post(SEARCH, files={"query": (None, "{}"), name: (None, value)})
    assert part.status_code == 422 and "send it as a file" in part.json()["detail"]


@pytest.mark.parametrize(
    "words",
    [
        {"encoder": "evil.module"}, {"model": "timm checkpoint=/x"}, {"index": "faiss factory=IVF1,Flat"},
        {"index": "../x"}, {"scorer": "artemis checkpoint=/etc/passwd"}, {"scorer": "../../x"}, {"tell": "x"},
        {"uri": "/"}, {"trust": True}, {"device": "cuda"}, {"recall": "a b=c"}, {"path": "/"}, {"factory": "Flat"},
    ],
)  # fmt: skip
def test_no_encoder_checkpoint_or_factory_is_taken_from_a_client(client, words):
    assert client.post(SEARCH, json={"text": "red", **words}).status_code == 422


@pytest.mark.parametrize("name", ["..", "../shop", "/tmp", "%2e%2e", "shop%00", "file:", ""])
def test_a_collection_is_a_name_and_never_a_path(client, name):
    assert client.get(f"/v1/collections/{name}/versions").status_code in (400, 404, 405, 307)
    for quoted in ("%2Ftmp", "..%2F..%2Fetc", "shop%2Fitems.lance"):
        assert client.get(f"/v1/collections/{quoted}").status_code == 404


@pytest.mark.parametrize("path", ["../app.py", "..%2Fapp.py", "%2e%2e/app.py", "/etc/passwd", "%2Fetc%2Fpasswd", "x"])
def test_the_page_has_no_files_but_its_own(client, path):
    assert client.get(f"/page/{path}").status_code == 404


@pytest.mark.parametrize(
    ("query", "limit"),
    [
        ({"text": "x", "k": 1001}, 1000),
        ({"text": "x", "k": 1000, "offset": 9001}, 10_000),
        ({"text": "x", "group_by": "colour", "group_size": 500, "k": 100}, 10_000),
        ({"text": "x", "depth": 10_001}, 10_000),
        ({"text": ["x"] * 17}, 16),
        ({"like": [str(n) for n in range(9)], "unlike": [f"u{n}" for n in range(9)]}, 16),
        ({"vector": [[0.1] * 4] * 17}, 16),
        ({"text": "x", "exclude": [str(n) for n in range(10_001)]}, 10_000),
        ({"text": "x" * 10_001}, 10_000),
        ({"text": "x", "budget_ms": 30_001}, 30_000),
    ],
)
def test_a_query_has_limits(client, query, limit):
    answer = client.post(SEARCH, json=query)
    assert answer.status_code == 422 and answer.json()["limit"] == limit


def test_a_condition_is_read_whole_and_has_limits(client):
    for where in ("price < 3; DROP TABLE x", "price < 3 -- x", "repeat(name, 100000) LIKE '%b'", "1=1) OR (1=1"):
        assert client.post(SEARCH, json={"text": "x", "where": where}).status_code == 422
    assert client.post(SEARCH, json={"text": "x", "where": "(" * 60 + "price < 3" + ")" * 60}).status_code == 422
    many = {"text": "x", "where": "price IN :n", "params": {"n": list(range(10_001))}}
    assert client.post(SEARCH, json=many).status_code == 422


def packed(value):
    return b"".join(messages.packed(value))


@pytest.fixture(scope="module")
def small(shop, no_keys):
    """The shop with small limits."""
    limits = Limits(body=20_000, pixels=10_000, decode=3.0, memory=400 << 20, seconds=1.0)
    with running([shop.uri], Settings(port=0, limits=limits), keys=no_keys) as found:
        yield found


def test_a_body_has_a_limit_with_and_without_its_length(small):
    large = {"text": "x", "exclude": ["y" * 30_000]}
    assert small.client.post(SEARCH, json=large).status_code == 413

    def parts():
        yield from (json.dumps(large).encode()[n : n + 1000] for n in range(0, 30_000, 1000))

    chunked = small.client.post(SEARCH, content=parts(), headers={"content-type": "application/json"})
    assert chunked.status_code == 413 and chunked.json()["limit"] == 20_000
    form = small.client.post(SEARCH, files={"image": ("a.png", b"x" * 30_000)})
    assert form.status_code == 413


def test_a_body_has_to_arrive_in_time(small):
    host, port = small.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as line:
        line.sendall(b"POST " + SEARCH.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        line.sendall(b'Content-Length: 500\r\n\r\n{"text"')
        started = time.monotonic()
        assert b" 408 " in line.recv(100) and time.monotonic() - started < 15


def bomb(width, height):
    """A PNG that says it has many pixels, and has few bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 9_999)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "data",
    [bomb(60_000, 60_000), bomb(9_000, 9_000), b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"\0" * 99, b"RIFF1234WAVEfmt ",
     b"<svg onload='x'/>", b"%PDF-1.4", b"\xff\xd8\xff" + b"\0" * 50],
)  # fmt: skip
def test_a_file_that_is_no_picture_or_a_bomb_is_one_line_and_harms_nothing(small, data):
    answer = small.client.post(SEARCH, files={"image": ("evil.png", data)})
    assert answer.status_code == 422 and answer.json()["detail"].startswith("evil.png")
    assert small.client.post(SEARCH, json={"text": "red"}).json()["hits"]


def test_uploads_are_decoded_in_a_process_with_limits(small):
    held = io.BytesIO()
    Image.new("RGB", (50, 50), "red").save(held, "PNG")
    assert small.client.post(SEARCH, files={"image": ("a.png", held.getvalue())}).status_code == 200
    worker = small.service.decoders._idle.get_nowait()
    try:
        lines = Path(f"/proc/{worker._child.pid}/limits").read_text().splitlines()
        limits = {line[:25].strip(): line[26:46].strip() for line in lines}
        assert limits["Max file size"] == "0" and limits["Max address space"] != "unlimited"
        assert limits["Max cpu time"] != "unlimited" and int(limits["Max open files"]) < 200
        environment = Path(f"/proc/{worker._child.pid}/environ").read_text()
        assert "QUIVER" not in environment and "TOKEN" not in environment
    finally:
        worker.finish(small.service.decoders._idle)


def test_a_decoder_that_dies_or_hangs_costs_one_upload(small):
    held = io.BytesIO()
    Image.new("RGB", (50, 50), "red").save(held, "PNG")
    worker = small.service.decoders._idle.get_nowait()
    worker._child.kill()
    worker._child._process.wait()
    small.service.decoders._idle.put(worker)
    died = small.client.post(SEARCH, files={"image": ("a.png", held.getvalue())})
    assert died.status_code == 422 and "ended the process" in died.json()["detail"]
    assert small.client.post(SEARCH, files={"image": ("a.png", held.getvalue())}).status_code == 200


@pytest.mark.parametrize("crafted", [pickle.dumps(print) + bytes(4096), packed(np.zeros(4))], ids=["pickle", "float64"])
def test_a_process_that_an_upload_has_taken_over_costs_that_upload_and_runs_nothing(small, lab, crafted):
    (lab / "seized.py").write_text(
        "import os\nfrom quiver.engine.core.child_process import streams\n"
        "from quiver.engine.core.messages import receive\n"
        "def serve():\n    requests, answers = streams()\n    receive(requests, most=1 << 20)\n"
        f"    answers.write(bytes.fromhex('{crafted.hex()}'))\n    answers.flush()\n"
    )
    worker = small.service.decoders._idle.get_nowait()
    worker._child.close()
    worker._child = ChildProcess("lab.seized", most=1 << 20)
    small.service.decoders._idle.put(worker)
    held = io.BytesIO()
    Image.new("RGB", (50, 50), "red").save(held, "PNG")
    found = small.client.post(SEARCH, files={"image": ("a.png", held.getvalue())})
    assert (
        found.status_code == 422
        and found.json()["detail"] == "a.png: decoding it ended the process that decodes uploads"
    )
    assert small.client.post(SEARCH, files={"image": ("a.png", held.getvalue())}).status_code == 200


def test_an_answer_of_another_form_is_refused():
    pixels, samples = np.zeros((2, 2, 3), np.uint8), np.zeros(9, np.float32)
    assert _checked(pixels, "image", "a") is pixels and _checked((samples, 8000), "audio", "a")[1] == 8000
    wrong = [
        pixels.astype(np.float32),
        pixels[None, None],
        (samples, 8000),
        {"size": 1},
        ("BadMedia",),
        None,
        "a",
        [pixels],
    ]
    for answer in (*wrong, ("BadMedia", 7), (b"BadMedia", "x")):
        with pytest.raises(BadMessage):
            _checked(answer, "image", "a")
    for answer in (samples, pixels, (samples, 8000.0), (samples, 0), (samples[None], 8000), (pixels, 8000), (samples,)):
        with pytest.raises(BadMessage):
            _checked(answer, "audio", "a")


def test_a_process_can_name_no_error_but_two():
    assert isinstance(_error("MissingExtra", "av is not installed", "a.mp4"), MissingExtra)
    for kind in ("BadMedia", "SystemExit", "Problem", "os.system", ""):
        error = _error(kind, "x" * 9999, "a.mp4")
        assert type(error) is BadMedia and str(error) == f"a.mp4: {'x' * 500}"


def test_an_upload_is_scaled_to_the_pixels_that_are_allowed():
    from quiver.engine.server.upload_worker import picture

    held = io.BytesIO()
    Image.new("RGB", (400, 300), "red").save(held, "PNG")
    assert picture(held.getvalue(), 10_000).shape[0] * picture(held.getvalue(), 10_000).shape[1] <= 10_000
    assert picture(held.getvalue(), 200_000).shape == (300, 400, 3)


@pytest.mark.parametrize("part", ["../../etc/passwd", "text", "encoder", "x" * 500])
def test_only_media_are_parts_of_a_form(client, part):
    answer = client.post(SEARCH, files={part: ("a.png", b"x"), "query": (None, "{}")})
    assert answer.status_code == 422


def test_messages_and_answers_tell_no_folder(served):
    for path in ("/v1/collections/shop", "/v1/collections/shop/items/photos%2Fred0.png", "/v1/collections/none"):
        assert str(served.folder) not in served.client.get(path).text
    found = served.client.post(SEARCH, json={"like": "photos/red0.png", "explain": "analyze", "trace": True}).text
    assert str(served.folder) not in found


def test_odd_requests_end_in_one_line(client):
    for method, path in (
        ("PUT", SEARCH),
        ("GET", SEARCH),
        ("TRACE", "/v1/collections"),
        ("GET", "/v1/collections/%00"),
    ):
        answer = client.request(method, path)
        assert answer.status_code in (400, 404, 405) and answer.json()["detail"]
    odd = client.post(SEARCH, content=b"{}", headers={"content-type": "multipart/form-data"})
    assert odd.status_code == 400 and odd.headers["content-type"] == "application/problem+json"


def test_keys_are_stored_as_hashes_and_compared_in_constant_time(tmp_path, monkeypatch):
    import hmac

    keys = Keys(tmp_path)
    made = keys.add("ann", scopes=["search"])
    _, id, secret = made.split("_", 2)
    held = (tmp_path / f"{id}.json").read_text()
    assert secret not in held and len(secret) == 43
    assert (tmp_path / f"{id}.json").stat().st_mode & 0o077 == 0
    compared = []
    real = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda one, other: compared.append((one, other)) or real(one, other))
    assert keys.find(made).name == "ann"
    for wrong in (made[:-1] + ("A" if made[-1] != "A" else "B"), f"qv_{'0' * 8}_{secret}", "", "x", made + "\n"):
        assert keys.find(wrong) is None
    assert len(compared) == 6 and {len(part) for pair in compared for part in pair} == {64}


def test_a_port_that_is_in_use_is_one_line(shop, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "quiver", "serve", str(shop.uri), "--port", port],
            capture_output=True, text=True, check=False, env={**os.environ, "QUIVER_CONFIG": str(tmp_path)},
        )  # fmt: skip
    assert done.returncode == 2 and done.stderr.startswith(f"quiver: cannot listen at 127.0.0.1:{port}")
    assert done.stderr.count("\n") == 1
