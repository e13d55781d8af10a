"""What a FAISS index takes in memory, said before it is built."""

from dataclasses import dataclass
from typing import Any

#: Vectors that k-means looks at, per centroid: FAISS draws so many of those it is given.
PER_CENTROID = 256
#: Inverted lists double what they hold when they are full, and hold old and new while they copy.
_SLACK = 1.5
#: Bytes of a row in a direct map, as its number, and as the lock and level of a graph's node.
_MAPPED, _NUMBERED, _NODE = 8, 8, 20


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes an index takes.

    Attributes:
        held: once it is built.
        build: at most while it is built, what is held included, the vectors themselves not.
    """

    held: int
    build: int


def needed(faiss: Any, index: Any, n: int, train: int) -> Memory:
    """Estimate what an index, still empty, takes when it holds n vectors and was trained on ``train`` of them."""
    held = _held(faiss, index, n)
    lists = faiss.try_extract_index_ivf(index)
    sample = min(n, train) * index.d * 4
    trained = 0 if index.is_trained else 2 * sample
    if lists is not None:
        trained += min(n, train, PER_CENTROID * lists.nlist) * index.d * 4
    growing = 0 if lists is None else int((_SLACK - 1) * n * (lists.code_size + _NUMBERED))
    return Memory(held, held + max(trained, growing))


def _held(faiss: Any, index: Any, n: int) -> int:
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        matrices = sum(index.chain.at(i).d_in * index.chain.at(i).d_out for i in range(index.chain.size()))
        return 4 * matrices + _held(faiss, index.index, n)
    if isinstance(index, faiss.IndexRefine):
        return _held(faiss, index.base_index, n) + _held(faiss, index.refine_index, n)
    if isinstance(index, faiss.IndexIVF):
        return n * (index.code_size + _NUMBERED + _MAPPED) + _held(faiss, index.quantizer, index.nlist)
    if isinstance(index, faiss.IndexHNSW):
        links = index.hnsw.nb_neighbors(0) + 2  # the upper levels together make about one more for each row
        return n * (4 * links + _NODE) + _held(faiss, index.storage, n)
    return n * int(index.sa_code_size())
