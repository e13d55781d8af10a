"""How long a scorer takes, by how many pairs go through it together, and how long the rest of an answer takes.

Measured by ``Collection.measure``, refreshed by every search that reranks, and kept in the cache for the machine and
the device at hand. Running means and mean deviations as TCP estimates round trips (RFC 6298): a figure that is safe to
count on is the mean and two deviations.
"""

import math
import platform
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from quiver.engine.core.graph import Composition
from quiver.engine.statistics.scorer_recall import place
from quiver.engine.storage import json_store

#: Pairs that go through a scorer together: the most that fit in what is left of the time.
SIZES = (256, 128, 64, 32, 16, 8, 4, 2, 1)
#: Pairs of the first batch where nothing is known yet.
_FIRST = 4
#: What the newest figure counts in the mean and in the deviation, and deviations that are kept clear of.
_GAIN, _SPREAD, _CLEAR = 1 / 8, 1 / 4, 2
#: A figure counts for at most so many times the mean: a process that was stopped says nothing.
_WILD = 4
#: Seconds between writes, and seconds after which a scorer that never had time is tried all the same.
_KEEP, _DOUBT = 5.0, 5.0


@dataclass(slots=True)
class Span:
    """A running mean of milliseconds.

    Attributes:
        mean: of what was seen, the newest most.
        off: mean deviation from it.
        first: whether it is one figure, of a run that may have loaded something: the next one replaces it.
    """

    mean: float
    off: float
    first: bool = False

    @property
    def safe(self) -> float:
        """What is seldom exceeded."""
        return self.mean + _CLEAR * self.off

    def note(self, ms: float) -> None:
        """Take in another figure."""
        if self.first:
            self.mean, self.off, self.first = ms, ms / 4, False
            return
        ms = min(ms, _WILD * self.mean)
        self.off += _SPREAD * (abs(ms - self.mean) - self.off)
        self.mean += _GAIN * (ms - self.mean)


@dataclass(frozen=True, slots=True)
class _StoredLatency:
    """The part of a Pace that is stored."""

    device: str
    spans: dict[str, Span]


@dataclass(slots=True)
class Pace:
    """What a scorer takes on one machine and device.

    Attributes:
        path: where it is kept.
        device: where the scorer computes.
        spans: milliseconds of a batch by its size, as text; of what comes ``before`` the first and ``after`` the last.
    """

    path: Path
    device: str = ""
    spans: dict[str, Span] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)
    _kept: float = 0.0
    _noted: float = field(default_factory=monotonic)

    @classmethod
    def read(cls, root: Path, composition: Composition) -> "Pace":
        """Return what is known of a scorer on this machine."""
        path = place(root, composition, f"pace {platform.node()}")
        found = json_store.read(path, _StoredLatency)
        return cls(path) if found is None else cls(path, found.device, found.spans)

    def on(self, device: str) -> "Pace":
        """Forget what was measured on another device."""
        if device != self.device:
            self.device = device
            self.spans.clear()
        return self

    @property
    def known(self) -> bool:
        """Whether any batch was measured."""
        return any(str(size) in self.spans for size in SIZES)

    @property
    def pair(self) -> float:
        """Milliseconds of a pair in the batch that makes the most of them."""
        return min(span.mean / int(name) for name, span in self.spans.items() if name.isdecimal())

    @property
    def before(self) -> float:
        """Milliseconds before the first batch; 0 where nothing is known."""
        return self._ms("before", safe=False)

    @property
    def after(self) -> float:
        """Milliseconds that what comes after the last batch seldom exceeds."""
        return self._ms("after", safe=True)

    def note(self, what: str | int, ms: float) -> None:
        """Take in what a batch of so many pairs took, or what came ``before`` or ``after``.

        What a process does for the first time may have loaded something; it counts only until there is more.
        """
        name = str(what)
        span = self.spans.get(name)
        if span is not None and what in SIZES and self.doubted and ms < span.mean:  # all of it was too slow
            ratio = ms / span.mean
            for each in (each for size, each in self.spans.items() if size.isdecimal()):
                each.mean, each.off = each.mean * ratio, each.off * ratio
        self._noted = monotonic() if what in SIZES else self._noted
        if span is None:
            self.spans[name] = Span(ms, ms / 4, first=True)
        elif name in self._seen:
            span.note(ms)
        self._seen.add(name)

    def fits(self, ms: float, most: int) -> int:
        """Return how many pairs to score next: the largest batch of at most ``most`` that ends in time; 0 for none."""
        if not self.known or self.doubted:
            most = most if math.isinf(ms) else min(most, _FIRST)
            return next(size for size in SIZES if size <= most) if ms > 0 else 0
        return next((size for size in SIZES if size <= most and self._batch(size, safe=True) <= ms), 0)

    @property
    def doubted(self) -> bool:
        """Whether nothing was measured for long, be it that no batch fitted or that nothing was asked."""
        return monotonic() - self._noted > _DOUBT

    def pairs(self, ms: float, most: int) -> int:
        """Return how many pairs can be expected to be scored in a time, batch by batch."""
        count = 0
        while count < most:
            size = next((s for s in SIZES if s <= most - count and self._batch(s, safe=False) <= ms), 0)
            if not size:
                break
            count, ms = count + size, ms - self._batch(size, safe=False)
        return count

    def _batch(self, size: int, *, safe: bool) -> float:
        """Milliseconds of a batch; one of a size never seen costs in proportion to the nearest, or half of it fixed."""
        known = [int(name) for name in self.spans if name.isdecimal()]
        near = min(known, key=lambda other: (abs(other.bit_length() - size.bit_length()), other))
        ratio = size / near
        return self._ms(str(near), safe=safe) * (ratio if ratio >= 1 else (1 + ratio) / 2)

    def _ms(self, name: str, *, safe: bool) -> float:
        span = self.spans.get(name)
        return 0.0 if span is None else span.safe if safe else span.mean

    def keep(self, *, now: bool = False) -> None:
        """Write it down, now or if that was not done lately."""
        if not now and monotonic() - self._kept < _KEEP:
            return
        self._kept = monotonic()
        json_store.keep(self.path, _StoredLatency(self.device, self.spans))
