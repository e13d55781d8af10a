"""The sampled protocol, small enough to select a state by: one answer among others of its sub-category, both ways.

Ranks are those of FashionBERT's own evaluation (1 + 100, by the [CLS] score), with the margin in place of the raw
logit, every answer counted once, and ties at the mean of their ranks.
Shapes: q questions, c candidates of each, t texts, i pictures.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from quiver.encoders._patch.extract import Halves
from quiver.encoders._pieces import Pieces
from quiver.encoders.fashionbert.data import Pairs
from quiver.encoders.fashionbert.model import FashionBert
from quiver.encoders.fashionbert.score import margins
from quiver.errors import BadData
from quiver.types import Floats, Rows

Way = Literal["text_to_image", "image_to_text"]
WAYS: tuple[Way, ...] = ("text_to_image", "image_to_text")
#: Pictures whose patches are embedded together.
AT_ONCE = 64


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """Questions drawn once: each row of pairs has its answer first, then its rivals.

    Attributes:
        texts: ids of t texts, unpadded.
        features: (i, P, F) of the pictures that occur.
        pairs: (q, c, 2) text and picture, by way.
    """

    texts: list[list[int]]
    features: Floats
    pairs: dict[Way, Rows]

    def measure(self, model: FashionBert) -> dict[str, float]:
        """Return the figures by which a state is selected, the mean reciprocal rank over both ways first."""
        found = self.score(model)
        rank = {way: ranks(scores) for way, scores in found.items()}
        figures = {"mrr": float(np.mean([(1 / each).mean() for each in rank.values()]))}
        for k in (1, 5, 10):
            figures |= {f"{way}_r{k}": float((each <= k).mean()) for way, each in rank.items()}
        right = np.concatenate([scores[:, 0] for scores in found.values()])
        wrong = np.concatenate([scores[:, 1:].ravel() for scores in found.values()])
        return {**figures, "accuracy": float(((right > 0).mean() + (wrong <= 0).mean()) / 2)}  # as if pairs were 1:1

    def score(self, model: FashionBert) -> dict[Way, Floats]:
        """Score every candidate: (q, c) float32 by way."""
        place = model.match.weight.device
        with torch.inference_mode():
            parts = [model.embed_patches(part.to(place)) for part in torch.from_numpy(self.features).split(AT_ONCE)]
        patches = torch.cat(parts)
        return {
            way: margins(model, self.texts, patches, pairs.reshape(-1, 2)).reshape(pairs.shape[:2])
            for way, pairs in self.pairs.items()
        }


def ranks(scores: Floats) -> NDArray[np.float64]:
    """Return the rank of each row's first score, from 1, with ties at the mean of their ranks.

    >>> ranks(np.array([[2.0, 3.0, 1.0], [2.0, 2.0, 1.0]], np.float32)).tolist()
    [2.0, 1.5]
    """
    own, others = scores[:, :1], scores[:, 1:]
    return 1 + (others > own).sum(axis=1) + 0.5 * (others == own).sum(axis=1)


def draw(pairs: Pairs, features: Halves, pieces: Pieces, *, limit: int, size: tuple[int, int], seed: int) -> Validation:
    """Draw the questions.

    Args:
        pairs: of the validation part.
        features: (i, P, F) of its pictures.
        pieces: of texts.
        limit: pieces of a text.
        size: questions each way, and rivals of each answer; fewer where there are not as many.
        seed: another one, other questions.

    Raises:
        BadData: there is not one rival.
    """
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(pairs))[: size[0]]
    rivals = min(size[1], *(len(_able(pairs, row, way)) for row in rows for way in WAYS))
    if rivals < 1:
        raise BadData("validation has a text that belongs to every picture: it cannot be ranked")
    chosen = {way: np.stack([_question(pairs, row, way, rivals, rng) for row in rows]) for way in WAYS}
    seen, number = np.unique(np.concatenate([each[..., 1].ravel() for each in chosen.values()]), return_inverse=True)
    for way, part in zip(WAYS, np.split(number, len(WAYS)), strict=True):
        chosen[way][..., 1] = part.reshape(chosen[way].shape[:2])
    start, end = pieces.id("[CLS]"), pieces.id("[SEP]")
    texts = [[start, *ids[: limit - 2], end] for ids in pieces.split(pairs.texts)]
    return Validation(texts, features[seen].astype(np.float32), chosen)


def _question(pairs: Pairs, row: int, way: Way, rivals: int, rng: np.random.Generator) -> Rows:
    """Return (1 + rivals, 2): rivals of the answer's sub-category, others where it has too few."""
    text, picture = pairs.rows[row].tolist()
    able = rng.permutation(_able(pairs, row, way))
    alike = pairs.kinds[pairs.rows[able, 1]] == pairs.kinds[picture]
    other = pairs.rows[np.concatenate([able[alike], able[~alike]])[:rivals]]
    fixed = np.full(rivals, text if way == "text_to_image" else picture)
    rival = np.stack([fixed, other[:, 1]] if way == "text_to_image" else [other[:, 0], fixed], axis=1)
    return np.concatenate([[[text, picture]], rival])


def _able(pairs: Pairs, row: int, way: Way) -> Rows:
    """Return the pairs that may be rivals, each picture or text once."""
    text, picture = pairs.rows[row].tolist()
    changing = pairs.rows[:, 1 if way == "text_to_image" else 0]
    _, once = np.unique(changing, return_index=True)
    if way == "text_to_image":
        wrong = [number for number in once if int(changing[number]) not in pairs.right[text]]
    else:
        wrong = [number for number in once if picture not in pairs.right[int(changing[number])]]
    return np.array(wrong, np.int64)
