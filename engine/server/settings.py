"""Settings of the service: its limits, and who may reach it."""

import ipaddress
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from quiver.errors import BadSpec

#: Names of this machine that only it can reach.
LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for.

    Attributes:
        body: bytes of a request.
        k: hits of an answer.
        reach: most hits that are searched: offset + k, and k times the size of a group.
        batch: queries of one request.
        references: texts, files and examples of one query.
        ids: ids of ``exclude``, ``candidates`` and the like.
        text: letters of one text.
        pixels: pixels of an uploaded picture; a larger one is scaled down while it is decoded.
        audio: seconds that are read of an uploaded sound.
        video: seconds that are read of an uploaded video.
        seconds: longest time to answer a search, and to receive the rest of a request.
        decode: longest time to decode an upload, in seconds.
        memory: bytes that decoding may take.
        together: most queries that are answered as one batch.
        waiting: queries that may wait; more are refused with the time after which to try again.
        decoders: processes that decode uploads.
        columns: values that facets list.
        compared: items among which near-duplicates are sought.
    """

    body: int = 64 << 20
    k: int = 1_000
    reach: int = 10_000
    batch: int = 256
    references: int = 16
    ids: int = 10_000
    text: int = 10_000
    pixels: int = 4_000_000
    audio: float = 600.0
    video: float = 60.0
    seconds: float = 30.0
    decode: float = 10.0
    memory: int = 1 << 30
    together: int = 64
    waiting: int = 256
    decoders: int = 1
    columns: int = 1_000
    compared: int = 20_000


@dataclass(frozen=True, slots=True)
class Settings:
    """How the service runs.

    Attributes:
        host: the address it listens at.
        port: the port; 0 takes a free one.
        names: further names of this machine that a request may be addressed to, such as ``search.example.org``.
        limits: what one request may ask for.
        slow_ms: milliseconds from which a search is logged as slow.
        shadow: one answer in so many is compared with an exact search in idle time; 0 compares none.
        warm: load collections at once, rather than when somebody searches them first.
        refresh: seconds between two looks for changes that other processes made: new versions, indexes, figures.
        metrics_port: a port at which metrics and health are answered without a key; 0 takes a free one, None none.
        metrics_host: the address of that port.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    names: Sequence[str] = ()
    limits: Limits = field(default_factory=Limits)
    slow_ms: float = 1_000.0
    shadow: int = 1_000
    warm: bool = False
    refresh: float = 2.0
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return is_local(self.host)

    def check(self, *, keys: bool) -> None:
        """Refuse to listen to others while there are no keys.

        Raises:
            BadSpec: it would, or ``refresh`` is no positive number.
        """
        if not 0 < self.refresh < math.inf:
            raise BadSpec(f"--refresh takes a positive number of seconds, not {self.refresh:g}")
        if not self.local and not keys:
            raise BadSpec(
                f"--host {self.host} lets others reach the collections, and there is no key: make one first by"
                " `quiver key add NAME`, or leave --host out to serve this machine only"
            )

    def knows(self, host: str) -> bool:
        """Whether a request may be addressed to a host: a known name, or an address (which nobody can redirect).

        >>> Settings().knows("localhost:8000"), Settings().knows("[::1]:8000"), Settings().knows("evil.example:8000")
        (True, True, False)
        """
        name = host.rsplit(":", 1)[0] if host.rpartition(":")[2].isdigit() else host
        name = name.removeprefix("[").removesuffix("]").lower()
        return name in (*LOCAL, self.host.lower(), *map(str.lower, self.names)) or _is_address(name)


def is_local(host: str) -> bool:
    """Whether an address is of this machine only.

    >>> is_local("127.0.0.1"), is_local("::1"), is_local("0.0.0.0"), is_local("localhost")
    (True, True, False, True)
    """
    return host in LOCAL or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
