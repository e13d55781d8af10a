"""A trained MMV model as an encoder: one clip, sound, sentence or picture at a time, into all of its spaces.

Alayrac et al. 2020, arXiv:2006.16228. Several windows of a long video or sound are embedded each and averaged before
the vector is scaled to unit length, as their evaluation does; a picture goes through the deflated video tower.
Deviates: a model with ``unit=true`` averages windows in its fine space alone and goes to the coarse one from there, so
that a stored coarse vector equals the one that a bridge computes.
Shapes: n items, W windows, T frames, L samples, D width of a space.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quiver.encoders import _fingerprint, _frozen
from quiver.encoders._frozen import Frozen
from quiver.encoders._pool import mean, unit
from quiver.encoders._tower import chunks
from quiver.encoders.mmv.data import hear
from quiver.encoders.mmv.deflate import Deflated
from quiver.encoders.mmv.model import MMV
from quiver.encoders.mmv.reader import SoundReader, WordReader
from quiver.encoders.mmv.word import Tokeniser
from quiver.errors import BadSpec, MissingWeights, SpaceMismatch
from quiver.media import ImageReader, VideoReader
from quiver.protocols import Reader
from quiver.types import KEYS, Floats, Space

#: Scale and offset of the deflated tower's normalisation, beside the weights.
DEFLATED = "deflated.safetensors"
#: Windows that go through a tower together: what passes between layers then stays in a CPU's cache.
AT_ONCE = {"cpu": 8, "cuda": 64}


@dataclass(frozen=True, slots=True, eq=False)
class CoarseBridge:
    """From the fine space into the coarse one, exactly as the model itself goes there."""

    source: Space
    target: Space
    model: MMV

    def map(self, vectors: Floats) -> Floats:
        """Map (n, source.dim) float32 to (n, target.dim) float32 of unit length."""
        place = next(self.model.parameters()).device
        with torch.inference_mode():
            coarse = self.model.graph.bridge(torch.from_numpy(unit(vectors)).to(place))
        return unit(coarse.float().cpu().numpy())


@dataclass(frozen=True, slots=True, eq=False)
class MMVEncoder:
    """A model and how it is asked; see ``quiver.protocols.Encoder``.

    Attributes:
        model: in evaluation.
        deflated: of its video tower, for pictures; None where there is none.
        windows: of a video or sound.
        frozen: of towers that are other encoders, by modality.
        table: the spaces of each key, finest first.
        bridges: from fine to coarse, where unit vectors are enough to go there.
    """

    model: MMV
    deflated: Deflated | None
    windows: int
    frozen: Mapping[str, Frozen]
    table: Mapping[str, tuple[Space, ...]]
    bridges: tuple[CoarseBridge, ...] = field(default=())

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that it embeds."""
        return tuple(key for key in KEYS if key in self.table)

    def spaces(self, key: str) -> tuple[Space, ...]:
        """Return the spaces of a key, finest first; () for a foreign key."""
        return self.table.get(key, ())

    def reader(self, key: str) -> Reader:
        """Return the decoder of one key."""
        self._check(key)
        config = self.model.config
        if key in self.frozen:
            return self.frozen[key].reader
        image = ImageReader(config.size, shorter=config.shorter)
        if key == "video":
            return VideoReader(config.frames, image=image, fps=config.fps, runs=self.windows)
        if key == "audio":
            return SoundReader(config.rate, config.seconds, self.windows)
        return image if key == "image" else WordReader(Tokeniser(self.model.tokens, config.max_words))

    def embed(self, key: str, batch: Sequence[Any], space: Space) -> Floats:
        """Embed n outputs of ``reader(key)`` as (n, D) float32 rows of length 1.

        Raises:
            BadSpec: the key is foreign.
            SpaceMismatch: the space is not one of the key's.
        """
        self._check(key)
        if space not in self.table[key]:
            raise SpaceMismatch(f"mmv embeds {key} into {', '.join(map(str, self.table[key]))}, not into {space}")
        if not len(batch):
            return np.empty((0, space.dim), np.float32)
        bridge = next(iter(self.bridges), None)
        if self.windows > 1 and bridge is not None and space == bridge.target and bridge.source in self.table[key]:
            # Windows are averaged in the fine space alone, so that a stored coarse vector is the one that is computed.
            return bridge.map(self.embed(key, batch, bridge.source))
        modality, parts, counts = self._parts(key, batch)
        name = space.name.removeprefix("mmv/")
        size = AT_ONCE[next(self.model.parameters()).device.type]
        with torch.inference_mode():
            rows = [self._project(key, modality, chunk, name) for chunk in chunks(parts, size)]
        return unit(mean(np.concatenate(rows), counts))

    def _check(self, key: str) -> None:
        if key not in self.table:
            raise BadSpec(f"this mmv model embeds {', '.join(self.keys)}, not {key}")

    def _parts(self, key: str, batch: Sequence[Any]) -> tuple[str, Sequence[Any], list[int]]:
        """Return the modality, the windows of all items, and how many each has."""
        if key in self.frozen:
            return key, list(self.frozen[key].embed(batch)), [1] * len(batch)
        if key == "video":
            runs = [run for clip in batch for run in np.split(clip, self.windows)]
            return key, runs, [self.windows] * len(batch)
        if key == "audio":
            return key, [window for sound in batch for window in sound], [len(sound) for sound in batch]
        return "video" if key == "image" else key, batch, [1] * len(batch)

    def _project(self, key: str, modality: str, chunk: Sequence[Any], space: str) -> Floats:
        place = next(self.model.parameters()).device
        x = torch.from_numpy(np.stack(chunk)).to(place)
        if x.dtype == torch.uint8:
            x = x.float().div_(255)
        if key == "audio":
            x = hear(x, self.model.config)
        features = self.deflated(x) if key == "image" and self.deflated else self.model.features(modality, x)
        projected: Tensor = self.model.graph.project(modality, features, space)
        return projected.float().cpu().numpy()


