"""How the service listens."""

import socket

import pytest

from quiver.engine.server.running import _listening
from quiver.engine.server.settings import Settings


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_answers_are_sent_at_once(host):
    with _listening(Settings(host=host, port=0)) as listening:
        # asyncio turns the delay of small packets off for sockets that name their protocol alone
        assert listening.proto == socket.IPPROTO_TCP
