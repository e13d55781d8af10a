"""Indexes of the FAISS index factory, in memory.

Filters are honoured whatever the factory. A type that takes selectors is asked with one, and probes more the fewer
rows are allowed; a type that takes none is asked for more and the surplus dropped; a graph asked for few rows, and
anything that came back short, is answered by scoring the stored codes of the allowed rows.

The library sums in an order that depends on the processor and on how many queries come together. So the rows it finds
are scored again by ``_score``, and equal scores are ordered by row number; codes whose own estimate of a distance is
better than the vector they decode to (fast scan, RaBitQ) keep the library's scores.
"""

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from quiver.errors import BadCollection, BadSpec
from quiver.files import sha256, staged
from quiver.indexers import _check
from quiver.indexers._faiss import Chosen, first, knobs, library, parts, plain, sample, scorer, threads
from quiver.indexers._faiss_rank import MOST_EQUAL, SPARE, Found, settle, sort, trimmed
from quiver.indexers._memory import Memory, needed
from quiver.indexers._rows import Recent, RowMap
from quiver.indexers._score import Doubles, prepared
from quiver.indexers._topk import best, lacking, measured, mend, width
from quiver.indexers._tune import Spend, rungs
from quiver.types import Floats, Metric, Rows, Space, Vectors

_TRAIN = 200_000  # vectors, unless told otherwise; more change no centroid that matters and cost minutes
_CHUNK = 1 << 15  # vectors added at a time
_STEP = 8  # rows scored in the time of one step of a graph's walk, as measured: HNSW32, 100,000 x 128, one core
_REFINES = (1, 2, 4, 8, 16, 32)
_ESTIMATES = ("FastScan", "RaBitQ")  # in names of types
_FILES = ("index.faiss", "rows.npy")


@dataclass(frozen=True, slots=True)
class Params:
    """Search parameters; parameters that the index type does not have are ignored.

    Attributes:
        nprobe: inverted lists to search (IVF); filters increase it.
        ef: length of the candidate list (HNSW); filters increase it.
        refine: rescored candidates per hit (a factory that ends in RFlat).
        threads: OpenMP threads of one search; None for one, and for all where many queries come together. Serving
            many queries at once is faster with 1 each.

    Raises:
        BadSpec: a parameter is not positive.
    """

    nprobe: int = 16
    ef: int = 64
    refine: int = 4
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None and value < 1:
                raise BadSpec(f"faiss {name} must be at least 1, not {value}")


def build(
    vectors: Vectors,
    *,
    factory: str = "Flat",
    train: int = _TRAIN,
    nprobe: int = 16,
    ef: int = 64,
    refine: int = 4,
    threads: int | None = None,
) -> "FaissIndex":
    """Train and fill the index of a factory string, on all cores.

    Args:
        vectors: the vectors to search; they are copied, and normalised for cosine.
        factory: as in https://github.com/facebookresearch/faiss/wiki/The-index-factory, such as ``HNSW32`` or
            ``OPQ64,IVF512,PQ64x4fs,RFlat``.
        train: number of training vectors, sampled uniformly with a fixed seed.
        nprobe: see ``Params``, as the others.
        ef: see ``Params``.
        refine: see ``Params``.
        threads: see ``Params``.

    Raises:
        BadSpec: the factory is invalid, does not support the metric, or needs more training vectors.
        BadData: a vector is not finite, or a row number occurs twice.
    """
    params = Params(nprobe, ef, refine, threads)
    _check.lengths(vectors)
    numbers = RowMap.of(vectors.rows)
    index = _make(factory, vectors.space)
    if len(vectors):
        _fill(index, vectors, factory, train)
    return _adopt(index, numbers, vectors.space, factory, params)


