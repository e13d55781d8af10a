"""Triplets as a model takes them: pictures as features or pixels, words as ids or features.

Questions of several wishes are heard in a random order every time; a data set that joins two captions to one text gives
both orders as questions (``fashion_iq captions=both``). Pixels are cropped and flipped at random by the image tower.

Legend: q questions, n pictures, B rows of a batch, L ids, W features.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from quiver.encoders import _pool
from quiver.encoders._train import Contrast, gathered
from quiver.encoders._train.damage import Decoder, replaced
from quiver.encoders.artemis.model import Batch, Model
from quiver.encoders.artemis.triplet import Triplets
from quiver.encoders.artemis.word import SPECIALS, Vocabulary
from quiver.types import Floats, Rows


class Looked(Protocol):
    """Pictures as the image tower takes them."""

    def __call__(self, places: Rows) -> Tensor:
        """Return (B, W) float32, or (B, S, S, 3) uint8, of pictures by place."""
        ...


class Heard(Protocol):
    """Words as the text tower takes them."""

    def __call__(self, rows: Rows, rng: np.random.Generator | None = None) -> Tensor:
        """Return (B, L) int64 or (B, W) float32 of questions by row; wishes in a random order where ``rng`` is."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Features made beforehand, (n, W), standardised: ``mean`` and ``std`` (W,) are those of what training looks at."""

    features: Floats
    mean: Floats
    std: Floats

    @classmethod
    def of(cls, features: Floats, learnt: Rows) -> "Table":
        """Standardise by the pictures at places ``learnt``; a column that never changes there stays as it is."""
        std = features[learnt].std(axis=0)
        return cls(features, features[learnt].mean(axis=0), np.where(std > 0, std, 1).astype(np.float32))

    @classmethod
    def plain(cls, features: Floats) -> "Table":
        """Leave them as they are, for a layer that standardises by itself since ``fold``."""
        none = np.zeros(features.shape[1], np.float32)
        return cls(features, none, none + 1)

    def __call__(self, places: Rows) -> Tensor:
        """Return (B, W)."""
        mean, std = torch.from_numpy(self.mean), torch.from_numpy(self.std)
        return (torch.from_numpy(self.features[places]) - mean) / std

    def fold(self, layer: nn.Linear) -> None:
        """Let a layer that learnt from these take features as their encoder gives them."""
        mean, std = (torch.from_numpy(each).to(layer.weight) for each in (self.mean, self.std))
        with torch.no_grad():
            layer.weight.div_(std)
            layer.bias.sub_(layer.weight @ mean)


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """Pictures decoded when they are asked for.

    Attributes:
        pictures: references.
        decode: decodes several into (S, S, 3) uint8 each, and notes those that cannot be read.
    """

    pictures: tuple[Any, ...]
    decode: Decoder

    def __call__(self, places: Rows) -> Tensor:
        """Return (B, S, S, 3); a picture that cannot be read any more is white."""
        found = self.read(places)
        blank = next((np.full_like(each, 255) for each in found if each is not None), None)
        if blank is None:
            side = getattr(self.decode.reader, "size", 1)
            blank = np.full((side, side, 3), 255, np.uint8)
        return torch.from_numpy(np.stack([blank if each is None else each for each in found]))

    def read(self, places: Rows) -> list[Any]:
        """Return (S, S, 3) uint8 of each picture, or None."""
        return self.decode([self.pictures[place] for place in places])


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """Words as ids.

    Attributes:
        vocabulary: of the model.
        wishes: of each question.
        forget: share of words that are read as unknown where ``rng`` is given.
    """

    vocabulary: Vocabulary
    wishes: tuple[tuple[str, ...], ...]
    forget: float = 0.0
    known: dict[tuple[str, ...], list[int]] = field(default_factory=dict)

    def __call__(self, rows: Rows, rng: np.random.Generator | None = None) -> Tensor:
        """Return (B, L)."""
        ids = [self._ids(_shuffled(self.wishes[row], rng)) for row in rows]
        longest = max(map(len, ids))
        made = torch.tensor([row + [0] * (longest - len(row)) for row in ids])
        if rng is None or not self.forget:
            return made
        lost = torch.from_numpy(rng.random(made.shape) < self.forget) & (made >= len(SPECIALS))
        return made.masked_fill(lost, SPECIALS.index("<unk>"))

    def _ids(self, wishes: tuple[str, ...]) -> list[int]:
        if wishes not in self.known:
            self.known[wishes] = self.vocabulary.ids(wishes)
        return self.known[wishes]


def _shuffled(wishes: tuple[str, ...], rng: np.random.Generator | None) -> tuple[str, ...]:
    if rng is None or len(wishes) < 2:
        return wishes
    return tuple(wishes[place] for place in rng.permutation(len(wishes)))


