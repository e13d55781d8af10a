"""Loaded encoders: loaded once, described in the manifest, and checked against it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from threading import Lock, RLock
from typing import Any

import numpy as np

from quiver import registry, trust
from quiver.engine.core.column import Column, Crossing
from quiver.engine.core.given_encoder import is_given, taken
from quiver.engine.core.graph import Composition
from quiver.errors import SpaceMismatch
from quiver.protocols import Bridge, Encoder, QueryEncoder, Scorer, Teller
from quiver.types import KEYS, Floats, Space

#: Batch size of bridges.
_TOGETHER = 8192
#: Given objects, each with its lock.
_OBJECTS: "dict[str, Loaded]" = {}
#: Held while the encoder of a spec is loaded.
_LOADING: dict[str, Lock] = {}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A loaded encoder with its spec.

    Attributes:
        spec: the spec.
        encoder: the encoder.
        lock: held while a search uses it: models and tokenizers are not made for several threads.
    """

    spec: str
    encoder: Encoder
    lock: Any = field(default_factory=RLock, repr=False, compare=False)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The vector columns of the encoder, by key and space."""
        return tuple(Column(key, space, self.spec) for key in self.encoder.keys for space in self.encoder.spaces(key))

    @property
    def bridges(self) -> tuple[Bridge, ...]:
        """The bridges of the encoder; empty if it has none."""
        return tuple(getattr(self.encoder, "bridges", ()))

    @property
    def scorers(self) -> tuple[Scorer, ...]:
        """The scorers of the encoder; empty if it has none."""
        return tuple(getattr(self.encoder, "scorers", ()))

    @property
    def tellers(self) -> dict[str, Teller]:
        """The teller of each key that the encoder describes in words; empty if it has none."""
        return {key: teller for teller in reversed(tuple(getattr(self.encoder, "tellers", ()))) for key in teller.keys}

    def embed_query(self, key: str, batch: Sequence[Any], space: Space) -> Floats:
        """Embed queries: by the encoder's own side for queries if it has one, else as stored items."""
        by = self.encoder.embed_query if isinstance(self.encoder, QueryEncoder) else self.encoder.embed
        return by(key, batch, space)

    def bridge(self, crossing: Crossing) -> Bridge:
        """Return the bridge of a crossing.

        Raises:
            SpaceMismatch: the encoder no longer has this bridge.
        """
        for bridge in self.bridges:
            if (bridge.source, bridge.target) == (crossing.source, crossing.target):
                return bridge
        raise self._changed(f"a bridge from {crossing.source} to {crossing.target}")

    def scorer(self, composition: Composition) -> Scorer:
        """Return the scorer of a composition.

        Raises:
            SpaceMismatch: the encoder no longer has this scorer, or it reads other spaces.
        """
        for scorer, described in zip(self.scorers, self.describe()["scorers"], strict=True):
            if Composition.of(self.spec, described) == composition:
                return scorer
        raise self._changed(f"the scorer {composition}")

    def _changed(self, what: str) -> SpaceMismatch:
        return SpaceMismatch(
            f"the encoder {self.spec!r} has changed: the collection was made when it had {what}; bring that back,"
            " or add the items again"
        )

    def describe(self) -> dict[str, Any]:
        """Return the description stored in the manifest."""
        keys = {key: [asdict(space) for space in self.encoder.spaces(key)] for key in self.encoder.keys}
        bridges = [{"source": asdict(bridge.source), "target": asdict(bridge.target)} for bridge in self.bridges]
        scorers = [_scorer(scorer) for scorer in self.scorers]
        features = [asdict(space) for space in getattr(self.encoder, "features", ())]
        whole: dict[str, Any] = {"keys": keys, "bridges": bridges, "scorers": scorers, "features": features}
        if tellers := self.tellers:
            whole["tells"] = [key for key in KEYS if key in tellers]
        described: dict[str, Any] = json.loads(json.dumps(whole))
        return described


def _scorer(scorer: Scorer) -> dict[str, Any]:
    return {
        "name": scorer.name,
        "holds": scorer.holds,
        "finds": scorer.finds,
        "reads": [asdict(space) for space in scorer.reads],
        "recalls": {name: [asdict(space) for space in spaces] for name, spaces in scorer.recalls.items()},
        "exact": scorer.exact,
    }


@lru_cache(maxsize=8)
def load(spec: str) -> Loaded:
    """Load the encoder a spec names, once per process."""
    return Loaded(spec, registry.load("encoders", spec))


def find(spec: str) -> Loaded:
    """Return the encoder of a spec: one that was given as an object, or one to be loaded.

    Raises:
        MissingEncoder: it was given as an object, and this process has not got it.
    """
    if not is_given(spec):
        return load(spec)
    encoder = taken(spec)
    known = _OBJECTS.get(spec)
    if known is None or known.encoder is not encoder:
        known = _OBJECTS[spec] = Loaded(spec, encoder)
    return known


def load_checked(spec: str, described: Mapping[str, Any], *, place: str) -> Loaded:
    """Load an encoder of a collection, and check that its spaces are unchanged.

    Args:
        spec: spec of the encoder.
        described: description in the manifest.
        place: URI of the collection.

    Raises:
        MissingEncoder: it was given as an object, and this process has not got it.
        Untrusted: the spec runs code or opens files that the user has not trusted on this machine.
        SpaceMismatch: its weights or preprocessing have changed since.
    """
    if not is_given(spec):
        trust.check(spec, place=place)
    with _LOADING.setdefault(spec, Lock()):  # others can be used meanwhile
        loaded = find(spec)
    now = loaded.describe()
    for key, spaces in described["keys"].items():
        if now["keys"].get(key) != spaces:
            then = ", ".join(str(Space(**space)) for space in spaces)
            have = ", ".join(str(Space(**space)) for space in now["keys"].get(key, [])) or "nothing"
            raise SpaceMismatch(
                f"the encoder {spec!r} has changed: the collection holds {key} vectors of {then}, it now gives {have};"
                " bring back the old weights, or add the items again with the new ones"
            )
    return loaded


def cross(bridges: Sequence[Bridge], vectors: Floats) -> Floats:
    """Map vectors (n, dim) over bridges, one after the other, in batches."""
    for bridge in bridges:
        parts = [bridge.map(vectors[at : at + _TOGETHER]) for at in range(0, len(vectors), _TOGETHER)]
        vectors = np.concatenate([np.empty((0, bridge.target.dim), np.float32), *parts])
    return vectors
