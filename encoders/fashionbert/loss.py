"""The three losses of FashionBERT: predict masked words, predict masked patches, classify pairs.

Reference: alibaba/EasyTransfer, ``pretrain_loss`` and ``pretrain_main``, Apache-2.0.
Shapes: B pairs, L word pieces, P patches, F features of a patch, V pieces of the vocabulary, N words and M patches
to guess in the whole batch.
Deviates: words and patches are guessed in matching pairs only, unless told otherwise; means have no 1e-5 in their
denominator.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from quiver.encoders._train.rank import over_ranks
from quiver.encoders.fashionbert.model import Output

#: Order of the reference: masked words, text and image alignment, masked patches.
TASKS = ("mlm", "tia", "mpm")


class Batch(NamedTuple):
    """Pairs to learn from.

    Attributes:
        text: (B, L) int64, ids with words hidden.
        words: (B, L) int64, ids as they were.
        picked: (B, L) bool, words to guess.
        patches: (B, P, F) float, features as they were; the model hides them.
        hidden: (B, P) bool, patches to guess.
        match: (B,) int64, 1 where text and picture are of one product, else 0.
    """

    text: Tensor
    words: Tensor
    picked: Tensor
    patches: Tensor
    hidden: Tensor
    match: Tensor


class Losses(NamedTuple):
    """The losses of one batch.

    Attributes:
        values: a scalar for each of TASKS; 0 where there is nothing to guess.
        active: the tasks that had something to learn from.
    """

    values: dict[str, Tensor]
    active: frozenset[str]


def losses(output: Output, batch: Batch, *, matched: bool = True) -> Losses:
    """Return all three.

    Args:
        output: of the model, for ``text``, ``patches``, ``picked`` and ``hidden`` of the batch.
        batch: what was asked.
        matched: learn words and patches from matching pairs only; False is what the reference does.
    """
    word_N, patch_M = (_counts(flags, batch.match, matched) for flags in (batch.picked, batch.hidden))
    values = {
        "mlm": mlm(output.words[word_N], batch.words[batch.picked][word_N]),
        "tia": tia(output.match, batch.match),
        "mpm": mpm(output.patches[patch_M], batch.patches[batch.hidden][patch_M]),
    }
    counts = {"mlm": int(word_N.sum()), "tia": len(batch.match), "mpm": int(patch_M.sum())}
    return Losses(values, frozenset(task for task, count in counts.items() if count))


def mlm(logits_NV: Tensor, words_N: Tensor) -> Tensor:
    """Mean over hidden words of -log P(word | the other words, the picture); 0 for none."""
    total = functional.cross_entropy(logits_NV.float(), words_N, reduction="sum")
    return total / _everywhere(total, len(words_N))


def mpm(logits_MF: Tensor, features_MF: Tensor) -> Tensor:
    """Mean over hidden patches of KL(softmax(feature) || softmax(guess)), temperature 1; 0 for none.

    The printed formula has prediction and target the other way round; this is the direction of the code.
    """
    guess, target = (functional.log_softmax(x.float(), dim=-1) for x in (logits_MF, features_MF))
    return functional.kl_div(guess, target, reduction="sum", log_target=True) / _everywhere(guess, len(guess))


def tia(logits_B2: Tensor, match_B: Tensor) -> Tensor:
    """Mean over pairs of -log P(match or not)."""
    return functional.cross_entropy(logits_B2.float(), match_B)


def _everywhere(like: Tensor, count: int) -> Tensor:
    """Return the mean over ranks of a count: then the mean of the ranks' losses is that of all words or patches."""
    return over_ranks(torch.tensor(count, device=like.device)).clamp(min=1e-9)


def _counts(flags: Tensor, match_B: Tensor, matched: bool) -> Tensor:
    """Say of every True of flags (B, ...) whether its pair counts."""
    rows = flags.nonzero()[:, 0]
    keep = match_B[rows] == 1
    return keep if matched else keep.new_ones(len(rows))