@dataclass(frozen=True, slots=True, eq=False)
class Sentences:
    """Words as features, (m, W) of m different texts; ``place`` (q,) says which text is each question's."""

    features: Floats
    place: Rows

    @classmethod
    def of(cls, wishes: Sequence[tuple[str, ...]], embed: Callable[[Sequence[str]], Floats]) -> "Sentences":
        """Embed every different text once; several wishes are the mean of their directions, as when asked for."""
        different = list(dict.fromkeys(wishes))
        rows = embed([wish for each in different for wish in each])
        places = {each: place for place, each in enumerate(different)}
        mean = _pool.unit(_pool.mean(rows, [len(each) for each in different]))
        return cls(mean, np.array([places[each] for each in wishes]))

    def __call__(self, rows: Rows, rng: np.random.Generator | None = None) -> Tensor:
        """Return (B, W)."""
        return torch.from_numpy(self.features[self.place[rows]])


@dataclass(frozen=True, slots=True)
class Silence:
    """No words, where the composer reads none."""

    def __call__(self, rows: Rows, rng: np.random.Generator | None = None) -> Tensor:
        """Return (B, 0)."""
        return torch.empty(len(rows), 0)


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """Triplets as the model takes them.

    Attributes:
        triplets: questions, each with its answers.
        look: gives pictures.
        hear: gives words.
        known: leave out targets of others that answer a question too; else all targets compete.
        in_set: what other candidates of a question are: nothing, further answers, or also negatives.
    """

    triplets: Triplets
    look: Looked
    hear: Heard
    known: bool = True
    in_set: Literal["none", "positives", "both"] = "none"

    def fetch(self, rows: Rows, rng: np.random.Generator) -> Batch:
        """Return the batch of some questions, each with one of its answers."""
        if isinstance(self.look, Pixels):
            rows, target, reference, looked = self._seen(self.look, rows, rng)
        else:
            target = self.triplets.draw(rows, rng)
            reference, looked = self.look(self.triplets.reference[rows]), self.look(target)
        batch = Batch(reference=reference, words=self.hear(rows, rng), target=looked)
        if self.known:
            batch["same"] = torch.from_numpy(self.triplets.same(rows, target))
            batch["questions"], batch["places"] = torch.from_numpy(rows), torch.from_numpy(target)
        if self.in_set != "none":
            places, labels = self.triplets.members(rows, target, wrong=self.in_set == "both")
            if isinstance(self.look, Pixels):  # what cannot be read takes no part
                lost = [each is None for each in self.look.read(places.ravel())]
                labels[np.array(lost).reshape(labels.shape)] = 0
            batch["members"] = self.look(places.ravel()).unflatten(0, places.shape)
            batch["labels"] = torch.from_numpy(labels)
        return batch

    def _seen(self, look: Pixels, rows: Rows, rng: np.random.Generator) -> tuple[Rows, Rows, Tensor, Tensor]:
        """Return rows, their targets, and both pictures of each; rows that cannot be read give way to others."""

        def read(some: Rows) -> list[tuple[int, Any, Any] | None]:
            target = self.triplets.draw(some, rng)
            pairs = zip(target.tolist(), look.read(self.triplets.reference[some]), look.read(target), strict=True)
            return [None if held is None or found is None else (place, held, found) for place, held, found in pairs]

        rows, found = replaced(rows, rng, read, count=len(self.triplets), damage=look.decode.damage.where)
        target, reference, looked = (np.stack(column) for column in zip(*found, strict=True))
        return rows, target, torch.from_numpy(reference), torch.from_numpy(looked)

    def loss(self, model: Model, batch: Batch) -> Mapping[str, Tensor]:
        """Return the losses of a model that is not wrapped."""
        return self.contrast(model)(model, batch)

    def contrast(self, model: Model) -> Contrast:
        """Return the loss of batches; on several ranks, targets of the others that are right do not compete either."""

        def embed(wrapped: nn.Module, batch: Batch) -> Mapping[Hashable, Tensor]:
            rows = wrapped(batch, embed=True)
            return {**rows, **{name: batch[name] for name in ("questions", "places") if name in batch}}

        def compare(rows: Mapping[Hashable, Tensor]) -> Mapping[str, Tensor]:
            named, same = {str(name): value for name, value in rows.items()}, None
            if "places" in named:
                asked, found = (each.cpu().numpy() for each in (named["questions"], gathered(named["places"])))
                same = torch.from_numpy(self.triplets.same(asked, found)).to(named["places"].device)
            return model.compare(named, same)

        return Contrast(embed, compare)
