"""A trained model as an encoder: sentences and ordered pairs of pictures, into one space.

Legend: n things, P patches of a picture, S pixels of a side, F features, D dim.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from quiver.encoders import _fingerprint, _frozen
from quiver.encoders._frozen import Frozen
from quiver.encoders._patch.extract import Extractor, Source, open
from quiver.encoders._tower import Tower, Towers, chunks
from quiver.encoders.clip4idc.caption_model import FOLDER, CaptionModel
from quiver.encoders.clip4idc.config import Config, Vision
from quiver.encoders.clip4idc.model import Clip4Idc
from quiver.encoders.clip4idc.scorer import Likelihood, Shelf
from quiver.encoders.clip4idc.teller import PairTeller
from quiver.errors import BadSpec, MissingWeights
from quiver.media import ImageReader, PairReader, TextReader
from quiver.protocols import Reader
from quiver.types import Floats, Space

#: Pairs, or sentences, that go through the model together.
AT_ONCE = {"pair": 16, "text": 64}


@dataclass(frozen=True, slots=True, eq=False)
class Eyes:
    """What turns two pictures into the input of a model.

    Attributes:
        reader: decodes (before, after).
        given: n outputs of the reader to (n, 2, S, S, 3) uint8 pixels, or features (n, 2, P, F) float32.
    """

    reader: PairReader
    given: Callable[[Sequence[Any]], Tensor]


@dataclass(frozen=True, slots=True)
class PairEncoder(Towers):
    """The encoder, which also shows where two pictures differ.

    Attributes:
        differences: n outputs of the reader of pairs to maps (n, 2, rows, columns) float32: where the model looks in
            the picture before and in the picture after; larger is more, in shares of its attention.
    """

    differences: Callable[[Sequence[Any]], Floats]
    tellers: tuple[PairTeller, ...] = ()


@dataclass(frozen=True, slots=True)
class Reranking(PairEncoder):
    """The same, which also gives what scorers by the likelihood of captions read.

    Attributes:
        shelf: memories of pairs and ids of sentences.
        scorers: one for each direction.
    """

    shelf: Shelf | None = None
    scorers: tuple[Likelihood, ...] = ()

    @property
    def features(self) -> tuple[Space, ...]:
        """Spaces that only the scorers read."""
        return () if self.shelf is None else tuple(self.shelf.spaces.values())

    def spaces(self, key: str) -> tuple[Space, ...]:
        """Return the space of search, and that of the scorers."""
        own = Towers.spaces(self, key)
        return own if self.shelf is None or not own else (*own, self.shelf.spaces[key])

    def embed(self, key: str, batch: Sequence[Any], space: Space) -> Floats:
        """Embed n outputs of ``reader(key)`` into one of its spaces."""
        if self.shelf is not None and space == self.shelf.spaces.get(key):
            return self.shelf.rows(key, batch)
        return Towers.embed(self, key, batch, space)

    def embed_query(self, key: str, batch: Sequence[Any], space: Space) -> Floats:
        """Embed n outputs of ``reader(key)`` as queries."""
        return self.embed(key, batch, space)


def build(checkpoint: Path, *, device: str, place: torch.device, rerank: bool = False) -> PairEncoder:
    """Read a trained model; see ``quiver.encoders.clip4idc.load``.

    Args:
        checkpoint: a folder.
        device: as it was named, for the frozen encoders below.
        place: the device that is.
        rerank: whether it gives what scorers by the likelihood of captions read.
    """
    model = Clip4Idc.open(checkpoint).to(place).requires_grad_(False)
    vision = model.config.vision
    source = open(Extractor.read(checkpoint), device=device, folder=checkpoint) if vision.feature else None
    if source is not None and (source.width, source.revision) != (vision.feature, vision.source):
        raise BadSpec(f"{checkpoint}: its network gives other features of pictures than those it has learnt from")
    frozen = None
    if model.config.text.feature:
        frozen = _frozen.open(_frozen.placed(model.config.text.spec, checkpoint, device=device), "text")
        if (frozen.width, frozen.revision) != (model.config.text.feature, model.config.text.source):
            raise BadSpec(f"{checkpoint}: its text encoder gives other vectors than those it has learnt from")
    elif model.words is None:
        raise MissingWeights(f"clip4idc checkpoint={checkpoint}: tokenizer.json is missing, which holds its words")
    made = assemble(model, source, frozen)
    if not (checkpoint / FOLDER).is_dir():
        if rerank:
            raise BadSpec(f"{checkpoint} has no caption generator: train it with caption.steps, or leave rerank out")
        return made
    return _telling(made, checkpoint / FOLDER, eyes(model.config, source), place, rerank=rerank)


def _telling(made: PairEncoder, folder: Path, look: Eyes, place: torch.device, *, rerank: bool) -> PairEncoder:
    """Add the caption generator of a folder, and scorers by its likelihood."""
    writer = CaptionModel.open(folder).to(place).requires_grad_(False)
    assert writer.words is not None
    config = writer.config
    shown = f"{config.vision.heads} {config.vision.intra} {config.writer.heads} {config.words} {config.prior}"
    shown += _relative(config.vision)
    mark = _fingerprint.of_state(
        writer.state_dict(), "clip4idc caption 1", config.vision.source, writer.words.described, shown
    )
    teller = PairTeller(writer, look.reader, look.given, mark)
    if not rerank:
        return replace(made, tellers=(teller,))
    name = f"clip4idc/{config.name}"
    spaces = {
        "pair": Space(f"{name}/memory", writer.mean.numel(), "dot", mark),
        "text": Space(f"{name}/pieces", config.words.length, "dot", mark),
    }
    readers: dict[str, Reader] = {"pair": look.reader, "text": TextReader()}
    shelf = Shelf(writer, spaces, readers, teller.memory)
    scorers = (Likelihood(shelf, "pair"), Likelihood(shelf, "text"))
    return Reranking(made.space, made.towers, made.differences, (teller,), shelf, scorers)


def assemble(model: Clip4Idc, source: Source | None, frozen: Frozen | None) -> PairEncoder:
    """Make an encoder of a model in eval mode.

    Args:
        model: with its words, if it has a text tower.
        source: gives features of pictures; None where the model reads pixels.
        frozen: the text encoder below; None where the model has a text tower.
    """
    look = eyes(model.config, source)
    place = model.scale.device

    @torch.inference_mode()
    def pair(batch: Sequence[Any]) -> Floats:
        parts = [model.embed_pair(look.given(part).to(place)) for part in chunks(batch, AT_ONCE["pair"])]
        return torch.cat(parts).cpu().numpy()

    @torch.inference_mode()
    def differences(batch: Sequence[Any]) -> Floats:
        parts = [model.pairs.attention(look.given(part).to(place)) for part in chunks(batch, AT_ONCE["pair"])]
        return torch.cat(parts).float().cpu().numpy()

    reader, sentences = _sentences(model, frozen)
    towers = {"text": Tower(reader, sentences), "pair": Tower(look.reader, pair)}
    space = Space(f"clip4idc/{model.config.name}", model.config.dim, "cosine", revision(model))
    return PairEncoder(space, towers, differences)


def eyes(config: Config, source: Source | None) -> Eyes:
    """Return what reads pairs for a model.

    Args:
        config: of the model.
        source: gives features of pictures; None where the model reads pixels.
    """
    if source is None:
        read = ImageReader(config.vision.size, fit="squash", resample=config.vision.resample)
        return Eyes(PairReader(read), lambda batch: torch.from_numpy(np.array(batch)))
    if not isinstance(source.read, ImageReader):
        raise BadSpec("clip4idc reads pictures with one network: leave out whole=")
    network = source

    def given(batch: Sequence[Any]) -> Tensor:
        rows = network.look([picture for both in batch for picture in both])
        return torch.from_numpy(rows).unflatten(0, (-1, 2))

    return Eyes(PairReader(source.read), given)


def revision(model: Clip4Idc) -> str:
    """Return a hash of the weights that give vectors, of the words, and of the networks below."""
    config = model.config
    words = model.words.described if model.words is not None else ""
    shown = (config.vision.size, config.vision.resample, config.vision.mean, config.vision.std)
    return _fingerprint.of_state(
        {name: each for name, each in model.state_dict().items() if name.startswith(("pairs.", "sentences."))},
        "clip4idc 1",
        config.vision.source,
        config.text.source,
        words,
        f"{shown} {config.vision.heads} {config.vision.intra} {config.vision.activation}" + _relative(config.vision),
        f"{config.text.length} {config.text.heads} {config.text.activation}",
    )


def _relative(vision: Vision) -> str:
    """Return what sets models with relative patches apart; nothing for others, whose stored vectors stay current."""
    return " relative" if vision.relative else ""


def _sentences(model: Clip4Idc, frozen: Frozen | None) -> tuple[Reader, Callable[[Sequence[Any]], Floats]]:
    place, words = model.scale.device, model.words

    @torch.inference_mode()
    def features(batch: Sequence[Any]) -> Floats:
        rows = []
        for part in chunks(batch, AT_ONCE["text"]):
            if frozen is not None:
                given = torch.from_numpy(frozen.embed(part))
            else:
                assert words is not None
                given = torch.from_numpy(words.encode(part, length=model.config.text.length))
            rows.append(model.embed_text(given.to(place)).cpu())
        return torch.cat(rows).numpy()

    return TextReader() if frozen is None else frozen.reader, features
