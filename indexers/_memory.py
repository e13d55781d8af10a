"""Memory estimate of an index before it is built."""

from dataclasses import dataclass
from typing import Any, NamedTuple

#: Vectors that k-means looks at, per centroid: FAISS draws so many of those it is given.
PER_CENTROID = 256
#: Blocks of inverted lists that were outgrown are used again, but for this share.
_LOST = 0.2
#: Bytes of a row in a direct map, as its number, and as the lock and level of a graph's node.
_MAPPED, _NUMBERED, _NODE = 8, 8, 20


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of an index in bytes.

    Attributes:
        held: after the build.
        build: peak during the build, including ``held`` and without the vectors themselves.
    """

    held: int
    build: int


class _Parts(NamedTuple):
    """Bytes of an index: of a row in arrays that grow as one, of a row in inverted lists, and whatever the rows."""

    grown: int
    listed: int
    fixed: int

    def plus(self, other: "_Parts") -> "_Parts":
        return _Parts(*(a + b for a, b in zip(self, other, strict=True)))


def needed(faiss: Any, index: Any, n: int, *, train: int, chunk: int, copies: int) -> Memory:
    """Estimate the memory of an empty index after n vectors are added.

    Args:
        faiss: the library.
        index: of it.
        n: number of vectors to add.
        train: number of training vectors.
        chunk: number of vectors added at a time.
        copies: of the vectors it is trained on, made before it sees them.
    """
    parts = _parts(faiss, index)
    held = n * (parts.grown + parts.listed) + parts.fixed
    # An array doubles when it is full; old and new are there while it is copied.
    before = chunk << max(0, ((n - 1) // chunk).bit_length() - 1) if n > chunk else 0
    adding = held + before * parts.grown + int(_LOST * n * parts.listed)
    sample = min(n, train)
    lists = faiss.try_extract_index_ivf(index)
    seen = min(sample, PER_CENTROID * lists.nlist) if lists is not None else sample
    residuals = isinstance(lists, faiss.IndexIVFScalarQuantizer)  # trained on all of them, not on a few
    copied = copies * sample + (seen if seen < sample else 0) + (sample if residuals else 0)
    training = 0 if index.is_trained else copied * index.d * 4
    return Memory(held, max(adding, training + parts.fixed))


def _parts(faiss: Any, index: Any) -> _Parts:
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        matrices = sum(index.chain.at(i).d_in * index.chain.at(i).d_out for i in range(index.chain.size()))
        return _parts(faiss, index.index).plus(_Parts(0, 0, 4 * matrices))
    if isinstance(index, faiss.IndexRefine):
        return _parts(faiss, index.base_index).plus(_parts(faiss, index.refine_index))
    if isinstance(index, faiss.IndexIVF):
        centroids = _parts(faiss, index.quantizer)
        fixed = index.nlist * (centroids.grown + centroids.listed) + centroids.fixed
        return _Parts(0, index.code_size + _NUMBERED + _MAPPED, fixed)
    if isinstance(index, faiss.IndexHNSW):
        links = index.hnsw.nb_neighbors(0) + 2  # the upper levels together make about one more for each row
        return _parts(faiss, index.storage).plus(_Parts(4 * links + _NODE, 0, 0))
    return _Parts(int(index.sa_code_size()), 0, 0)
