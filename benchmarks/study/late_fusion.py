"""Late fusion of a picture and words without training on composed questions: a baseline for trained composers.

Own construction: cosines of pictures, plus cosines between the words and the text that a ridge regression predicts for
each picture.

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
        cut: the columns of the features that are used.
        weights: (D, words) and the constant of the regression from a picture's vector to its text's vector.
        amount: weight of the words.
        penalty: ridge penalty of the regression.
    """

    cut: slice
    weights: tuple[Floats, Floats]
    amount: float
    penalty: float

    def scores(self, features: Floats, triplets: Triplets, told: Floats) -> Floats:
        """Score the gallery for every question, (q, g); ``told`` are the vectors of the questions' texts."""
        rows = unit(features[:, self.cut])
        gallery = rows[triplets.gallery]
        named = unit(gallery @ self.weights[0] + self.weights[1])
        return rows[triplets.reference] @ gallery.T + np.float32(self.amount) * (told @ named.T)


def unit(rows: Floats) -> Floats:
    """Normalise rows to length 1."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def ridge(x: Floats, y: Floats, penalty: float) -> tuple[Floats, Floats]:
    """Return weights and constant of the ridge regression from x (n, a) to y (n, b); the constant has no penalty."""
    middle, goal = x.mean(axis=0), y.mean(axis=0)
    centred = (x - middle).astype(np.float64)
    gram = centred.T @ centred + penalty * np.eye(x.shape[1])
    weights = np.linalg.solve(gram, centred.T @ (y - goal)).astype(np.float32)
    return weights, goal - middle @ weights
