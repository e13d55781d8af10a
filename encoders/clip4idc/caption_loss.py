"""Losses of the caption generators.

CLIP4IDC (arXiv:2206.00629): mean over words of -log p(word | words before, pair). DUDA (arXiv:1901.02527), for a
changed pair (+) and its distractor (-) of each of B scenes:

    L = (CE+ + CE-) / 2 + a * sum(attention of +) / (2 B) - e * sum over words of H(weights of +) / B

Legend: B sentences, L words, V vocabulary.
"""

from typing import NamedTuple

import torch
from torch import Tensor


def cross_entropy(logp_BLV: Tensor, target_BL: Tensor, counted_BL: Tensor, *, divisor: Tensor | None = None) -> Tensor:
    """Return the mean of -log p over the words that count; 0 if none does.

    Args:
        logp_BLV: log probabilities.
        target_BL: int64 ids of the words that follow.
        counted_BL: False where a target is padding. It is given, not derived from ids: id 0 may be a word.
        divisor: what the sum is divided by instead of the number of words that count here.
    """
    found_BL = logp_BLV.gather(2, target_BL[:, :, None])[:, :, 0]
    divisor = counted_BL.sum().clamp(min=1) if divisor is None else divisor
    return -torch.where(counted_BL, found_BL, 0).sum() / divisor


class Told(NamedTuple):
    """What DUDA said of B pairs.

    Attributes:
        logp: (B, L, V) log probabilities.
        target: (B, L) int64 ids of the words that follow.
        counted: (B, L) bool.
        maps: (B, 2, Y, X) attention.
        weights: (B, L, 3) of before, difference and after.
    """

    logp: Tensor
    target: Tensor
    counted: Tensor
    maps: Tensor
    weights: Tensor


def duda(changed: Told, unchanged: Told | None, *, attention: float = 2.5e-3, entropy: float = 0.0) -> Tensor:
    """Return DUDA's loss.

    Args:
        changed: pairs with a change.
        unchanged: their distractors; without them the words of changed pairs count whole.
        attention: a, the weight of the sum of the attention maps.
        entropy: e, the weight of the entropy of the speaker's weights, which is raised.
    """
    words = cross_entropy(changed.logp, changed.target, changed.counted)
    if unchanged is not None:
        words = (words + cross_entropy(unchanged.logp, unchanged.target, unchanged.counted)) / 2
    size = len(changed.maps)
    return words + attention * changed.maps.sum() / (2 * size) - entropy * spread(changed.weights, changed.counted)


def spread(weights_BL3: Tensor, counted_BL: Tensor) -> Tensor:
    """Return the entropy of the speaker's weights, summed over the words of a sentence, mean over sentences."""
    entropy_BL = -(weights_BL3 * weights_BL3.clamp(min=1e-12).log()).sum(dim=2)
    return (entropy_BL * counted_BL).sum() / len(weights_BL3)
