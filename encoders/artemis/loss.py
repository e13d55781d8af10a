"""Training losses: pure functions of scores and vectors.

Batch classification: ARTEMIS and TIRG (see ``composer``); soft triplets: TIRG (google/tirg, Apache-2.0) and CIRPLANT.
Deviates: the triplet loss has its true gradient. The hand-written ones of both references leave out the 2 of
grad ||x - y||^2, so a step of ours is two of theirs at the same rate.

Legend: B queries, N targets, A anchors, M vectors, T triplets, D width.
"""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, softplus

from quiver.encoders._train.rank import over_ranks
from quiver.encoders.artemis.score import EPS, Terms, norm2


def classification(score_BN: Tensor, scale: Tensor | float, *, first: int = 0, same_BN: Tensor | None = None) -> Tensor:
    """Classify each query's target among all: the mean cross-entropy of the rows of ``scale * score``.

    Args:
        score_BN: target ``first + i`` belongs to query i.
        scale: exp(temperature).
        first: place of the first query's target.
        same_BN: True where a target of another query is right too; it does not compete.
    """
    labels = first + torch.arange(len(score_BN), device=score_BN.device)
    logits = score_BN * scale
    if same_BN is not None:
        own = torch.nn.functional.one_hot(labels, score_BN.shape[1]).bool()
        logits = logits.masked_fill(same_BN & ~own, -torch.inf)
    return cross_entropy(logits, labels)


def spread(terms: Terms, target_ND: Tensor) -> Tensor:
    """Measure how unevenly attention meets the targets: the mean over queries and terms of Var log ||a * t||.

    Where it is 0, a single vector ranks exactly as the score does.
    """
    energies = [norm2(term.energy, target_ND) for term in terms.values() if term.energy is not None]
    if not energies:
        return target_ND.new_zeros(())
    logs = torch.stack(energies).clamp_min(EPS**2).log() / 2
    return logs.var(dim=2, correction=0).mean()


def soft_triplet(vector_MD: Tensor, triplet_T3: Tensor) -> Tensor:
    """Return the mean of log(1 + exp(d(anchor, positive) - d(anchor, negative))), d the squared distance.

    On several ranks it is the part of this one: the mean of the parts is the mean over the triplets of all ranks.

    Args:
        vector_MD: what triplets point into.
        triplet_T3: anchor, positive and negative of each.
    """
    anchor, positive, negative = vector_MD[triplet_T3].unbind(dim=1)
    terms_T = softplus((anchor - positive).square().sum(dim=1) - (anchor - negative).square().sum(dim=1))
    return terms_T.sum() / over_ranks(torch.tensor(len(terms_T), device=terms_T.device))


def triplets(positive_AM: Tensor, negative_AM: Tensor) -> Tensor:
    """List every (anchor, positive, negative): (T, 3) int64, by anchor; anchor i is vector i.

    Args:
        positive_AM: True where vector j is right for anchor i.
        negative_AM: True where it is wrong; one that is neither does not take part.
    """
    pair_P2 = positive_AM.nonzero()
    place_T2 = negative_AM[pair_P2[:, 0]].nonzero()
    return torch.cat([pair_P2[place_T2[:, 0]], place_T2[:, 1:]], dim=1)


def draw(triplet_T3: Tensor, each: int) -> Tensor:
    """Keep ``each`` triplets of every anchor, at random; all of them where an anchor has fewer."""
    shuffled = triplet_T3[torch.randperm(len(triplet_T3), device=triplet_T3.device)]
    ordered = shuffled[shuffled[:, 0].argsort(stable=True)]
    counts = ordered[:, 0].bincount()
    starts = (counts.cumsum(0) - counts)[ordered[:, 0]]
    return ordered[torch.arange(len(ordered), device=ordered.device) - starts < each]


def pairs(count: int, *, both: bool, same_BB: Tensor | None, device: torch.device) -> tuple[Tensor, Tensor]:
    """Say which of the vectors [B queries; B targets] are right and wrong for each anchor.

    Args:
        count: B.
        both: targets are anchors too (TIRG), or queries only (CIRPLANT).
        same_BB: True where another query's target is right too: neither it nor that query is a negative.
        device: of the answer.

    Returns:
        Two bool tensors (A, 2 B).
    """
    own = torch.eye(count, dtype=torch.bool, device=device)
    alike = own if same_BB is None else same_BB | same_BB.T | own
    none = torch.zeros_like(own)
    positive = torch.cat([torch.cat([none, own], dim=1), torch.cat([own, none], dim=1)])
    negative = ~alike.repeat(2, 2)
    anchors = 2 * count if both else count
    return positive[:anchors], negative[:anchors]


def with_members(positive_AM: Tensor, negative_AM: Tensor, label_BE: Tensor) -> tuple[Tensor, Tensor]:
    """Add the pictures of each query's set to what ``pairs`` says, as vectors after all others, query by query.

    Args:
        positive_AM: of ``pairs``.
        negative_AM: likewise.
        label_BE: 1 where a picture is right for its query, -1 where it is wrong; it is neither for other queries.

    Returns:
        Two bool tensors (A, M + B E).
    """
    count, each = label_BE.shape
    own = torch.eye(count, dtype=torch.bool, device=label_BE.device).repeat_interleave(each, dim=1)
    idle = own.new_zeros(len(positive_AM) - count, count * each)  # anchors that are targets
    right, wrong = (torch.cat([own & (label_BE == sign).flatten(), idle]) for sign in (1, -1))
    return torch.cat([positive_AM, right], dim=1), torch.cat([negative_AM, wrong], dim=1)
