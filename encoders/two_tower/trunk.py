"""End-to-end training of towers: the network below the head is trained too, with its normalisation unchanged.

The first part of a tower's spec is what is trained: a ``timm`` model for pictures, a ``sentence_transformers`` model
for text. Here it computes exactly what that encoder does, only with gradients, so that what comes out is a file
that the encoder reads. Dropout is off and batch normalisation keeps its statistics: batches are small and the
pictures few. The heads are trained before, on top of the frozen network, so that their first, random
gradients do not spoil it (Kumar et al. 2022, arXiv:2202.10054).
Shapes: B rows, F features of a network, R those of the other parts of a spec.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from quiver import registry
from quiver.encoders import _frozen, _hub
from quiver.encoders._frozen import HERE
from quiver.encoders._train.damage import Damage, Decoder
from quiver.encoders.two_tower import base
from quiver.encoders.two_tower.config import Config
from quiver.encoders.two_tower.data import Column, Features
from quiver.encoders.two_tower.model import Contrast, Given, Side, TwoTower
from quiver.errors import BadSpec, optional
from quiver.media import TextReader
from quiver.protocols import Reader
from quiver.types import Floats, Rows

_TOKENS = "tokens."
#: A tokeniser refuses to be used by two threads, and batches are fetched while validation goes on.
_TOKENISING = Lock()


class Eye(nn.Module):
    """A timm model.

    Args:
        spec: of the encoder ``timm``.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: str) -> None:
        super().__init__()
        encoder = registry.load("encoders", spec)
        eye = encoder.towers["image"].features
        self.reader: Reader = encoder.reader("image")
        self.width = encoder.space.dim
        self.spec, self.size, self.network = spec, eye.size, eye.network
        self.blank: Any = np.zeros((eye.size, eye.size, 3), np.uint8)
        self.register_buffer("mean", eye.mean.clone(), persistent=False)
        self.register_buffer("std", eye.std.clone(), persistent=False)

    def collate(self, batch: Sequence[Any]) -> dict[str, Tensor]:
        """Return ``pixels`` (B, S, S, 3) uint8 of pictures as the reader gives them."""
        return {"pixels": torch.from_numpy(np.stack([_centre(picture, self.size) for picture in batch]))}

    def forward(self, given: Given) -> Tensor:
        """Return unit vectors (B, F)."""
        pixels = given["pixels"].permute(0, 3, 1, 2).float().sub(self.mean).div(self.std)
        features = self.network.forward_head(self.network.forward_features(pixels), pre_logits=True)
        return functional.normalize(features.float(), dim=1)

    def export(self, folder: Path) -> str:
        """Write the weights into a model's folder, and return the spec that reads them from there."""
        from safetensors.torch import save_file

        state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.network.state_dict().items()}
        save_file(state, folder / "image.safetensors")
        return _with(self.spec, checkpoint=f"{HERE}image.safetensors")


class Ear(nn.Module):
    """A text model of Sentence Transformers.

    Args:
        spec: of the encoder ``sentence_transformers``, without a prompt.
    """

    def __init__(self, spec: str) -> None:
        super().__init__()
        with optional():
            from sentence_transformers import SentenceTransformer
        _, options = registry.split(spec)
        if "prompt" in options:
            raise BadSpec(f"{spec!r} has a prompt: a text model is fine-tuned without one")
        model = options["model"]
        self.width = registry.load("encoders", spec).space.dim  # it says what is wrong with the spec, if anything is
        whole = Path(model).expanduser().is_dir() or "/" in model
        with _hub.quiet():
            self.network = _hub.load(
                model if whole else f"sentence-transformers/{model}",
                lambda folder: SentenceTransformer(
                    str(folder), device="cpu", trust_remote_code=False, model_kwargs={"dtype": torch.float32}
                ),
            )
        self.reader: Reader = TextReader()
        self.blank: Any = "."
        self.spec = spec

    def collate(self, batch: Sequence[Any]) -> dict[str, Tensor]:
        """Return the tokens of texts, (B, tokens) each, padded to the longest."""
        with _TOKENISING:
            tokens = self.network.preprocess(list(batch))
        return {f"{_TOKENS}{name}": tensor for name, tensor in tokens.items() if isinstance(tensor, Tensor)}

    def forward(self, given: Given) -> Tensor:
        """Return unit vectors (B, F)."""
        tokens = {name.removeprefix(_TOKENS): each for name, each in given.items() if name.startswith(_TOKENS)}
        return functional.normalize(self.network(tokens)["sentence_embedding"].float(), dim=1)

    def export(self, folder: Path) -> str:
        """Write the model into a folder of a model's folder, and return the spec that reads it from there."""
        with _hub.quiet():
            self.network.save_pretrained(str(folder / "text"), create_model_card=False)
        return _with(self.spec, model=f"{HERE}text")


Trunk = Eye | Ear
_KINDS: Mapping[str, Callable[[str], Trunk]] = {"timm": Eye, "sentence_transformers": Ear}
_KEYS = {"timm": "image", "sentence_transformers": "text"}


