"""How good captions of validation pairs are: CIDEr-D of greedy captions against the sentences of each pair.

Where there are changed and unchanged pairs, the geometric mean of both selects the best state. Over both together, and
by their plain mean too, a generator that says of every pair that nothing has changed beats one that tells some changes.
Legend: p pairs, t sentences.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from quiver.encoders._cider import each_cider
from quiver.encoders.clip4idc import speak
from quiver.encoders.clip4idc.caption_data import Told
from quiver.encoders.clip4idc.caption_model import CaptionModel
from quiver.encoders.clip4idc.data import chunked
from quiver.types import Floats, Rows

#: Pairs that are captioned together.
AT_ONCE = 64
#: Weights of the prior that are tried.
PRIORS = (0.0, 0.25, 0.5, 0.75, 1.0)


def figures(model: CaptionModel, told: Told, rows: Rows) -> dict[str, float]:
    """Caption pairs greedily.

    Args:
        model: in eval mode.
        told: the validation part.
        rows: of the pairs that are captioned.

    Returns:
        ``balanced``, which selects: the geometric mean of CIDEr-D of changed and of unchanged pairs, if there are both;
        ``cider``, that of all; and ``different``, the number of different captions as a share of all.
    """
    references = [told.references(row) for row in rows]
    return measured(captions(model, told, rows), references, told.changed[rows])


def measured(said: Sequence[str], references: Sequence[Sequence[str]], changed: NDArray[np.bool_]) -> dict[str, float]:
    """Return the figures of captions; see ``figures``.

    Args:
        said: the caption of each of n pairs.
        references: the sentences of each.
        changed: (n,) bool.
    """
    each = each_cider(said, references)
    found = {"cider": float(each.mean()), "different": len(set(said)) / len(said)}
    if changed.all() or not changed.any():
        return found
    return {"balanced": float(np.sqrt(each[changed].mean() * each[~changed].mean())), **found}


@torch.inference_mode()
def captions(model: CaptionModel, told: Told, rows: Rows) -> list[str]:
    """Return a greedy caption of each pair."""
    found = []
    for part in chunked(len(rows), AT_ONCE):
        memory = model.memory(_pictures(model, told, rows[part]))
        found += [model.text(each) for each in speak.greedy(model.writer, memory, most=model.most)]
    return found


@torch.inference_mode()
def likelihoods(model: CaptionModel, told: Told, rows: Rows, texts: Sequence[int]) -> Floats:
    """Return the mean log probability per word of each sentence after each pair, (p, t)."""
    ids = torch.from_numpy(told.ids[list(texts)]).to(model.mean.device)
    out = np.empty((len(rows), len(texts)), np.float32)
    for place, row in enumerate(rows):
        state = model.writer.start(model.memory(_pictures(model, told, np.array([row]))))
        for part in chunked(len(ids), 4 * AT_ONCE):
            some = ids[part]
            same = {name: each.expand(len(some), *each.shape[1:]) for name, each in state.items()}
            out[place, part] = model.likelihood(same, some).cpu().numpy()
    return out


def best_prior(model: CaptionModel, told: Told, rows: Rows) -> float:
    """Return the weight of the prior by which the sentences of pairs rank best: by mean reciprocal rank."""
    texts = sorted({int(text) for row in rows for text in told.texts[row]})
    place = {text: number for number, text in enumerate(texts)}
    scores = likelihoods(model, told, rows, texts)
    ids = torch.from_numpy(told.ids[texts]).to(model.mean.device)
    prior = torch.cat([model.prior(ids[part]) for part in chunked(len(ids), AT_ONCE)]).cpu().numpy()
    found = {}
    for weight in PRIORS:
        reciprocal = 0.0
        for own, row in zip(scores - np.float32(weight) * prior, rows, strict=True):
            right = [place[int(text)] for text in told.texts[row]]
            reciprocal += 1 / (1 + int((np.delete(own, right) >= own[right].max()).sum()))
        found[weight] = reciprocal / len(rows)
    return max(found, key=lambda weight: found[weight])


def _pictures(model: CaptionModel, told: Told, rows: Rows) -> torch.Tensor:
    return told.pictures(told.captions.pairs[told.pairs[rows], :2]).to(model.mean.device)
