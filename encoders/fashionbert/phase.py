"""The two phases around the paper's: texts and pictures are aligned before, and ranked against each other after.

Aligned with all others of a batch, as Li et al. 2021 (ALBEF), arXiv:2107.07651, do before fusing. Ranked in groups of
like products, read together text by picture, by a softmax over what each text, and each picture, could belong to: the
paper's question, whether two belong together, is not the one that a reranker is asked.
Shapes: b rows, L word pieces, P patches, F features, D width of the aligned space, G groups of g products, n = G g.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from quiver.encoders._contrast import scores, softmax
from quiver.encoders._patch.extract import Halves
from quiver.encoders._pieces import Pieces
from quiver.encoders._train import Contrast
from quiver.encoders.fashionbert.data import NEAR, Pairs, nearest
from quiver.encoders.fashionbert.model import FashionBert
from quiver.types import Floats, Rows

#: Texts or pictures that are embedded together.
AT_ONCE = 256


class Sides(NamedTuple):
    """Texts and pictures, row by row, and what else belongs together among them.

    Attributes:
        text: (n, L) int64, pieces hidden.
        patches: (n, P, F).
        known: (G, g, g) bool, where a text of a group (rows) and a picture of it (columns) are no wrong pair although
            they stand in different rows. All rows of a batch are one group while aligning.
        numbers: (n, 2) int64, which text and which picture each row is.
    """

    text: Tensor
    patches: Tensor
    known: Tensor
    numbers: Tensor


class Groups(Sides):
    """Sides that are ranked, group by group."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, eq=False)
class Fetch:
    """Makes batches of rows, or of groups that rows are the first of.

    Attributes:
        pairs: what belongs together.
        features: (i, P, F) float16.
        pieces: of texts.
        limit: pieces of a text.
        hide: share of pieces that become [MASK].
        near: for each text the pictures that are hard to tell from its own; () where groups are of one sub-category.
        group: products in a group; 0 for all of the batch.
    """

    pairs: Pairs
    features: Halves
    pieces: Pieces
    limit: int
    hide: float
    near: tuple[Rows, ...] = ()
    group: int = 0

    def __call__(self, rows: Rows, rng: np.random.Generator) -> Sides:
        """Return a batch."""
        groups = [self.alike(int(row), rng) for row in rows] if self.group else [rows.tolist()]
        numbers = self.pairs.rows[np.concatenate(groups)]
        text, picture = numbers.T
        ids = self.pieces.encode([self.pairs.texts[number] for number in text], limit=self.limit)
        hidden = ~self.pieces.special[ids] & (rng.random(ids.shape) < self.hide)
        ids = np.where(hidden, self.pieces.id("[MASK]"), ids)
        known = np.stack([self._known(group) for group in groups])
        kind = Groups if self.group else Sides
        return kind(*map(torch.from_numpy, (ids, np.asarray(self.features[picture]), known, numbers)))

    def alike(self, row: int, rng: np.random.Generator) -> list[int]:
        """Return a row and others that are hard to tell from it, no text and no picture twice."""
        found, texts, pictures = list[int](), set[int](), set[int]()
        for other in self._candidates(row, rng):
            text, picture = self.pairs.rows[other].tolist()
            if text not in texts and picture not in pictures:
                found.append(other)
                texts.add(text)
                pictures.add(picture)
            if len(found) == self.group:
                break
        return found

    def _candidates(self, row: int, rng: np.random.Generator) -> Iterator[int]:
        """Yield the row, then near ones or, as often, those of its sub-category, then all."""
        yield row
        text, picture = self.pairs.rows[row].tolist()
        if self.near and rng.integers(2):
            for other in rng.permutation(self.near[text]).tolist():
                yield self.pairs.of_picture[other]
        else:
            yield from rng.permutation(self.pairs.of_kind[int(self.pairs.kinds[picture])]).tolist()
        yield from rng.permutation(len(self.pairs)).tolist()

    def _known(self, group: list[int]) -> NDArray[np.bool_]:
        texts, pictures = self.pairs.rows[group].T
        known = np.zeros((len(texts), len(pictures)), bool)
        known[self.pairs.places(texts, pictures)] = True
        np.fill_diagonal(known, False)
        return known


def aligned(pairs: Pairs) -> Contrast:
    """Return the loss of batches: which picture is the text's, which text the picture's, by scaled cosines.

    Args:
        pairs: say what else belongs together.
    """

    def embed(model: nn.Module, batch: Sides) -> Mapping[Hashable, Tensor]:
        text_nD, image_nD, factor = model(batch)
        return {"text": text_nD, "image": image_nD, "factor": factor, "numbers": batch.numbers}

    def compare(rows: Mapping[Hashable, Tensor]) -> Mapping[str, Tensor]:
        factor = rows["factor"]
        found = scores(rows["text"], rows["image"], rows["numbers"], scale=factor, related=pairs.places)
        return {"loss": softmax(found), "scale": factor.detach()}

    return Contrast(embed, compare)


def ranked(margins_Ggg: Tensor, known_Ggg: Tensor) -> Mapping[str, Tensor]:
    """Return the loss of groups, and how often the right one has the largest margin of its group."""
    masked = margins_Ggg.masked_fill(known_Ggg, -torch.inf)
    right = torch.arange(masked.shape[1], device=masked.device)
    first = (masked.argmax(dim=2) == right).float().mean()
    return {"loss": contrast(margins_Ggg, known_Ggg), "first": first}


def contrast(scores_Ggg: Tensor, known_Ggg: Tensor) -> Tensor:
    """Mean of -log softmax of the diagonal over rows, and over columns; what is known to be right does not compete."""
    masked = scores_Ggg.float().masked_fill(known_Ggg, -torch.inf)
    groups, size, _ = masked.shape
    right = torch.arange(size, device=masked.device).expand(groups, size)
    # cross_entropy has classes in dimension 1
    return (functional.cross_entropy(masked.mT, right) + functional.cross_entropy(masked, right)) / 2


@torch.no_grad()
def hard(model: FashionBert, fetch: Fetch) -> tuple[Rows, ...]:
    """Return for each text the NEAR pictures that its aligned vector is nearest to, without those that are right."""
    align = model.align
    if align is None:
        return ()
    training, place, pairs = model.training, model.match.weight.device, fetch.pairs
    model.eval()
    texts, pictures = list[Floats](), list[Floats]()
    for start in range(0, len(pairs.texts), AT_ONCE):
        ids = torch.from_numpy(fetch.pieces.encode(pairs.texts[start : start + AT_ONCE], limit=fetch.limit)).to(place)
        texts.append(align.embed_text(ids, model.words(ids)).cpu().numpy())
    for start in range(0, len(pairs.pictures), AT_ONCE):
        part = torch.from_numpy(np.array(fetch.features[start : start + AT_ONCE])).to(place)
        pictures.append(align.embed_image(model.patches(part)).cpu().numpy())
    model.train(training)
    learnt = np.zeros(len(pairs.pictures), bool)
    learnt[pairs.rows[:, 1]] = True
    right = [list(each) for each in pairs.right]
    return nearest(np.concatenate(texts), np.concatenate(pictures), right, allow=learnt, count=NEAR)