def open(path: Path, space: Space) -> "FaissIndex":
    """Open a saved index; files with a wrong checksum are never given to FAISS.

    Raises:
        BadCollection: the folder is missing, damaged, or not a FAISS index of Quiver.
        SpaceMismatch: it holds vectors of another space.
    """
    path = Path(path)
    try:
        held = json.loads((path / "header.json").read_text("utf-8"))
        _check.agree(held, space, path)
        for name in _FILES:
            if sha256(path / name) != held["sha256"][name]:
                raise BadCollection(f"{path / name} is damaged: its checksum is not the one in header.json; rebuild it")
        rows = np.load(path / "rows.npy", allow_pickle=False)
        index = library().read_index(str(path / "index.faiss"))
        return _adopt(index, RowMap.of(rows), space, held["factory"], Params(**held["params"]))
    except (BadSpec, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise BadCollection(f"{path} is not a FAISS index of Quiver: {first(error)}") from error


def memory(space: Space, count: int, *, factory: str = "Flat", train: int = _TRAIN) -> Memory:
    """Estimate the memory of a factory's index for a number of vectors, without building it.

    Raises:
        BadSpec: the factory is invalid, or does not support the metric.
    """
    copies = 2 if space.metric == "cosine" else 1
    return needed(library(), _make(factory, space), count, train=train, chunk=_CHUNK, copies=copies)


def _make(factory: str, space: Space) -> Any:
    faiss = library()
    metric = faiss.METRIC_L2 if space.metric == "l2" else faiss.METRIC_INNER_PRODUCT
    try:
        index = faiss.index_factory(space.dim, factory, metric)
    except RuntimeError as error:
        raise BadSpec(f"faiss cannot make {factory!r} for {space}: {first(error)}") from error
    if index.metric_type != metric:  # HNSW16,PQ16 quietly falls back to L2
        raise BadSpec(f"faiss {factory!r} does not support the metric {space.metric}: choose another factory")
    for part in parts(index):
        if isinstance(part, faiss.IndexLSH):
            raise BadSpec(f"faiss {factory!r} computes Hamming distances, not {space.metric}: choose another factory")
        if hasattr(part, "do_polysemous_training"):  # annealing that only a Hamming pre-filter needs: 20 x slower
            part.do_polysemous_training = False
    return index


def _fill(index: Any, vectors: Vectors, factory: str, train: int) -> None:
    shape: Callable[[Floats], Floats] = _check.unit if vectors.space.metric == "cosine" else plain
    try:
        if not index.is_trained:
            index.train(shape(vectors.data[sample(len(vectors), train)]))
        for start in range(0, len(vectors), _CHUNK):
            index.add(shape(vectors.data[start : start + _CHUNK]))
    except (RuntimeError, AssertionError) as error:  # SWIG asserts, the library throws
        raise BadSpec(f"faiss {factory!r} cannot index these {len(vectors)} vectors: {first(error)}") from error


def _adopt(index: Any, numbers: RowMap, space: Space, factory: str, params: Params) -> "FaissIndex":
    if (index.d, index.ntotal) != (space.dim, len(numbers)):
        raise BadCollection(
            f"faiss {factory!r} has {index.ntotal} vectors of dimension {index.d}, "
            f"not {len(numbers)} of {space.dim}: rebuild it"
        )
    lists = library().try_extract_index_ivf(index)
    if len(numbers):
        try:
            if lists is not None:
                lists.make_direct_map()
            index.reconstruct(0)
        except RuntimeError as error:
            raise BadSpec(
                f"faiss {factory!r} cannot reconstruct vectors, which filters need: choose another factory"
            ) from error
    return FaissIndex(space, numbers, index, factory, params)


@dataclass(frozen=True, eq=False)
class FaissIndex:
    """A FAISS index whose positions stand for row numbers; ``build`` and ``open`` make one.

    Attributes:
        space: the space of its vectors.
        numbers: row numbers by position.
        index: the index of the library.
        factory: the string it was made from.
        params: the search parameters.
    """

    space: Space
    numbers: RowMap
    index: Any
    factory: str
    params: Params
    _chosen: Recent[Chosen] = field(default_factory=Recent, repr=False)

    @property
    def rows(self) -> Rows:
        """(n,) int64 row numbers in the order stored."""
        return self.numbers.rows

    @cached_property
    def nbytes(self) -> int:
        """Bytes that the index takes when written, which is about what it takes in memory, and its row numbers."""
        faiss, total = library(), self.rows.nbytes

        def count(block: bytes) -> int:
            nonlocal total
            total += len(block)
            return len(block)

        faiss.write_index(self.index, faiss.PyCallbackIOWriter(count))
        return total

    def __len__(self) -> int:
        return len(self.numbers)

    def tuned(self, params: Params) -> "FaissIndex":
        """Return the same index, to be searched with other parameters."""
        return replace(self, params=params)

    def ladders(self, k: int) -> list[list[Spend]]:
        """Return settings to try for k hits: ladders from cheap to expensive."""
        if self._graph:
            return [[{"ef": ef} for ef in rungs(max(1024, 4 * k), least=max(8, k))]]
        refines = _REFINES if any(isinstance(part, library().IndexRefine) for part in parts(self.index)) else (1,)
        if not self._lists:
            return [[{"refine": refine} for refine in refines]]
        return [[{"nprobe": n, "refine": r} for n in rungs(self._lists)] for r in refines]

    def search(self, queries: Floats, k: int, *, allow: Rows | None = None) -> tuple[Floats, Rows]:
        """Find the k best rows of each query; see ``quiver.protocols.Index``. Scores are those of the stored codes."""
        asked = _check.asked(queries, self.space, k)
        chosen = None if allow is None else self._chosen.of(allow, self._choose)
        count = len(self) if chosen is None else len(chosen.positions)
        k = min(k, count)
        if not k or not len(asked):
            return np.empty((len(asked), k), np.float32), np.empty((len(asked), k), np.int64)
        if chosen is not None and self._few(k, count):
            return self._compare(asked, k, chosen.positions)
        answer = self._ask(asked, k, chosen, self.params if chosen is None else self._widened(count))
        if self._lists and lacking(answer):
            every = replace(self.params, nprobe=self._lists)
            mend(answer, lambda short: self._ask(asked[short], k, chosen, every))
        if lacking(answer):
            positions = None if chosen is None else chosen.positions
            mend(answer, lambda short: self._compare(asked[short], k, positions))
        return answer

    def _choose(self, allow: Rows) -> Chosen:
        return Chosen(self.numbers.locate(_check.allowed(allow)), len(self))

    def extended(self, vectors: Vectors) -> "FaissIndex":
        """Add vectors, and return the new index; this one must not be used afterwards.

        Raises:
            BadSpec: the library cannot add vectors to this type.
            BadData: a vector is not finite, or a row number occurs twice.
        """
        _check.lengths(vectors)
        numbers = RowMap.of(np.concatenate([self.rows, vectors.rows]))
        if len(vectors):
            _fill(self.index, vectors, self.factory, len(vectors))
        return FaissIndex(self.space, numbers, self.index, self.factory, self.params)

    def save(self, path: Path) -> None:
        """Write a folder: index.faiss, rows.npy, and header.json with their checksums."""
        with staged(Path(path), mark="header.json") as draft:
            draft.mkdir()
            library().write_index(self.index, str(draft / "index.faiss"))
            np.save(draft / "rows.npy", self.rows, allow_pickle=False)
            sums = {name: sha256(draft / name) for name in _FILES}
            details = {"factory": self.factory, "params": asdict(self.params), "sha256": sums}
            (draft / "header.json").write_text(json.dumps(_check.header(self.space, details), indent=1), "utf-8")

    @cached_property
    def _lists(self) -> int:
        """How many inverted lists there are; 0 where there are none."""
        ivf = library().try_extract_index_ivf(self.index)
        return 0 if ivf is None else ivf.nlist

    @cached_property
    def _spent(self) -> Any:
        """What the library is told to spend where there is no filter; making it takes as long as a quick search."""
        return knobs(self.index, self.params, None)

    @cached_property
    def _graph(self) -> bool:
        return isinstance(parts(self.index)[-1], library().IndexHNSW)

    @cached_property
    def _selects(self) -> bool:
        """Whether the library can filter this type; there is no way to know but to try."""
        selector = library().IDSelectorBatch(np.zeros(1, np.int64))
        try:
            self.index.search(
                np.zeros((1, self.space.dim), np.float32), 1, params=knobs(self.index, self.params, selector)
            )
        except RuntimeError:
            return False
        return True

    def _few(self, k: int, count: int) -> bool:
        """Whether scoring so many allowed rows costs no more than looking for them."""
        if not self._selects:  # as many would have to be fetched
            return count * count <= 2 * k * len(self)
        # A filtered walk takes ef / share steps, share being count / n.
        return self._graph and count * count <= _STEP * self.params.ef * len(self)

    def _widened(self, count: int) -> Params:
        """Look at as many allowed rows as a search without a filter looks at rows.

        Growing with the square root of the rarity instead is up to four times faster, but took recall@10 on tight
        clusters from 0.99 to 0.88 (HNSW32 ef 16, a tenth of 20,000 x 64 allowed), where this keeps 0.96.
        """
        nprobe = min(self._lists or 1, -(-self.params.nprobe * len(self) // count))
        return replace(self.params, nprobe=nprobe, ef=-(-self.params.ef * len(self) // count))

    @cached_property
    def _type(self) -> str:
        return scorer(self.index)

    @cached_property
    def _settles(self) -> bool:
        """Whether rows found are scored again, by the vectors that their codes decode to."""
        return not any(name in self._type for name in _ESTIMATES)

    @cached_property
    def _metric(self) -> Metric:
        """How stored codes are scored.

        A code of a unit vector decodes to another length, that of a zero vector to noise: no reason to divide by it.
        """
        if self.space.metric == "cosine" and not re.search(r"Flat(IP|L2)?$", self._type):
            return "dot"
        return self.space.metric

    def _form(self, asked: Floats) -> tuple[Doubles, Floats]:
        """Return queries as they are scored, and as the library takes them."""
        exact = prepared(self.space.metric, asked)
        given = exact.astype(np.float32) if self.space.metric == "cosine" else asked
        return exact if self._metric == self.space.metric else given.astype(np.float64), given

    def _ask(self, asked: Floats, k: int, chosen: Chosen | None, params: Params) -> tuple[Floats, Rows]:
        """Ask the library; whatever it says, nothing that was not chosen comes back."""
        selector = chosen.selector if chosen is not None and self._selects else None
        plain = selector is None and params is self.params
        spent = self._spent if plain else knobs(self.index, params, selector)
        exact, given = self._form(asked)
        spare = SPARE if self._settles else 0
        with threads(params.threads, len(asked)):
            while True:
                take = min(len(self), k + spare)
                if chosen is not None and selector is None:
                    take = min(len(self), 2 * take * len(self) // len(chosen.positions))
                distances, places = self.index.search(given, take, params=spent)
                if chosen is not None:
                    places = np.where(chosen.mask[places], places, -1)  # a place of -1 is the last, and stays -1
                scores = 0 - np.maximum(distances, 0) if self.space.metric == "l2" else distances
                if not spare:
                    return sort(self.rows, scores, places, k)
                found = Found(scores, places)
                enough = found if take == len(self) or spare >= MOST_EQUAL else trimmed(found, k)
                if enough is not None:
                    return settle(self.index, self._metric, exact, self.rows, enough, k)
                spare *= 8

    def _compare(self, asked: Floats, k: int, positions: Rows | None) -> tuple[Floats, Rows]:
        """Score the stored codes of all allowed rows."""
        positions = np.arange(len(self)) if positions is None else positions
        size = min(_CHUNK, width(len(asked)))
        parts = (positions[at : at + size] for at in range(0, len(positions), size))
        tiles = (measured(self.rows[part], self.index.reconstruct_batch(part)) for part in parts)
        return best(self._metric, asked if self._metric == self.space.metric else self._form(asked)[1], tiles, k)
