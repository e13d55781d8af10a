"""A trained model as an encoder of pictures, with the scorer that ranks them and the bridge its recall may use."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from quiver.encoders import _fingerprint, _frozen, _pool
from quiver.encoders._frozen import Frozen
from quiver.encoders._tower import chunks
from quiver.encoders.artemis import image
from quiver.encoders.artemis.config import ATTENTIVE
from quiver.encoders.artemis.model import Model
from quiver.encoders.artemis.probe import Lift
from quiver.errors import BadMedia, BadSpec, SpaceMismatch
from quiver.protocols import Reader, Scorer
from quiver.types import Floats, Metric, Space

#: Pictures that go through a backbone together; features, of which all do, are cheap.
AT_ONCE = {"cpu": 8, "cuda": 64}


@dataclass(frozen=True, slots=True, eq=False)
class Eye:
    """The image tower on its device.

    Attributes:
        model: in eval mode.
        read: decodes a picture.
        features: the frozen encoders whose vectors the tower takes; None where it takes pixels.
    """

    model: Model
    read: Reader
    features: Frozen | None

    def store(self, batch: Sequence[Any]) -> Floats:
        """Return the stored vectors of n outputs of ``read``: (n, D) float32."""
        return self._through(self.model.encode_image, batch)

    def refer(self, batch: Sequence[Any]) -> Floats:
        """Return the composer's inputs of n pictures: (n, D) float32."""
        return self._through(self.model.encode_reference, batch)

    @torch.inference_mode()
    def _through(self, tower: Any, batch: Sequence[Any]) -> Floats:
        device = self.model.typical.device
        if self.features is not None:
            return tower(torch.from_numpy(self.features.embed(batch)).to(device)).float().cpu().numpy()
        rows = [tower(torch.from_numpy(np.stack(part)).to(device)) for part in chunks(batch, AT_ONCE[device.type])]
        return torch.cat(rows).float().cpu().numpy()


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """An encoder of the key ``image`` into one space.

    Attributes:
        space: of what is stored; cosine where vectors have length 1, else dot.
        eye: the image tower.
        scorers: the one that ranks by the model's composer.
        bridges: from the space to the lifted one, where the score is more than one product.
    """

    space: Space
    eye: Eye
    scorers: tuple[Scorer, ...] = ()
    bridges: tuple[Lift, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Pictures alone."""
        return ("image",)

    def spaces(self, key: str) -> tuple[Space, ...]:
        """Return its one space, or () for a foreign key."""
        return (self.space,) if key == "image" else ()

    def reader(self, key: str) -> Reader:
        """Return the decoder of pictures.

        Raises:
            BadSpec: the key is foreign.
        """
        self._check(key)
        return self.eye.read

    def embed(self, key: str, batch: Sequence[Any], space: Space) -> Floats:
        """Embed n outputs of the reader as (n, dim) float32.

        Raises:
            BadSpec: the key is foreign.
            SpaceMismatch: the space is foreign.
            BadMedia: a vector is not finite.
        """
        self._check(key)
        if space != self.space:
            raise SpaceMismatch(f"{self.space} does not embed into {space}")
        if not len(batch):
            return np.empty((0, space.dim), np.float32)
        rows = self.eye.store(batch)
        if space.metric == "cosine":
            return _pool.unit(rows)
        if not np.isfinite(rows).all():
            raise BadMedia(f"{space} gave a vector that is not finite")
        return rows

    def _check(self, key: str) -> None:
        if key != "image":
            raise BadSpec(f"{self.space} embeds image, not {key}")


def build(model: Model) -> Pictures:
    """Return a model's encoder, without its scorer.

    Raises:
        BadSpec: the encoders that made its features cannot be loaded, or are others.
    """
    config = model.config
    features: Frozen | None = None
    read: Reader = image.reader(config)
    recipe = "pixels"
    if config.wide("image"):
        features = frozen(model, "image")
        read, recipe = features.reader, features.revision
    metric: Metric = "cosine" if config.unit else "dot"
    revision = _fingerprint.of_state(
        model.image.state_dict(), "artemis 1", config.image, f"{config.size} {config.project} {metric}", recipe
    )
    space = Space(f"artemis/{config.composer}", config.dim, metric, revision)
    normed = config.composer in ATTENTIVE and config.attention != "uniform"
    bridges = (Lift(space, lifted_space(space)),) if normed else ()
    return Pictures(space, Eye(model, read, features), bridges=bridges)


def frozen(model: Model, key: str) -> Frozen:
    """Load the encoders whose features a model was trained on.

    Raises:
        BadSpec: the model does not say which, or their features have another width.
        MissingWeights: a file of theirs is missing.
    """
    spec, width = getattr(model.config, f"{key}_spec"), model.config.wide(key)
    if not spec:
        raise BadSpec(f"the model was trained on {key} features of an unknown encoder: set Config.{key}_spec")
    found = _frozen.open(_frozen.placed(spec, model.folder), key)
    if found.width != width:
        raise BadSpec(f"{spec!r} gives {found.width} {key} features, and the model learned from {width}")
    return found


def lifted_space(space: Space) -> Space:
    """Return the space of [t; sqrt(D) t^2]."""
    return Space(f"{space.name}/lifted", 2 * space.dim, "dot", _fingerprint.of_parts(space.revision, "lift 1"))
