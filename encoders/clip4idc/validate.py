"""How well sentences find their pairs, and pairs their sentences.

The protocol of the reference: every sentence is a question and all pairs compete (T-IP); every pair is a question, all
groups of sentences compete, one group for each pair, and a group is as near as its best sentence (IP-T).
Deviates: ties count against the right answer (the reference counts a tied rank twice), and what answers too does not
compete: sentences from templates are often true of several pairs.
Legend: s sentences, p pairs, t distinct sentences, D width of the space.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quiver.encoders.clip4idc.data import Fetch, chunked
from quiver.encoders.clip4idc.model import Clip4Idc
from quiver.types import Floats, Rows

CUTS = (1, 5, 10)
#: Pairs, or sentences, embedded together.
AT_ONCE = 64


def recalls(model: Clip4Idc, fetch: Fetch) -> dict[str, float]:
    """Rank all pairs for each sentence, and all groups of sentences for each pair.

    Returns:
        ``recall``, the mean of the others; ``R@1``, ``R@5``, ``R@10`` of sentences; ``back_R@1`` and so on of pairs.
    """
    captions = fetch.captions
    texts, pairs = embed(model, fetch)
    used = np.unique(np.concatenate(captions.answers))  # pairs that nothing describes compete, but do not ask
    scores = (texts @ pairs.T).numpy()
    forth = sentence_ranks(scores[captions.ask], captions.answers, captions.known[captions.ask].toarray())
    rows = np.concatenate([np.full(len(each), row) for row, each in enumerate(captions.answers)])
    owner = np.concatenate(captions.answers)
    back = pair_ranks(scores[captions.ask[rows]], owner, captions.right[captions.ask[rows]].toarray())
    assert len(back) == len(used)
    figures = {f"R@{k}": float((forth <= k).mean()) for k in CUTS}
    figures |= {f"back_R@{k}": float((back <= k).mean()) for k in CUTS}
    return {"recall": sum(figures.values()) / len(figures), **figures}


def sentence_ranks(scores_sp: Floats, answers: list[Rows], known_sp: NDArray[np.bool_]) -> Rows:
    """Return the rank (s,), from 1, of the best right pair of each sentence among itself and those that are wrong.

    Args:
        scores_sp: similarities.
        answers: the right pairs of each sentence.
        known_sp: pairs that do not compete, which the right ones are among.
    """
    best = np.array([row[each].max() for row, each in zip(scores_sp, answers, strict=True)])
    wrong = (scores_sp >= best[:, None]) & ~known_sp
    return 1 + wrong.sum(axis=1)


def pair_ranks(scores_sp: Floats, owner: Rows, right_sp: NDArray[np.bool_]) -> Rows:
    """Return the rank, from 1, of the own group of sentences of each pair that has one, in the order of pairs.

    Args:
        scores_sp: similarities.
        owner: (s,) the pair whose group a sentence is in.
        right_sp: the pairs that a sentence describes; a group with a sentence about the asking pair does not compete.
    """
    order = np.argsort(owner, kind="stable")
    pairs, starts = np.unique(owner[order], return_index=True)
    groups = np.maximum.reduceat(scores_sp[order][:, pairs], starts, axis=0)  # (groups, asking pairs)
    true = np.logical_or.reduceat(right_sp[order][:, pairs], starts, axis=0)
    wrong = (groups >= groups.diagonal()) & ~true
    np.fill_diagonal(wrong, val=False)
    return 1 + wrong.sum(axis=0)


@torch.inference_mode()
def embed(model: Clip4Idc, fetch: Fetch) -> tuple[Tensor, Tensor]:
    """Embed all distinct sentences (t, D) and all pairs (p, D); on the CPU."""
    captions = fetch.captions
    texts = _rows(len(captions.texts), lambda rows: model.embed_text(fetch.sentences(rows).to(model.scale.device)))
    pairs = _rows(
        len(captions.pairs),
        lambda rows: model.embed_pair(fetch.pictures(captions.pairs[rows, :2]).to(model.scale.device)),
    )
    return texts, pairs


def _rows(count: int, embed: Callable[[Rows], Tensor]) -> Tensor:
    return torch.cat([embed(np.arange(count)[part]).cpu() for part in chunked(count, AT_ONCE)])
