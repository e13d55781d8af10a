"""Encoders as the engine holds them: loaded once, described in the manifest, checked against it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from quiver import registry
from quiver.engine.column import Column
from quiver.errors import SpaceMismatch
from quiver.protocols import Bridge, Encoder
from quiver.types import Space


@dataclass(frozen=True, slots=True)
class Loaded:
    """An encoder and the spec that names it."""

    spec: str
    encoder: Encoder

    @property
    def columns(self) -> tuple[Column, ...]:
        """The vector columns it fills, by key and space."""
        return tuple(Column(key, space, self.spec) for key in self.encoder.keys for space in self.encoder.spaces(key))

    @property
    def bridges(self) -> tuple[Bridge, ...]:
        """Its arrows between spaces, where it has any."""
        return tuple(getattr(self.encoder, "bridges", ()))

    def describe(self) -> dict[str, Any]:
        """Return what the manifest keeps of it."""
        keys = {key: [asdict(space) for space in self.encoder.spaces(key)] for key in self.encoder.keys}
        bridges = [{"source": asdict(bridge.source), "target": asdict(bridge.target)} for bridge in self.bridges]
        described: dict[str, Any] = json.loads(json.dumps({"keys": keys, "bridges": bridges}))
        return described


@lru_cache(maxsize=8)
def load(spec: str) -> Loaded:
    """Load the encoder a spec names, once per process."""
    return Loaded(spec, registry.load("encoders", spec))


def held_to(spec: str, described: Mapping[str, Any]) -> Loaded:
    """Load an encoder of a collection, and see that it is still the one that filled it.

    Raises:
        SpaceMismatch: its weights or preprocessing have changed since.
    """
    loaded = load(spec)
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
