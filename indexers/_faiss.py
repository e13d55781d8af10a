"""Access to the FAISS library: its module, the parts of its indexes, search parameters, filters and threads."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quiver.errors import MissingExtra
from quiver.types import Floats, Rows

if TYPE_CHECKING:
    from quiver.indexers.faiss import Params

MANY = 32  # queries from which several threads pay off


def library() -> Any:
    """Return the module.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise MissingExtra("faiss-cpu") from error
    return faiss


def first(error: Exception) -> str:
    """Return the message of a FAISS error, without its source location."""
    return re.sub(r"^Error in .*? at \S+:\d+: (Error: )?", "", str(error)).split("\n")[0]


def parts(index: Any) -> list[Any]:
    """Return an index and those it wraps, outermost first."""
    found = [library().downcast_index(index)]
    for name in ("index", "base_index"):  # PreTransform and Refine
        if hasattr(found[0], name):
            found += parts(getattr(found[0], name))
    return found


def plain(data: Floats) -> Floats:
    """Return rows as the library reads them."""
    return np.ascontiguousarray(data, np.float32)


def sample(n: int, size: int) -> Rows:
    """Return positions to train on, (size,) or fewer, ascending and always alike."""
    return np.arange(n) if n <= size else np.sort(np.random.default_rng(0).choice(n, size, replace=False))


def scorer(index: Any) -> str:
    """Return the library's name of the type that scores, below transformations of vectors."""
    faiss = library()
    while isinstance(index := faiss.downcast_index(index), faiss.IndexPreTransform):
        index = index.index
    return type(index).__name__


def knobs(index: Any, params: "Params", selector: Any) -> Any:
    """Return the search parameters of an index and of those it wraps; None where there is nothing to say."""
    faiss = library()
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        return faiss.SearchParametersPreTransform(index_params=knobs(index.index, params, selector))
    if isinstance(index, faiss.IndexRefine):
        inner = knobs(index.base_index, params, selector)
        return faiss.IndexRefineSearchParameters(k_factor=params.refine, base_index_params=inner)
    if isinstance(index, faiss.IndexIVF):
        make = faiss.IVFPQSearchParameters if isinstance(index, faiss.IndexIVFPQ) else faiss.SearchParametersIVF
        return make(nprobe=params.nprobe, sel=selector)
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(efSearch=params.ef, sel=selector)
    return None if selector is None else faiss.SearchParameters(sel=selector)


@contextmanager
def threads(count: int | None, queries: int) -> Iterator[None]:
    """Search with a number of threads; by default one, or all for a large batch."""
    faiss = library()
    before = faiss.omp_get_max_threads()
    chosen = count or (before if queries >= MANY else 1)
    faiss.omp_set_num_threads(chosen)  # holds for the calling thread only
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


@dataclass(frozen=True, eq=False)
class Chosen:
    """Rows that may be found.

    Attributes:
        positions: positions in the index.
        count: number of rows of the index.
    """

    positions: Rows
    count: int

    @property
    def nbytes(self) -> int:
        """Bytes of its positions and its mask."""
        return self.positions.nbytes + self.count

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """(n,) whether each position may be found."""
        mask = np.zeros(self.count, bool)
        mask[self.positions] = True
        return mask

    @cached_property
    def selector(self) -> Any:
        """The same for the library, which only reads it."""
        return library().IDSelectorBitmap(np.packbits(self.mask, bitorder="little"))
