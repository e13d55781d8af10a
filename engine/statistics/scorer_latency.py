"""Latency estimates of a scorer by batch size, and of the rest of an answer.

``Collection.measure`` measures them, every search that reranks updates them, and the cache stores them by machine and
device. The estimator is TCP's for round trips (RFC 6298), running mean and mean deviation: a safe figure
is the mean plus two deviations.
"""

import math
import platform
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from quiver.engine.core.graph import Composition
from quiver.engine.statistics.scorer_recall import place
from quiver.engine.storage import json_store

#: Batch sizes of a scorer; the largest one that fits into the remaining time is used.
SIZES = (256, 128, 64, 32, 16, 8, 4, 2, 1)
#: Size of the first batch if nothing is known yet.
_FIRST = 4
#: Weight of the newest figure in the mean and in the deviation, and deviations of safety margin.
_GAIN, _SPREAD, _CLEAR = 1 / 8, 1 / 4, 2
#: Figures are clipped to this many times the mean: a suspended process gives an outlier.
_WILD = 4
#: Seconds between writes, and seconds after which an estimate is stale and the scorer is tried again.
_KEEP, _DOUBT = 5.0, 5.0


@dataclass(slots=True)
class Span:
    """A running mean of milliseconds.

    Attributes:
        mean: running mean; the newest figures weigh most.
        off: mean deviation.
        first: whether this is a single figure from a cold run; the next one replaces it.
    """

    mean: float
    off: float
    first: bool = False

    @property
    def safe(self) -> float:
        """An upper estimate that is seldom exceeded."""
        return self.mean + _CLEAR * self.off

    def note(self, ms: float) -> None:
        """Add a figure."""
        if self.first:
            self.mean, self.off, self.first = ms, ms / 4, False
            return
        ms = min(ms, _WILD * self.mean)
        self.off += _SPREAD * (abs(ms - self.mean) - self.off)
        self.mean += _GAIN * (ms - self.mean)


@dataclass(frozen=True, slots=True)
class _StoredLatency:
    """The stored part of a Pace."""

    device: str
    spans: dict[str, Span]


@dataclass(slots=True)
class Pace:
    """Latency estimates of a scorer on one machine and device; several threads may read and update them.

    Attributes:
        path: file of the estimates.
        device: device of the scorer.
        spans: milliseconds of a batch by its size, as text; ``before`` the first batch and ``after`` the last one.
    """

    path: Path
    device: str = ""
    spans: dict[str, Span] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)
    _kept: float = 0.0
    _noted: float = field(default_factory=monotonic)

    @classmethod
    def read(cls, root: Path, composition: Composition) -> "Pace":
        """Return the stored estimates of a scorer on this machine."""
        path = place(root, composition, f"pace {platform.node()}")
        found = json_store.read(path, _StoredLatency)
        return cls(path) if found is None else cls(path, found.device, found.spans)

    def on(self, device: str) -> "Pace":
        """Drop the estimates if they are from another device."""
        if device != self.device:
            self.device = device
            self.spans = {}
        return self

    @property
    def known(self) -> bool:
        """Whether any batch was measured."""
        return any(str(size) in self.spans for size in SIZES)

    @property
    def pair(self) -> float:
        """Milliseconds per pair at the most efficient batch size."""
        return min(span.mean / int(name) for name, span in self.spans.items() if name.isdecimal())

    @property
    def before(self) -> float:
        """Milliseconds before the first batch; 0 if unknown."""
        return self._ms("before", safe=False)

    @property
    def after(self) -> float:
        """Upper estimate of the milliseconds after the last batch."""
        return self._ms("after", safe=True)

    def note(self, what: str | int, ms: float) -> None:
        """Add the measured milliseconds of a batch of this size, or of the time ``before`` or ``after``.

        The first figure of a process may include loading; the next one replaces it.
        """
        name = str(what)
        span = self.spans.get(name)
        if span is not None and what in SIZES and self.doubted and ms < span.mean:  # all of it was too slow
            ratio = ms / span.mean
            for each in (each for size, each in self.spans.items() if size.isdecimal()):
                each.mean, each.off = each.mean * ratio, each.off * ratio
        self._noted = monotonic() if what in SIZES else self._noted
        if span is None:
            self.spans = {**self.spans, name: Span(ms, ms / 4, first=True)}  # others may be reading the old one
        elif name in self._seen:
            span.note(ms)
        self._seen.add(name)

    def fits(self, ms: float, most: int) -> int:
        """Return the next batch size: the largest of at most ``most`` pairs that ends in time; 0 for none."""
        if not self.known or self.doubted:
            most = most if math.isinf(ms) else min(most, _FIRST)
            return next(size for size in SIZES if size <= most) if ms > 0 else 0
        return next((size for size in SIZES if size <= most and self._batch(size, safe=True) <= ms), 0)

    @property
    def doubted(self) -> bool:
        """Whether the latency estimate is stale: no batch was measured for a long time."""
        return monotonic() - self._noted > _DOUBT

    def pairs(self, ms: float, most: int) -> int:
        """Return the expected number of pairs scored in a time, batch by batch."""
        count = 0
        while count < most:
            size = next((s for s in SIZES if s <= most - count and self._batch(s, safe=False) <= ms), 0)
            if not size:
                break
            count, ms = count + size, ms - self._batch(size, safe=False)
        return count

    def _batch(self, size: int, *, safe: bool) -> float:
        """Milliseconds of a batch; unseen sizes scale from the nearest: in proportion if larger, else half is fixed."""
        known = [int(name) for name in self.spans if name.isdecimal()]
        near = min(known, key=lambda other: (abs(other.bit_length() - size.bit_length()), other))
        ratio = size / near
        return self._ms(str(near), safe=safe) * (ratio if ratio >= 1 else (1 + ratio) / 2)

    def _ms(self, name: str, *, safe: bool) -> float:
        span = self.spans.get(name)
        return 0.0 if span is None else span.safe if safe else span.mean

    def keep(self, *, now: bool = False) -> None:
        """Store the estimates, now or if the last write is long ago."""
        if not now and monotonic() - self._kept < _KEEP:
            return
        self._kept = monotonic()
        json_store.keep(self.path, _StoredLatency(self.device, self.spans))
