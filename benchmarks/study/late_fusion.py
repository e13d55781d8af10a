"""Late fusion of a picture and words without any training on composed questions: what such training has to beat.

Own construction: cosines of pictures, plus those of the words with what a ridge regression names each picture.

Shapes: n pictures, g of them searched, q questions, D features, W features of words.
"""

from dataclasses import dataclass

import numpy as np

from quiver.encoders.artemis.triplet import Triplets
from quiver.types import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Untuned:
    """Late fusion without any training on composed questions.

    Attributes:
        cut: columns of the features that count.
        weights: (D, words) and the constant: from a picture's vector to its text's.
        amount: how much the words count.
        penalty: of the regression.
    """

    cut: slice
    weights: tuple[Floats, Floats]
    amount: float
    penalty: float

    def scores(self, features: Floats, triplets: Triplets, told: Floats) -> Floats:
        """Score the gallery for every question, whose texts have the vectors ``told``: (q, g)."""
        rows = unit(features[:, self.cut])
        gallery = rows[triplets.gallery]
        named = unit(gallery @ self.weights[0] + self.weights[1])
        return rows[triplets.reference] @ gallery.T + np.float32(self.amount) * (told @ named.T)


def unit(rows: Floats) -> Floats:
    """Scale rows to length 1."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def ridge(x: Floats, y: Floats, penalty: float) -> tuple[Floats, Floats]:
    """Return the weights and the constant that take x (n, a) to y (n, b), the constant free of penalty."""
    middle, goal = x.mean(axis=0), y.mean(axis=0)
    centred = (x - middle).astype(np.float64)
    gram = centred.T @ centred + penalty * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, centred.T @ (y - goal)).astype(np.float32)
    return weights, goal - middle @ weights