def open(spec: str, key: str, *, share: float) -> Trunk:
    """Load the network a spec's first part names, to be trained.

    Args:
        spec: of a tower's encoders.
        key: the tower.
        share: of its tensors that are trained, those nearest to its output.

    Raises:
        BadSpec: it is none that can be trained.
    """
    first = spec.split(" + ", maxsplit=1)[0]
    name = registry.split(first)[0] if first else ""
    if _KEYS.get(name) != key:
        raise BadSpec(f"tune={key}: only timm pictures and sentence_transformers text can be, as a tower's first part")
    trunk = _KINDS[name](first)
    parameters = [each for path, each in trunk.network.named_parameters() if not _idle(trunk, path)]
    trunk.requires_grad_(False)
    for parameter in parameters[-max(1, round(share * len(parameters))) :]:
        parameter.requires_grad_(True)
    return trunk


def _idle(trunk: Trunk, path: str) -> bool:
    """Whether a parameter has no part in the vector: classifiers, and poolers beside the library's own."""
    if isinstance(trunk, Eye):
        heads = trunk.network.get_classifier()
        owned = {id(each) for each in heads.parameters()} if isinstance(heads, nn.Module) else set()
        return id(trunk.network.get_parameter(path)) in owned
    return ".pooler." in path


class Tuned(nn.Module):
    """A model with the networks below some of its towers.

    Attributes:
        model: with trained heads.
        trunks: by key.
    """

    def __init__(self, model: TwoTower, trunks: Mapping[str, Trunk]) -> None:
        super().__init__()
        self.model = model
        self.trunks = nn.ModuleDict(trunks)

    def train(self, mode: bool = True) -> "Tuned":
        """Set the mode of the heads; the networks stay in evaluation."""
        super().train(mode)
        self.trunks.eval()
        return self

    @property
    def config(self) -> Config:
        """Of the model."""
        return self.model.config

    @property
    def scale(self) -> Tensor:
        """Of the model."""
        return self.model.scale

    def forward(self, batch: tuple[Side, Side]) -> Contrast:
        """Embed questions and answers, as the model does."""
        ask, answer = batch
        return self.model((self._grounded(ask), self._grounded(answer)))

    def side(self, side: Side) -> Tensor:
        """Embed one side of a batch, as the model does."""
        return self.model.side(self._grounded(side))

    def _grounded(self, side: Side) -> Side:
        """Compute the features that are not given."""
        return {key: (place, self._features(key, given)) for key, (place, given) in side.items()}

    def _features(self, key: str, given: Given) -> Given:
        if key not in self.trunks:
            return given
        return {**given, "features": torch.cat([self.trunks[key](given), given["features"]], dim=1)}


@dataclass(frozen=True, slots=True, eq=False)
class Raw:
    """Inputs of a network for one key, read each time, next to the vectors of the other parts.

    Attributes:
        trunk: the network.
        refs: of the things.
        rest: R features and n-grams.
        decode: decodes several, and notes those that cannot be read.
    """

    trunk: Trunk
    refs: Sequence[Any]
    rest: Features
    decode: Decoder

    def __call__(self, rows: Rows) -> dict[str, Tensor]:
        """Return the trunk's collated inputs, ``features`` (B, R) and ``grams``."""
        return self.given(rows, self.read(rows))

    def read(self, rows: Rows) -> list[Any]:
        """Return each reference as the trunk's reader gives it, or None where it cannot be read any more."""
        return self.decode([self.refs[row] for row in rows])

    def given(self, rows: Rows, read: Sequence[Any]) -> dict[str, Tensor]:
        """Return the inputs of what ``read`` has returned; a blank stands for None."""
        blank = self.trunk.blank
        return {**self.rest(rows), **self.trunk.collate([blank if each is None else each for each in read])}


def columns(
    things: Mapping[str, Sequence[Any]],
    held: Mapping[str, Features],
    trunks: Mapping[str, Trunk],
    *,
    folder: Path | None = None,
) -> dict[str, Column]:
    """Replace the outputs of networks by their inputs.

    Args:
        things: references by key.
        held: vectors of all parts of the specs.
        trunks: the networks, each of the first part of its spec.
        folder: of the list of what cannot be read.
    """
    found: dict[str, Column] = dict(held)
    for key, trunk in trunks.items():
        rows, grams = held[key].rows, held[key].grams
        rest = None if rows is None else rows[:, trunk.width :]
        found[key] = Raw(trunk, things[key], Features(rest, grams), Decoder(trunk.reader, Damage(key, folder)))
    return found


def save(tuned: Tuned, folder: Path) -> None:
    """Write a model and its trained networks into one folder; its towers stand on these from then on."""
    model = tuned.model
    towers = dict(model.config.towers)
    for key, trunk in tuned.trunks.items():
        rest = _frozen.split(towers[key].spec)[1:]
        towers[key] = replace(towers[key], spec=" + ".join([trunk.export(folder), *rest]))  # type: ignore[operator]
    towers = base.kept(towers, folder)
    for key in tuned.trunks:
        frozen = _frozen.open(_frozen.placed(towers[key].spec, folder, device="cpu"), key)
        towers[key] = replace(towers[key], revision=frozen.revision)
    model.save(folder, replace(model.config, towers=towers))


def _with(spec: str, **changed: str) -> str:
    name, options = registry.split(spec)
    return shlex.join([name, *(f"{key}={value}" for key, value in {**options, **changed}.items())])


def _centre(picture: Any, size: int) -> Floats:
    """Cut the square of ``size`` pixels out of the middle, as the encoder does."""
    top, left = (round((side - size) / 2) for side in picture.shape[:2])
    return picture[top : top + size, left : left + size]