def build(checkpoint: Path, *, device: torch.device, coarse: str, windows: int) -> MMVEncoder:
    """Read a trained model; see ``quiver.encoders.mmv.load``."""
    if windows < 1:
        raise BadSpec(f"mmv windows must be at least 1, not {windows}")
    model = MMV.open(checkpoint).to(device).requires_grad_(False)
    if coarse == "computed" and not model.config.unit:
        raise BadSpec(
            "mmv coarse=computed needs a fac model trained with unit=true: unit vectors of others do not tell"
        )
    frozen = {
        modality: _frozen.open(_frozen.placed(getattr(model.config, f"{modality}_spec"), checkpoint), modality)
        for modality in model.config.modalities
        if model.config.width(modality)
    }
    deflated = None
    if model.config.video is not None and "video" not in frozen:
        deflated = load_deflation(model, checkpoint).to(device).eval().requires_grad_(False)
    revision = _revision(model, deflated, windows, frozen)
    modalities = dict.fromkeys(model.config.modalities) | ({"image": None} if deflated else {})
    table = {key: _spaces(model, key, revision) for key in modalities}
    bridges: tuple[CoarseBridge, ...] = ()
    fine = next((spaces for spaces in table.values() if len(spaces) == 2), None)
    if model.config.unit and fine:
        bridges = (CoarseBridge(*fine, model),)
    if coarse == "computed":
        table = {key: spaces[:1] for key, spaces in table.items()}
    return MMVEncoder(model, deflated, windows, frozen, table, bridges)


def save_deflation(deflated: Deflated, folder: Path) -> None:
    """Write the scale and offset of a deflated tower beside the model's weights: the rest follows from those."""
    from safetensors.torch import save_file

    affine = {name: tensor.detach().cpu().contiguous() for name, tensor in _affine(deflated).items()}
    save_file(affine, folder / DEFLATED)


def load_deflation(model: MMV, folder: Path) -> Deflated:
    """Deflate the video tower of a model, with the scale and offset that were learnt for it, if any.

    Raises:
        MissingWeights: those on disk are of another tower.
    """
    from safetensors.torch import load_file

    deflated = Deflated(model.towers["video"])  # type: ignore[arg-type]  # a video tower
    if (folder / DEFLATED).is_file():
        learnt, own = load_file(folder / DEFLATED), _affine(deflated)
        if {name: tensor.shape for name, tensor in learnt.items()} != {name: each.shape for name, each in own.items()}:
            raise MissingWeights(f"{folder / DEFLATED} is of another video tower than {folder / 'config.json'}")
        for name, tensor in own.items():
            tensor.data.copy_(learnt[name])
    return deflated


def _affine(deflated: Deflated) -> dict[str, Tensor]:
    return {
        f"{name}.{kind}": parameter
        for name, part in deflated.tower.named_modules()
        if isinstance(part, torch.nn.modules.batchnorm._BatchNorm)
        for kind, parameter in part.named_parameters(recurse=False)
    }


def _spaces(model: MMV, key: str, revision: str) -> tuple[Space, ...]:
    names = model.graph.spaces("video" if key == "image" else key)
    return tuple(Space(f"mmv/{name}", model.graph.dim(name), "cosine", revision) for name in names)


def _revision(model: MMV, deflated: Deflated | None, windows: int, frozen: Mapping[str, Frozen]) -> str:
    state = dict(model.state_dict())
    state |= {f"deflated.{name}": tensor for name, tensor in _affine(deflated).items()} if deflated else {}
    inputs = [f"{key} {space}" for key in frozen for _, space in frozen[key].parts]
    if windows > 1 and model.config.unit:
        inputs.append("coarse from the mean of fine windows")
    parts = ("mmv 1", repr(model.config), f"{windows} windows", "\n".join(model.tokens), *inputs)
    return _fingerprint.of_state(state, *parts)
