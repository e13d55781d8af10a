"""A trained MAP-IVR model as an encoder of stills and clips, with the scorer that ranks clips.

A still is stored as its appearance vector (cosine). A clip is stored as one joint vector (dot): its appearance vector
and its features, of length 1 each. So S_all is one largest inner product, see ``scorer``. The appearance of a clip is
computed from the joint vector, by a bridge.

Shapes: n items, D appearance, F video features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from quiver.encoders import _fingerprint, _frozen, _pool
from quiver.encoders._frozen import Frozen
from quiver.encoders._tower import chunks
from quiver.encoders.map_ivr.config import Features
from quiver.encoders.map_ivr.feature import chosen_by, confidences, pool
from quiver.encoders.map_ivr.model import MapIvr
from quiver.encoders.map_ivr.scorer import Activity
from quiver.encoders.map_ivr.window import WindowReader, Windows, read_proposals
from quiver.errors import BadSpec, SpaceMismatch
from quiver.protocols import Reader, Scorer
from quiver.types import Floats, Space

#: Windows that go through the frozen encoders together.
AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Slice:
    """The bridge from joint vectors to appearance vectors: the first D entries, scaled to length 1."""

    source: Space
    target: Space

    def map(self, vectors: Floats) -> Floats:
        """Map (n, D + F) to (n, D) float32."""
        return _pool.unit(vectors[:, : self.target.dim])


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """The model with the frozen encoders below it.

    Attributes:
        model: in eval mode.
        image: encoders of stills.
        video: encoders of windows.
        windows: cuts clips.
    """

    model: MapIvr
    image: Frozen
    video: Frozen
    windows: Windows

    @torch.inference_mode()
    def appearances(self, batch: Sequence[Any]) -> Floats:
        """Return unit appearance vectors (n, D) of stills as the reader gives them."""
        rows = torch.from_numpy(self.image.embed(batch)).to(self.model.codes.device)
        return _pool.unit(self.model.embed_image(rows).cpu().numpy())

    @torch.inference_mode()
    def joint(self, batch: Sequence[tuple[list[Any], list[float | None]]]) -> Floats:
        """Return joint vectors (n, D + F) of clips as the reader gives them."""
        parts = [part for windows, _ in batch for part in windows]
        rows = np.concatenate([self.video.embed(chunk) for chunk in chunks(parts, AT_ONCE)])
        told = np.array([np.nan if each is None else each for _, scores in batch for each in scores], np.float64)
        keep = self.model.config.keep
        score = chosen_by(told, rows, keep, confidences(self.model))
        ends = np.cumsum([len(windows) for windows, _ in batch])[:-1]
        split = zip(np.split(rows, ends), np.split(score, ends), strict=True)
        clips = np.stack([pool(own, scores, keep) for own, scores in split])
        appearance = self.model.embed_video(torch.from_numpy(clips).to(self.model.codes.device))
        return np.concatenate([_pool.unit(appearance.cpu().numpy()), _pool.unit(clips)], axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class ActivityEncoder:
    """An encoder of stills and clips.

    Attributes:
        stage: the model and the encoders below it.
        appearance: space of stills.
        clips: joint space of clips.
        scorers: the one that ranks clips by S_all.
    """

    stage: Stage
    appearance: Space
    clips: Space
    scorers: tuple[Scorer, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """Stills and clips."""
        return ("image", "video")

    @property
    def bridges(self) -> tuple[Slice, ...]:
        """From joint to appearance vectors."""
        return (Slice(self.clips, self.appearance),)

    def spaces(self, key: str) -> tuple[Space, ...]:
        """Return the space of a key; () for a foreign key."""
        return {"image": (self.appearance,), "video": (self.clips,)}.get(key, ())

    def reader(self, key: str) -> Reader:
        """Return the decoder of one key.

        Raises:
            BadSpec: the key is foreign.
        """
        self._check(key)
        if key == "image":
            return self.stage.image.reader
        return WindowReader(self.stage.windows, self.stage.video.reader)

    def embed(self, key: str, batch: Sequence[Any], space: Space) -> Floats:
        """Embed n outputs of the reader: (n, D) of stills, (n, D + F) of clips, float32.

        Raises:
            BadSpec: the key is foreign.
            SpaceMismatch: the space is not the key's.
        """
        self._check(key)
        if space not in self.spaces(key):
            raise SpaceMismatch(f"map_ivr embeds {key} into {self.spaces(key)[0]}, not into {space}")
        if not len(batch):
            return np.empty((0, space.dim), np.float32)
        return self.stage.appearances(batch) if key == "image" else self.stage.joint(batch)

    def _check(self, key: str) -> None:
        if key not in self.keys:
            raise BadSpec(f"map_ivr embeds {', '.join(self.keys)}, not {key}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a trained model is asked; see ``quiver.encoders.map_ivr.load``."""

    samples: int | None = None
    blend: float | None = None
    proposals: Path | None = None
    image: str | None = None
    video: str | None = None
    device: str = "auto"


def build(checkpoint: Path, options: Options, *, device: torch.device) -> ActivityEncoder:
    """Read a trained model; see ``quiver.encoders.map_ivr.load``."""
    model = MapIvr.open(checkpoint).to(device).requires_grad_(False)
    config = model.config
    samples = config.samples if options.samples is None else options.samples
    blend = config.blend if options.blend is None else options.blend
    if not 1 <= samples <= len(model.codes):
        raise BadSpec(f"map_ivr samples must be from 1 to {len(model.codes)}, the codes of this model, not {samples}")
    if not 0 <= blend <= 1:
        raise BadSpec(f"map_ivr blend must be from 0 (appearance alone) to 1 (motion alone), not {blend}")
    image = _opened(config.image, "image", options.image, checkpoint, options.device)
    video = _opened(config.video, "video", options.video, checkpoint, options.device)
    proposals = read_proposals(options.proposals) if options.proposals else {}
    stage = Stage(model, image, video, Windows(config.windows, proposals))
    appearance, clips = _spaces(stage, options.proposals)
    encoder = ActivityEncoder(stage, appearance, clips)
    name = "map_ivr"
    name += f" samples={samples}" if samples != config.samples else ""
    name += f" blend={blend:g}" if blend != config.blend else ""
    return replace(encoder, scorers=(Activity(model, encoder, clips, blend=blend, samples=samples, name=name),))


def _opened(side: Features, key: str, moved: str | None, checkpoint: Path, device: str) -> Frozen:
    """Load the encoders of one side.

    Raises:
        BadSpec: they give other features than those the model has learnt from.
    """
    folder = checkpoint if moved is None else None  # specs of the caller are not the folder's
    spec = side.spec if moved is None else moved
    frozen = _frozen.open(_frozen.placed(spec, folder, device=device), key)
    if (frozen.width, frozen.revision) != (side.width, side.revision):
        raise BadSpec(f"{spec!r} gives other {key} features than those this map_ivr model has learnt from")
    return frozen


def _spaces(stage: Stage, proposals: Path | None) -> tuple[Space, Space]:
    """Return the spaces of stills and clips; codes and lambda belong to the query, and do not tell spaces apart."""
    model, config = stage.model, stage.model.config
    state = {name: tensor for name, tensor in model.state_dict().items() if name != "codes"}
    found = "" if proposals is None else _fingerprint.of_file(proposals)
    parts = (config.image.revision, config.video.revision, f"{config.windows} {config.keep} {found}")
    revision = _fingerprint.of_state(state, "map_ivr 1", *parts)
    return (
        Space(f"map_ivr/{config.name}/appearance", config.dim, "cosine", revision),
        Space(f"map_ivr/{config.name}", config.joint, "dot", revision),
    )
