"""Choice model: the likelihood of right answers under weighted scores, by McFadden's conditional logit (1974).

The softmax of a question's weighted scores over its candidates is the modelled probability that each is the answer.
The likelihood uses the scores themselves, so it needs fewer questions than a gain measured in ranks: on 569
names of products, a gain within two standard errors of the reciprocal rank had a likelihood ratio of 157.

Shapes: f kinds of score, q questions, n candidates of each.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quiver.errors import optional

Doubles = NDArray[np.float64]

#: Standard errors that a gain must exceed.
CLEAR = 2
#: Penalty on squared weights (scores have deviation 1): it keeps weights finite if a score is always right.
_RIDGE = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Chances:
    """Scored candidates of questions, with their right answers.

    Attributes:
        scores: (f, q, n), finite.
        there: (q, n) whether there is a candidate.
        right: (q, n) whether the candidate answers its question; every question has at least one.
    """

    scores: Doubles
    there: NDArray[np.bool_]
    right: NDArray[np.bool_]

    def __call__(self, weights: Doubles) -> Doubles:
        """Return (q,) the log probability that a right candidate is chosen, for weights (f,)."""
        with optional():
            from scipy.special import logsumexp

        mixed = np.where(self.there, np.tensordot(weights, self.scores, 1), -np.inf)
        return np.asarray(logsumexp(np.where(self.right, mixed, -np.inf), axis=1) - logsumexp(mixed, axis=1))

    def fit(self, basis: Doubles | None = None) -> Doubles:
        """Return the non-negative weights (f,) with the highest likelihood.

        Args:
            basis: (b, f) vectors whose non-negative sums are allowed as weights; None for all.
        """
        with optional():
            from scipy.optimize import minimize

        basis = np.eye(len(self.scores)) if basis is None else basis
        spread = np.array([np.tensordot(each, self.scores, 1)[self.there].std() or 1.0 for each in basis])

        def cost(scaled: Doubles) -> float:
            return float(_RIDGE * np.square(scaled).sum() - self((scaled / spread) @ basis).mean())

        found = minimize(cost, np.ones(len(basis)), method="L-BFGS-B", bounds=[(0, None)] * len(basis))
        return np.asarray((found.x / spread) @ basis)

    def clearer(self, weights: Doubles, other: Doubles) -> bool:
        """Whether answers are significantly likelier with one set of weights than with another."""
        gain = self(weights) - self(other)
        return bool(gain.mean() > CLEAR * gain.std() / np.sqrt(len(gain)))


def reciprocal(scores: Doubles, right: NDArray[np.bool_]) -> float:
    """Return the mean reciprocal rank of the first right candidate; 0 for questions without one.

    Args:
        scores: (q, n), -inf for no candidate; equal scores stay in order.
        right: (q, n).
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked = np.take_along_axis(right, order, 1)
    return float(np.where(ranked.any(axis=1), 1 / (1 + np.argmax(ranked, axis=1)), 0).mean())
