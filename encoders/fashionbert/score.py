"""Many pairs at once: like lengths together, so that hardly anything is padded.

Shapes: t texts, i pictures, n pairs, P patches, H width of a token.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from quiver.encoders.fashionbert.model import FashionBert
from quiver.errors import BadData
from quiver.types import Floats, Rows


def margins(
    model: FashionBert, texts: Sequence[Sequence[int]], patches_iPH: Tensor, pairs_n2: Rows, *, at_once: int = 16
) -> Floats:
    """Score pairs, in whatever order is cheap; no score depends on the other pairs.

    Args:
        model: on its device; dropout is off while it scores.
        texts: ids of word pieces of t texts, [CLS] and [SEP] included, unpadded.
        patches_iPH: of ``embed_patches``, in any float type, on any device.
        pairs_n2: the text and the picture of each pair.
        at_once: pairs in one pass. On a CPU few are best: what passes between layers then stays in its cache.

    Returns:
        (n,) float32, larger for a better match.

    Raises:
        BadData: a pair names a text or picture that is not there, or a text is empty or too long.
    """
    sizes = np.array([len(text) for text in texts], np.int64)
    _check(sizes, len(patches_iPH), pairs_n2, model.config.max_text)
    out = np.empty(len(pairs_n2), np.float32)
    place = model.match.weight.device
    # Within one length, pairs of one text come one after the other, and a batch of one text embeds it once.
    order = np.lexsort((pairs_n2[:, 0], sizes[pairs_n2[:, 0]]))
    with _scoring(model):
        for rows in _runs(order, sizes[pairs_n2[order, 0]], at_once):
            text, picture = pairs_n2[rows].T
            text = text[:1] if (text == text[0]).all() else text
            ids = torch.tensor(np.array([texts[row] for row in text]), device=place)
            found = patches_iPH[torch.from_numpy(picture).to(patches_iPH.device)].to(place)
            out[rows] = model.score(ids, found).cpu().numpy()
    return out


def _runs(order: Rows, sizes: Rows, at_once: int) -> Iterator[Rows]:
    """Cut sorted pairs into batches of one length."""
    for run in np.split(order, np.flatnonzero(np.diff(sizes)) + 1):
        for start in range(0, len(run), at_once):
            yield run[start : start + at_once]


@contextmanager
def _scoring(model: FashionBert) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)


def _check(sizes: Rows, pictures: int, pairs_n2: Rows, longest: int) -> None:
    if pairs_n2.ndim != 2 or pairs_n2.shape[1] != 2:
        raise BadData(f"pairs must be (n, 2), not {pairs_n2.shape}")
    if len(pairs_n2) and (pairs_n2.min() < 0 or (pairs_n2.max(axis=0) >= (len(sizes), pictures)).any()):
        raise BadData(f"a pair names a text or picture that is not among the {len(sizes)} and {pictures} given")
    if len(bad := np.flatnonzero((sizes < 1) | (sizes > longest))):
        raise BadData(f"text {bad[0]} has {sizes[bad[0]]} pieces; from 1 to {longest} can be scored")
