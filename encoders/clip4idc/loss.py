"""The loss of stage one: sentences and pairs of pictures that belong together, both ways.

Guo et al. 2022, arXiv:2206.00629, section 3.2: the mean of the cross entropies along rows (sentence to pair) and
columns (pair to sentence) of ``exp(scale) cos(g_i, v_j)``, as in CLIP (Radford et al. 2021, figure 3).
Deviates: pairs that a sentence is known to describe too do not compete with its own. Sentences about changes come from
few templates, and a pair has several of them, so that a batch often holds a right answer twice.
Legend: B rows of all ranks together.
"""

from torch import Tensor

from quiver.encoders._contrast import Scores, softmax


def contrast(logits_BB: Tensor, *, known: Tensor) -> Tensor:
    """Return the loss in nats, a scalar.

    Args:
        logits_BB: row i of sentence i, column j of pair j.
        known: (B, B) bool, True where pair j does not compete for sentence i; the diagonal is right whatever it says.
    """
    return softmax(Scores(logits_BB, logits_BB.T, known, known.T, 0))
