"""Contrast of questions and answers: the symmetric softmax of CLIP, or the sigmoid of SigLIP.

Radford et al. 2021, arXiv:2103.00020, figure 3: mean of the cross entropies along rows and along columns of
``exp(s) q a'``. Zhai et al. 2023, arXiv:2303.15343, equation 1: every pair of the batch is a yes-or-no question,
``-1/B sum_ij log sigmoid(z_ij (exp(s) q_i a_j + b))``, z = 1 on the diagonal and -1 elsewhere.
Ours: pairs that are known to belong together, or not to compete, are left out of the negatives. CLIP's and
SigLIP's own web data does not tell.
Shapes: B pairs, of all ranks together, D width of the space.
"""

from torch import Tensor

from quiver.encoders import _contrast


def infonce(logits: Tensor, *, known: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the mean of both directions' cross entropies, in nats.

    Args:
        logits: (B, B), row i of question i, column j of answer j.
        known: (B, B) bool, pairs that are no negatives; the diagonal is positive whatever it says.
        smoothing: share of each target that is spread evenly over what competes, the positive included.
    """
    return _contrast.softmax(_contrast.Scores(logits, logits.T, known, known.T, 0), smoothing=smoothing)


def sigmoid(logits: Tensor, *, known: Tensor) -> Tensor:
    """Return the sum over pairs of the binary cross entropy, divided by B, in nats.

    Args:
        logits: (B, B), bias included.
        known: as for ``infonce``.
    """
    return _contrast.sigmoid(logits, known)
