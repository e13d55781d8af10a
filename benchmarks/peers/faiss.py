"""FAISS, called directly: flat, HNSW, inverted lists, and 4-bit product quantisation with exact rescoring."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from quiver.benchmarks.peers import Allowed, Given, Knobs, Shape, Variant, lists, powers
from quiver.types import Floats, Rows

PACKAGES = ("faiss-gpu", "faiss-cpu")
_TRAIN = 128  # training vectors per list


def variants(shape: Shape) -> tuple[Variant, ...]:
    """Return four indexes; HNSW uses FAISS's defaults (32 links, efConstruction 40)."""
    nlist = lists(shape.rows)
    probes = powers(2, nlist // 8)
    # Codes are scanned so fast that fewer lists are better: at 0.95 of sift100k 256 take half the time of 1,264.
    few = lists(shape.rows // 16)
    codes = f"IVF{few},PQ{_parts(shape.dim)}x4fs,RFlat"
    return (
        Variant("Flat", {"factory": "Flat"}, exact=True),
        Variant("HNSW32", {"factory": "HNSW32"}, tuple({"ef": ef} for ef in powers(16, 512))),
        Variant("IVF,Flat", {"factory": f"IVF{nlist},Flat"}, tuple({"nprobe": each} for each in probes)),
        Variant(
            "IVF,PQfs,RFlat",
            {"factory": codes},
            tuple({"nprobe": n, "refine": r} for n, r in product(powers(2, few // 4), (4, 8, 16))),
        ),
    )


def _parts(dim: int) -> int:
    """Return the number of PQ codes per vector: two dimensions per code for short vectors, else four."""
    size = 2 if dim <= 128 else 4
    return next(dim // each for each in (size, 2, 1) if dim % each == 0)


def build(given: Given, variant: Variant) -> None:
    """Train, add and write the index."""
    import faiss

    shape, factory = given.shape, variant.options["factory"]
    faiss.omp_set_num_threads(shape.threads)
    metric = faiss.METRIC_L2 if shape.metric == "l2" else faiss.METRIC_INNER_PRODUCT
    index = faiss.index_factory(shape.dim, factory, metric)
    if not index.is_trained:
        size = min(shape.rows, _TRAIN * int(factory.split(",")[0].removeprefix("IVF")))
        index.train(given.vectors[np.sort(np.random.default_rng(0).choice(shape.rows, size, replace=False))])
    for at in range(0, shape.rows, 1 << 16):
        index.add(np.ascontiguousarray(given.vectors[at : at + (1 << 16)]))
    faiss.write_index(index, str(given.folder / "index.faiss"))


def open(folder: Path, variant: Variant, shape: Shape) -> "Faiss":
    """Read the file."""
    import faiss

    return Faiss(faiss.read_index(str(folder / "index.faiss")), shape, exact=variant.exact)


class Faiss:
    """A FAISS index; an approximate one runs a single query on one thread, which is faster."""

    def __init__(self, index: Any, shape: Shape, *, exact: bool) -> None:
        self.index = index
        self.threads = shape.threads
        self.exact = exact
        self.knobs: Knobs = {}

    def tune(self, knobs: Knobs) -> None:
        """Set nprobe, ef or refine."""
        self.knobs = knobs

    def search(self, queries: Floats, k: int) -> Rows:
        """Search."""
        return self._ask(queries, k, None)

    def narrowed(self, queries: Floats, k: int, allowed: Allowed) -> Rows:
        """Search with a bitmap of row numbers; building the bitmap is part of the search."""
        mask = np.zeros(self.index.ntotal, bool)
        mask[allowed.rows] = True
        return self._ask(queries, k, _library().IDSelectorBitmap(np.packbits(mask, bitorder="little")))

    def _ask(self, queries: Floats, k: int, selector: Any) -> Rows:
        import faiss

        faiss.omp_set_num_threads(self.threads if self.exact or len(queries) > 1 else 1)
        params = parameters(self.index, self.knobs, selector)
        return np.asarray(self.index.search(queries, k, params=params)[1], np.int64)


def _library() -> Any:
    import faiss

    return faiss


def parameters(index: Any, knobs: Knobs, selector: Any = None) -> Any:
    """Return FAISS's search parameters of an index and of the index that it refines."""
    faiss = _library()
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexRefine):
        inner = parameters(index.base_index, knobs, selector)
        return faiss.IndexRefineSearchParameters(k_factor=knobs["refine"], base_index_params=inner)
    if isinstance(index, faiss.IndexIVF):
        return faiss.SearchParametersIVF(nprobe=knobs["nprobe"], sel=selector)
    if isinstance(index, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(efSearch=knobs["ef"], sel=selector)
    return None if selector is None else faiss.SearchParameters(sel=selector)
