"""How the service listens."""

import re
import signal
import socket
import subprocess
import sys

import httpx
import pytest

from quiver.engine.server.keys import Keys
from quiver.engine.server.running import _listening
from quiver.engine.server.settings import Settings
from quiver.errors import BadSpec


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_answers_are_sent_at_once(host):
    with _listening(host, 0, "--host") as listening:
        # asyncio turns the delay of small packets off for sockets that name their protocol alone
        assert listening.proto == socket.IPPROTO_TCP


@pytest.mark.parametrize("refresh", [0, -1, float("nan"), float("inf")])
def test_the_time_between_two_looks_is_positive(refresh):
    with pytest.raises(BadSpec, match="--refresh takes a positive number"):
        Settings(refresh=refresh).check(keys=False)


def test_metrics_have_an_address_of_their_own_without_a_key(shop, tmp_path, monkeypatch):
    monkeypatch.setenv("QUIVER_CONFIG", str(tmp_path))
    key = Keys().add("ann", scopes=["search"])
    options = ["--port", "0", "--metrics-port", "0"]
    command = [sys.executable, "-m", "quiver", "serve", str(shop.uri), *options]
    serving = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = re.match(r"serving at (\S+)", serving.stdout.readline())[1]
        metrics = re.match(r"metrics at (\S+)/metrics", serving.stdout.readline())[1]
        assert metrics != address
        searched = httpx.post(
            f"{address}/v1/collections/shop/search", json={"text": "thing"}, headers={"api-key": key}, timeout=60
        )
        told = httpx.get(f"{metrics}/metrics")
        others = [httpx.get(f"{metrics}{path}") for path in ("/livez", "/readyz", "/v1/collections", "/", "/mcp")]
        foreign = httpx.get(f"{metrics}/metrics", headers={"Host": "evil.example"})
        posted = httpx.post(f"{metrics}/metrics")
        public = httpx.get(f"{address}/metrics")
    finally:
        serving.send_signal(signal.SIGTERM)
        _, errors = serving.communicate(timeout=120)
    assert serving.returncode in (0, -signal.SIGTERM) and "Traceback" not in errors
    assert searched.status_code == 200 and 'quiver_items{collection="shop"} 24.0' in told.text
    assert told.headers["content-type"].startswith("text/plain; version=")
    assert [each.status_code for each in others] == [200, 200, 404, 404, 404]
    assert (foreign.status_code, posted.status_code, public.status_code) == (421, 405, 401)
    assert "content-security-policy" in told.headers


def test_a_metrics_port_that_is_taken_is_one_line(shop):
    with _listening("127.0.0.1", 0, "--host") as taken:
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "quiver", "serve", str(shop.uri), "--port", "0", "--metrics-port", port]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode and "choose another --metrics-host or --metrics-port" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_one_port_for_the_service_and_its_metrics_is_refused_before_it_starts():
    """Two sockets can be bound to a port; that only one may listen was a traceback, after everything was loaded."""
    first = _listening("127.0.0.1", 0, "--host or --port")
    with first, pytest.raises(BadSpec, match="choose another --metrics-host or --metrics-port"):
        _listening("127.0.0.1", first.getsockname()[1], "--metrics-host or --metrics-port")
