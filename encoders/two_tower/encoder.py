"""A trained model as an encoder: media of each key with a tower, into one space."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from quiver.encoders import _fingerprint
from quiver.encoders._frozen import Frozen
from quiver.encoders._tower import Tower, Towers, chunks
from quiver.encoders.two_tower import base
from quiver.encoders.two_tower.base import Ground
from quiver.encoders.two_tower.config import Base, Config
from quiver.encoders.two_tower.model import TwoTower
from quiver.types import Floats, Space

#: Things that go through a head together; the encoders below have bounds of their own.
AT_ONCE = 256


def build(checkpoint: Path, *, device: str, place: torch.device, moved: Mapping[str, str]) -> Towers:
    """Read a trained model; see ``quiver.encoders.two_tower.load``.

    Args:
        checkpoint: a folder.
        device: as it was named, for the encoders below.
        place: the device that is.
        moved: specs by tower, instead of the saved ones.
    """
    model = TwoTower.open(checkpoint).to(place).requires_grad_(False)
    config = model.config
    grounds = {
        key: base.reopen(
            _moved(each, moved.get(key)),
            key,
            folder=None if key in moved else checkpoint,  # specs of the caller are not the folder's
            buckets=config.buckets,
            device=device,
        )
        for key, each in config.towers.items()
    }
    return assemble(model, grounds)


def assemble(model: TwoTower, grounds: Mapping[str, Ground]) -> Towers:
    """Create an encoder from a model in eval mode and the inputs of its towers.

    A model with an image tower embeds videos through it, too, where everything below puts them into the space of
    pictures, and the other way round.
    """
    everything = dict(grounds)
    for own, other in (("image", "video"), ("video", "image")):
        if own in grounds and other not in grounds and (also := _also(grounds[own], other)):
            everything[other] = also
    towers = {key: Tower(ground.reader, _features(model, key, ground)) for key, ground in everything.items()}
    space = Space(f"two_tower/{model.config.name}", model.config.dim, "cosine", _revision(model))
    return Towers(space, towers)


def _moved(each: Base, spec: str | None) -> Base:
    return each if spec is None else Base(**{**asdict(each), "spec": base.parse(spec)[0]})


def _also(ground: Ground, key: str) -> Ground | None:
    parts = ground.frozen.parts
    if not all(space in encoder.spaces(key)[:1] for encoder, space in parts):
        return None
    return Ground(Frozen(key, parts), ground.grams)


def _features(model: TwoTower, key: str, ground: Ground) -> Callable[[Sequence[Any]], Floats]:
    place = model.scale.device

    @torch.inference_mode()
    def features(batch: Sequence[Any]) -> Floats:
        rows = []
        for part in chunks(batch, AT_ONCE):
            given = {name: tensor.to(place) for name, tensor in ground.given(part).items()}
            rows.append(model.embed(key, given).cpu())
        return torch.cat(rows).numpy()

    return features


def _revision(model: TwoTower) -> str:
    config: Config = model.config
    grounds = [f"{key} {each.revision} {each.words}" for key, each in sorted(config.towers.items())]
    state = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("towers.")}
    return _fingerprint.of_state(state, "two_tower 1", *grounds)
