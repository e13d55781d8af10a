"""Masking for training: whole words of a text, patches of a picture.

Reference: alibaba/EasyTransfer, ``pretrain_preprocessor`` and ``fashion_bert``, Apache-2.0 (numbers, no code).
Shapes: B pairs, L word pieces, P patches, W words of the longest text.
Deviates: patches are drawn without replacement and zeroed by a boolean mask (the reference multiplies by -1 what
is drawn twice); a random piece is never a special one, since padding is known by its id.
"""

import numpy as np
from numpy.typing import NDArray

from quiver.encoders._pieces import Pieces
from quiver.types import Rows

Flags = NDArray[np.bool_]


def mask_words(
    text_BL: Rows, pieces: Pieces, rng: np.random.Generator, *, rate: float = 0.15, most: int = 10, whole: bool = True
) -> tuple[Rows, Flags]:
    """Hide words.

    A text of n pieces, [CLS] and [SEP] counted, has a budget of min(most, max(1, round(rate n))) pieces. Its words
    come in random order; one that does not fit into what is left is passed over. Of the pieces chosen 80 % become
    [MASK], 10 % a random piece, 10 % stay, each drawn for itself.

    Args:
        text_BL: padded ids, left as they are.
        pieces: which ids are special, and which continue a word.
        rng: drawn from in the same way whatever the texts.
        rate: share of pieces.
        most: pieces of one text, at most.
        whole: hide words whole; False treats every piece as a word.

    Returns:
        ids with words hidden (B, L), and which pieces are to be guessed (B, L).
    """
    word_BL = _words(text_BL, pieces, whole)
    length_B = (text_BL != pieces.id("[PAD]")).sum(axis=1)
    budget_B = np.minimum(most, np.maximum(1, np.rint(rate * length_B))).astype(np.int64)
    picked_BL = _pick(word_BL, budget_B, rng)
    return _corrupt(text_BL, picked_BL, pieces, rng), picked_BL


def mask_patches(batch: int, patches: int, rng: np.random.Generator, *, rate: float = 0.1) -> Flags:
    """Choose round(rate P) different patches of each of B pictures: (B, P), True where hidden.

    The released data has 5 of 64, which is rate=0.08.
    """
    order_BP = rng.random((batch, patches)).argsort(axis=1).argsort(axis=1)
    return order_BP < round(rate * patches)


def _words(text_BL: Rows, pieces: Pieces, whole: bool) -> Rows:
    """Number the words of each text from 0; -1 where a special piece stands."""
    special_BL = pieces.special[text_BL]
    starts_BL = ~special_BL & ~(pieces.continues[text_BL] & whole)
    # Only a text cut by hand begins with a continuation; it counts as the first word.
    return np.where(special_BL, -1, np.maximum(starts_BL.cumsum(axis=1) - 1, 0))


def _pick(word_BL: Rows, budget_B: Rows, rng: np.random.Generator) -> Flags:
    """Choose words in random order as long as they fit: (B, L)."""
    batch, longest = word_BL.shape
    rows_B = np.arange(batch)
    sizes_BW = np.zeros((batch, longest), np.int64)
    np.add.at(sizes_BW, (np.nonzero(word_BL >= 0)[0], word_BL[word_BL >= 0]), 1)
    chosen_BW = np.zeros((batch, longest), bool)
    left_B = budget_B.copy()
    for word_B in rng.random((batch, longest)).argsort(axis=1).T:
        size_B = sizes_BW[rows_B, word_B]
        fits_B = (size_B > 0) & (size_B <= left_B)
        chosen_BW[rows_B, word_B] = fits_B
        left_B -= size_B * fits_B
    return np.take_along_axis(chosen_BW, np.maximum(word_BL, 0), axis=1) & (word_BL >= 0)


def _corrupt(text_BL: Rows, picked_BL: Flags, pieces: Pieces, rng: np.random.Generator) -> Rows:
    draw_BL = rng.random(text_BL.shape)
    ordinary = np.flatnonzero(~pieces.special)
    random_BL = ordinary[rng.integers(len(ordinary), size=text_BL.shape)]
    replaced_BL = np.where(draw_BL < 0.8, pieces.id("[MASK]"), np.where(draw_BL < 0.9, random_BL, text_BL))
    return np.where(picked_BL, replaced_BL, text_BL)
