"""One encoder on several devices: each embeds its part of a batch, in a thread of its own."""

import inspect
import shlex
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np

from quiver import registry
from quiver.engine.core.encoder import Loaded
from quiver.engine.core.given_encoder import is_given
from quiver.errors import BadSpec, SpaceMismatch
from quiver.protocols import Encoder, Reader
from quiver.types import Floats, Space


def devices_of(given: object) -> tuple[str, ...]:
    """Check the devices that a user named: a list, or names joined by commas.

    >>> devices_of("cuda:0,cuda:1")
    ('cuda:0', 'cuda:1')

    Raises:
        BadSpec: it is neither, or it is empty.
    """
    parts: Sequence[object] = (
        given.split(",") if isinstance(given, str) else given if isinstance(given, list | tuple) else ()
    )
    names = tuple(part.strip() for part in parts if isinstance(part, str))
    if not names or len(names) != len(parts) or not all(names):
        raise BadSpec(f"devices must be names such as cuda:0,cuda:1, not {given!r}")
    return names


def spread(encoders: Sequence[Loaded], devices: Sequence[str]) -> list[Loaded]:
    """Load each encoder once for each device.

    Args:
        encoders: the encoders, loaded where their specs say.
        devices: such as ``("cuda:0", "cuda:1")``; empty for no change.

    Returns:
        Encoders of the same specs and spaces; those that have no device to choose are returned as they are.

    Raises:
        BadSpec: none of them has an option ``device``, one names a device itself, or this machine lacks one.
        SpaceMismatch: the copies give different spaces.
    """
    if not devices:
        return list(encoders)
    made = [_spread(loaded, devices) for loaded in encoders]
    if all(one is other for one, other in zip(made, encoders, strict=True)):
        raise BadSpec(f"devices has no effect: {' and '.join(loaded.spec for loaded in encoders)} has no option device")
    return made


def _spread(loaded: Loaded, devices: Sequence[str]) -> Loaded:
    if is_given(loaded.spec):
        return loaded
    name, options = registry.split(loaded.spec)
    if "device" not in inspect.signature(registry.module("encoders", name).load).parameters:
        return loaded
    if options.get("device", "auto") != "auto":
        raise BadSpec(f"{loaded.spec!r} names its device: leave it out, or leave out devices")
    specs = [shlex.join([name, *(f"{k}={v}" for k, v in {**options, "device": device}.items())]) for device in devices]
    copies = [registry.load("encoders", spec) for spec in specs]
    for copy, device in zip(copies, devices, strict=True):
        if any(copy.spaces(key) != loaded.encoder.spaces(key) for key in loaded.encoder.keys):
            raise SpaceMismatch(f"{loaded.spec!r} gives other spaces on {device}")
    return Loaded(loaded.spec, Replicas(tuple(copies)))


class Replicas:
    """An encoder that splits each batch among copies of itself; whatever else is asked, the first copy answers.

    Args:
        copies: at least one, of equal spaces.
    """

    def __init__(self, copies: Sequence[Encoder]) -> None:
        self._copies = tuple(copies)
        self._threads = ThreadPoolExecutor(len(self._copies), thread_name_prefix="quiver-device")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._copies[0], name)

    @property
    def together(self) -> int:
        """Number of copies: a batch should have as many times the items of one."""
        return len(self._copies)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that it embeds."""
        return self._copies[0].keys

    def spaces(self, key: str) -> tuple[Space, ...]:
        """Return the spaces of a key."""
        return self._copies[0].spaces(key)

    def reader(self, key: str) -> Reader:
        """Return the decoder of a key."""
        return self._copies[0].reader(key)

    def embed(self, key: str, batch: Sequence[Any], space: Space) -> Floats:
        """Embed a batch, a part of it by each copy; shapes and errors are those of ``Encoder.embed``."""
        if len(batch) < 2:
            return self._copies[0].embed(key, batch, space)
        edges = np.linspace(0, len(batch), len(self._copies) + 1).astype(int).tolist()
        parts = [batch[start:stop] for start, stop in pairwise(edges)]
        work = [
            self._threads.submit(copy.embed, key, part, space)
            for copy, part in zip(self._copies, parts, strict=True)
            if len(part)
        ]
        return np.concatenate([each.result() for each in work])
