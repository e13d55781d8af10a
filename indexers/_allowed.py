"""Rows of the compact copy that a filter leaves, and their codes side by side.

Faiss tests each row of a copy against a filter, one after the other, which costs more than it saves: a tenth of
100,000 x 128 takes five times as long as the same codes gathered, a quarter three times (one thread, k = 10). Gathering
costs about as much as one such search. So few rows are gathered at once, more of them when the same filter comes again.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quiver.types import Rows

_AT_ONCE, _AGAIN = 1 / 8, 1 / 2  # shares of the copy, up to which rows are gathered


@dataclass(eq=False)
class Allowed:
    """Rows of the copy that may be found.

    Attributes:
        places: (m,) where they stand in the copy, ascending.
        total: rows of the copy.
        width: bytes of a row.
        searches: searches with this filter so far.
        parts: what ``_lone`` has made of the gathered codes, by number of threads.
    """

    places: Rows
    total: int
    width: int
    searches: int = 0
    parts: dict[int, Any] = field(default_factory=dict)
    _codes: NDArray[np.uint8] | None = None

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """(n,) bool, which rows of the copy may be found."""
        mask = np.zeros(self.total, bool)
        mask[self.places] = True
        return mask

    @property
    def nbytes(self) -> int:
        """Bytes that this may come to take."""
        gathered = len(self.places) * self.width if len(self.places) <= _AGAIN * self.total else 0
        return self.places.nbytes + self.total + gathered

    def gathered(self, codes: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """Return the codes of these rows alone, (m, width), if that is the faster way; given those of all rows."""
        self.searches += 1
        most = _AT_ONCE if self.searches == 1 else _AGAIN
        if self._codes is None and len(self.places) <= most * self.total:
            self._codes = codes.take(self.places, axis=0)
        return self._codes
