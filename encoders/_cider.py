"""CIDEr-D of generated captions, the figure by which trained caption generators are selected.

Library: pycocoevalcap, the code of coco-caption (BSD), which calls it CIDEr.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from quiver.errors import optional

_WORD = re.compile(r"[^\W_]+")


def plain(text: str) -> str:
    """Lower-case a text and keep letters and digits, of any script.

    >>> plain("A hand-held U.S. flag; it's (red/white)")
    'a hand held u s flag it s red white'
    """
    return " ".join(_WORD.findall(text.lower()))


def cider(captions: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return CIDEr-D, from 0 to 10, of one caption per thing against its references.

    Raises:
        MissingExtra: pycocoevalcap is not installed.
    """
    return float(each_cider(captions, references).mean())


def each_cider(captions: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """Return CIDEr-D of each caption, (n,), with n-gram weights of all references.

    Raises:
        MissingExtra: pycocoevalcap is not installed.
    """
    with optional():
        from pycocoevalcap.cider.cider import Cider
    wanted = {place: [plain(text) for text in own] for place, own in enumerate(references)}
    given = {place: [plain(text)] for place, text in enumerate(captions)}
    return np.asarray(Cider().compute_score(wanted, given)[1], np.float64)
