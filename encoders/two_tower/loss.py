"""Contrast of questions and answers: the symmetric softmax of CLIP, or the sigmoid of SigLIP.

Radford et al. 2021, arXiv:2103.00020, figure 3: mean of the cross entropies along rows and along columns of
``exp(s) q a'``. Zhai et al. 2023, arXiv:2303.15343, equation 1: every pair of the batch is a yes-or-no question,
``-1/B sum_ij log sigmoid(z_ij (exp(s) q_i a_j + b))``, z = 1 on the diagonal and -1 elsewhere.
Ours: pairs that are known to belong together, or not to compete, are left out of the negatives. CLIP's and
SigLIP's own web data does not tell.
Shapes: B pairs, of all ranks together, D width of the space.
"""

import torch
from torch import Tensor
from torch.nn import functional


def infonce(logits: Tensor, *, known: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the mean of both directions' cross entropies, in nats.

    Args:
        logits: (B, B), row i of question i, column j of answer j.
        known: (B, B) bool, pairs that are no negatives; the diagonal is positive whatever it says.
        smoothing: share of each target that is spread evenly over what competes, the positive included.
    """
    kept = ~known | torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    hidden = logits.float().masked_fill(~kept, -torch.inf)
    return (_entropy(hidden, kept, smoothing) + _entropy(hidden.T, kept.T, smoothing)) / 2


def _entropy(logits: Tensor, kept: Tensor, smoothing: float) -> Tensor:
    logs = functional.log_softmax(logits, dim=1)
    spread = logs.masked_fill(~kept, 0).sum(1) / kept.sum(1)
    return -((1 - smoothing) * logs.diagonal() + smoothing * spread).mean()


def sigmoid(logits: Tensor, *, known: Tensor) -> Tensor:
    """Return the sum over pairs of the binary cross entropy, divided by B, in nats.

    Args:
        logits: (B, B), bias included.
        known: as for ``infonce``.
    """
    positive = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    sign = positive.to(torch.float32) * 2 - 1
    terms = functional.logsigmoid(sign * logits.float()).masked_fill(known & ~positive, 0)
    return -terms.sum() / len(logits)
