"""Contrastive losses over the rows of all ranks, of which each rank computes its own.

With r ranks of b rows, a rank compares its b questions with all B = r b answers, and its b answers with all B
questions: two matrices of b x B, where the whole B x B would be r times as large and computed r times over. The mean
of the ranks' losses is the loss of the joined batch, and so is the mean of their gradients (``_train.gathered``).

CLIP's symmetric softmax: Radford et al. 2021, arXiv:2103.00020, figure 3. The sigmoid of SigLIP: Zhai et al. 2023,
arXiv:2303.15343, equation 1.
Shapes: b rows of this rank, B of all ranks, D width of the space.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from torch import Tensor
from torch.nn import functional

from quiver.encoders._train.rank import gathered, own_start
from quiver.types import Rows

#: Rows of questions and numbers of answers to the places (row, column) of those that are no negatives.
Related = Callable[[Rows, Rows], tuple[Rows, Rows]]


class Scores(NamedTuple):
    """Logits of this rank's rows.

    Attributes:
        forth: (b, B), own questions with all answers.
        back: (b, B), own answers with all questions.
        hidden: (b, B) bool, where an answer is no negative of an own question.
        hidden_back: (b, B) bool, where an own answer is no negative of a question.
        first: place of the first own row among all.
    """

    forth: Tensor
    back: Tensor
    hidden: Tensor
    hidden_back: Tensor
    first: int


def scores(ask: Tensor, answer: Tensor, numbers: Tensor, *, scale: Tensor, related: Related) -> Scores:
    """Compare this rank's questions and answers with those of all ranks.

    Args:
        ask: (b, D) of questions.
        answer: (b, D), row i belongs to row i of the questions.
        numbers: (b, 2) int64, which question and which answer each row is.
        scale: () by which products are multiplied.
        related: says which questions and answers belong together, besides those of one row.
    """
    asks, answers, everyone = gathered(ask), gathered(answer), gathered(numbers).cpu().numpy()
    first, count = own_start(len(ask)), len(ask)
    own = slice(first, first + count)
    forth = scale * ask @ answers.T
    hidden = _mask(related(everyone[own, 0], everyone[:, 1]), forth, first)
    if len(asks) == count:
        return Scores(forth, forth.T, hidden, hidden.T, first)
    back = scale * answer @ asks.T
    rows, columns = related(everyone[:, 0], everyone[own, 1])
    return Scores(forth, back, hidden, _mask((columns, rows), back, first), first)


def softmax(found: Scores, *, smoothing: float = 0.0) -> Tensor:
    """Return the mean of both directions' cross entropies over the own rows, in nats.

    Args:
        found: of ``scores``.
        smoothing: share of each target that is spread evenly over what competes, the positive included.
    """
    return (
        entropy(found.forth, found.hidden, first=found.first, smoothing=smoothing)
        + entropy(found.back, found.hidden_back, first=found.first, smoothing=smoothing)
    ) / 2


def entropy(logits: Tensor, hidden: Tensor, *, first: int = 0, smoothing: float = 0.0) -> Tensor:
    """Return the mean cross entropy of rows, in nats.

    Args:
        logits: (b, B); the right column of row i is ``first + i``.
        hidden: (b, B) bool, columns that do not compete; the right one does whatever it says.
        first: column of the first row.
        smoothing: share of each target that is spread evenly over the columns that compete.
    """
    places = torch.arange(len(logits), device=logits.device)
    kept = ~hidden
    kept[places, first + places] = True
    logs = functional.log_softmax(logits.float().masked_fill(~kept, -torch.inf), dim=1)
    right = logs[places, first + places]
    if not smoothing:
        return -right.mean()
    spread = logs.masked_fill(~kept, 0).sum(1) / kept.sum(1)
    return -((1 - smoothing) * right + smoothing * spread).mean()


def sigmoid(logits: Tensor, hidden: Tensor, *, first: int = 0) -> Tensor:
    """Return the sum over pairs of the binary cross entropy, divided by b, in nats.

    Args:
        logits: (b, B), bias included.
        hidden: as for ``entropy``.
        first: likewise.
    """
    places = torch.arange(len(logits), device=logits.device)
    sign = torch.full(logits.shape, -1.0, device=logits.device)
    sign[places, first + places] = 1.0
    left_out = hidden.clone()
    left_out[places, first + places] = False
    terms = functional.logsigmoid(sign * logits.float()).masked_fill(left_out, 0)
    return -terms.sum() / len(logits)


def in_table(known: sparse.csr_array, rows: Rows, columns: Rows) -> tuple[Rows, Rows]:
    """Find the known pairs among some rows and columns of a sparse matrix, without cutting it.

    It takes time for the entries of the rows, not for the b x B places: a row with more entries than there are
    columns is searched for the columns instead.

    Args:
        known: (t, u) bool, with sorted indices.
        rows: (b,) int64.
        columns: (B,) int64.

    Returns:
        Places in ``rows`` and in ``columns`` of all pairs that are known.
    """
    if not known.has_sorted_indices:
        known.sort_indices()
    starts, stops = (known.indptr[rows + shift].astype(np.int64) for shift in (0, 1))
    many = stops - starts > len(columns)
    few = np.flatnonzero(~many)
    counts = (stops - starts)[few]
    owner = np.repeat(few, counts)
    offset = np.arange(len(owner)) - np.repeat(counts.cumsum() - counts, counts)
    wanted = known.indices[starts[owner] + offset]
    order = np.argsort(columns, kind="stable")
    left, right = (np.searchsorted(columns[order], wanted, side) for side in ("left", "right"))
    each = right - left
    places = np.repeat(left, each) + np.arange(each.sum()) - np.repeat(each.cumsum() - each, each)
    found = [(np.repeat(owner, each), order[places])]
    for row in np.flatnonzero(many).tolist():
        held = known.indices[starts[row] : stops[row]]
        at = np.searchsorted(held, columns).clip(max=len(held) - 1)
        (hit,) = np.nonzero(held[at] == columns)
        found.append((np.full(len(hit), row), hit))
    one, other = zip(*found, strict=True)
    return np.concatenate(one), np.concatenate(other)


def _mask(pairs: tuple[Rows, Rows], like: Tensor, first: int) -> Tensor:
    """Return a bool tensor that is True at some places, and False where a row meets its own answer."""
    mask = torch.zeros(like.shape, dtype=torch.bool, device=like.device)
    row, column = (torch.from_numpy(np.ascontiguousarray(each, np.int64)).to(like.device) for each in pairs)
    mask[row, column] = True
    places = torch.arange(len(mask), device=like.device)
    mask[places, first + places] = False
    return mask
