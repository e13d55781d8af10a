"""What every index is held to. A module enrols by existing; one that approximates declares its recall here."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from quiver import registry
from quiver.errors import BadData, BadSpec, SpaceMismatch
from quiver.protocols import Index
from quiver.types import METRICS, Floats, Metric, Rows, Space, Vectors


class Promise(NamedTuple):
    """The recall@10 a build keeps, filtered or not, and how far its scores may be off, in parts of the largest."""

    recall: float = 1.0
    error: float = 1e-5


PROMISES = {
    "exact device=cpu": Promise(),
    "faiss factory=Flat": Promise(),
    "faiss factory=SQfp16": Promise(0.98, 1e-3),
    "faiss factory=SQ8": Promise(0.95, 0.02),
    "faiss factory=HNSW16": Promise(0.97),
    "faiss factory=HNSW16,SQ8 ef=32": Promise(0.95, 0.02),
    "faiss factory=IVF16,Flat nprobe=4": Promise(0.95),
    "faiss factory=IVF16,SQ8 nprobe=8": Promise(0.95, 0.02),
    "faiss factory=PQ16x4fs,RFlat refine=8": Promise(0.97),
    "faiss factory=IVF16,PQ16x4fs,RFlat refine=8 nprobe=8": Promise(0.97),
    "faiss factory=IVF16,RaBitQ,RFlat refine=8 nprobe=8": Promise(0.92),
    "lance kind=IVF_FLAT partitions=16 nprobe=6": Promise(0.95),
    "lance kind=IVF_RQ partitions=16 nprobe=6": Promise(0.95),
    "lance kind=IVF_SQ partitions=16 nprobe=6": Promise(0.95),
    "lance kind=IVF_HNSW_SQ partitions=4": Promise(0.95),
}
STRANGERS = {name: Promise() for name in registry.names("indexers") if name not in {s.split()[0] for s in PROMISES}}

N, DIM, ASKED = 2000, 32, 16


@dataclass(frozen=True)
class Case:
    """An index, the vectors in it, and queries from the same clusters."""

    index: Any
    vectors: Vectors
    queries: Floats
    promise: Promise
    spec: str

    @cached_property
    def brute(self) -> Any:
        """(q, n) float64 scores of everything."""
        return brute(self.vectors, self.queries)

    def truth(self, allow: Rows | None = None) -> tuple[Floats, Rows]:
        """Every allowed row of each query, best first, by numpy in float64."""
        scores = self.brute.copy()
        if allow is not None:
            scores[:, ~np.isin(self.vectors.rows, allow)] = -np.inf
        order = np.lexsort((np.broadcast_to(self.vectors.rows, scores.shape), -scores))
        count = np.isfinite(scores[0]).sum()
        return np.take_along_axis(scores, order, 1)[:, :count], self.vectors.rows[order][:, :count]


def brute(vectors: Vectors, queries: Floats) -> Any:
    held, asked = vectors.data.astype(np.float64), queries.astype(np.float64)
    if vectors.space.metric == "l2":
        return -((asked[:, None] - held[None]) ** 2).sum(2)
    lengths = np.linalg.norm(asked, axis=1)[:, None] * np.linalg.norm(held, axis=1)
    return asked @ held.T / (np.where(lengths > 0, lengths, 1) if vectors.space.metric == "cosine" else 1)


def make(spec: str, vectors: Vectors) -> Any:
    name, options = registry.split(spec)
    module = registry.module("indexers", name)
    return module.build(vectors, **registry.convert(module.build, options, name=name))


def world(metric: Metric, n: int = N, seed: int = 3) -> tuple[Vectors, Floats]:
    """Clustered vectors under row numbers with gaps, out of order."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(40, DIM))
    rows = rng.permutation(3 * n)[:n].astype(np.int64)
    points = (centres[rng.integers(0, 40, n + ASKED)] + rng.normal(size=(n + ASKED, DIM))).astype(np.float32)
    return Vectors(Space("made", DIM, metric, "c0ffee"), rows, points[:n]), points[n:]


@cache
def case(spec: str, metric: Metric) -> Case:
    vectors, queries = world(metric)
    return Case(make(spec, vectors), vectors, queries, {**PROMISES, **STRANGERS}[spec], spec)


def some(case: Case, count: int) -> Rows:
    return np.sort(np.random.default_rng(count).choice(case.vectors.rows, count, replace=False))


def close(case: Case, scores: Any, wanted: Any) -> bool:
    room = case.promise.error * np.abs(case.brute).max()
    return bool(np.allclose(scores, wanted, rtol=0, atol=room))


def check(case: Case, k: int, allow: Rows | None = None) -> None:
    """Compare one search with brute force."""
    scores, rows = case.index.search(case.queries, k, allow=allow)
    wanted_scores, wanted = case.truth(allow)
    width = min(k, wanted.shape[1])
    assert scores.shape == rows.shape == (len(case.queries), width)
    assert (scores.dtype, rows.dtype) == (np.float32, np.int64)
    assert (rows >= 0).all(), "an index that can look further must not come back short"
    assert all(len(set(line)) == width for line in rows.tolist()), "a row twice"
    assert allow is None or np.isin(rows, allow).all(), "a row that is not allowed"
    assert (np.diff(scores, axis=1) <= 0).all(), "not best first"
    shared = [len(np.intersect1d(a, b)) for a, b in zip(rows, wanted[:, :width], strict=True)]
    assert k < 10 or np.mean(shared) >= case.promise.recall * width, f"recall {np.mean(shared) / max(width, 1):.3f}"
    place = {row: at for at, row in enumerate(case.vectors.rows.tolist())}
    at = np.array([[place[row] for row in line] for line in rows.tolist()], np.int64).reshape(rows.shape)
    true = np.take_along_axis(case.brute, at, 1)
    assert close(case, scores, true), "scores of other vectors"
    if case.promise == Promise():  # other rows only where the scores cannot be told apart
        other = rows != wanted[:, :width]
        assert np.allclose(true[other], wanted_scores[:, :width][other], rtol=1e-6, atol=1e-6)


def finds_the_best(case: Case, folder: Path) -> None:
    for k in (1, 10):
        check(case, k)


def gives_n_hits_where_k_is_more(case: Case, folder: Path) -> None:
    check(case, N + 50)


def finds_allowed_rows_only(case: Case, folder: Path) -> None:
    for count in (0, 1, 7, 60, N // 4, N // 2, N):
        check(case, 10, some(case, count))


def finds_rows_that_are_allowed_by_now(case: Case, folder: Path) -> None:
    allow = some(case, 50)
    allow.flags.writeable = False  # may be remembered
    for _ in range(2):
        check(case, 5, allow)
        check(case, 5, allow[10:])
    other = allow.copy()
    check(case, 5, other)
    other[:] = some(case, 60)[:50]
    check(case, 5, other)
    check(case, 5, allow)


def finds_every_allowed_row_where_k_is_more(case: Case, folder: Path) -> None:
    check(case, 900, some(case, 700))


def ignores_allowed_rows_it_does_not_hold(case: Case, folder: Path) -> None:
    unknown = np.setdiff1d(np.arange(-5, 3 * N + 5), case.vectors.rows)
    check(case, 10, unknown)
    check(case, 10, np.union1d(unknown, some(case, 40)))


def cosine_ignores_query_length(case: Case, folder: Path) -> None:
    if case.index.space.metric == "cosine":
        scores, rows = case.index.search(case.queries, 10)
        for factor in (1e-3, 1e3):
            again, same = case.index.search(case.queries * np.float32(factor), 10)
            assert np.mean(rows == same) > 0.99 and np.allclose(scores, again, atol=1e-4)


def batch_of_one_equals_its_row_in_a_batch(case: Case, folder: Path) -> None:
    scores, rows = case.index.search(case.queries, 10)
    for line in range(0, ASKED, 5):
        one, found = case.index.search(case.queries[line : line + 1], 10)
        assert (found[0] == rows[line]).all()
        if _settles(case):  # to the last bit
            assert (one[0] == scores[line]).all()
        assert np.allclose(one[0], scores[line], rtol=1e-4, atol=1e-4)


def scores_are_the_same_with_a_filter(case: Case, folder: Path) -> None:
    scores, rows = case.index.search(case.queries, 10)
    for line in range(0, ASKED, 5):  # by the rows found, which are few: they are compared one by one
        again, names = case.index.search(case.queries[line : line + 1], 10, allow=np.sort(rows[line]))
        if _settles(case):
            assert (names[0] == rows[line]).all() and (again[0] == scores[line]).all()
        assert set(names[0]) == set(rows[line])


def _settles(case: Case) -> bool:
    return getattr(case.index, "_settles", True)


def leaves_the_queries_as_they_are(case: Case, folder: Path) -> None:
    queries, allow = case.queries.copy(), some(case, 50)
    kept = allow.copy()
    for array in (queries, allow):
        array.flags.writeable = False
    case.index.search(queries, 5)
    case.index.search(queries, 5, allow=allow)
    loose = queries.copy()
    case.index.search(loose, 5)
    assert (loose == case.queries).all() and (allow == kept).all()


def takes_queries_however_they_lie_in_memory(case: Case, folder: Path) -> None:
    wanted = case.index.search(case.queries, 5)[1]
    for array in (np.asfortranarray(case.queries), np.repeat(case.queries, 2, axis=1)[:, ::2]):
        assert (case.index.search(array, 5)[1] == wanted).all()


def takes_no_queries_at_all(case: Case, folder: Path) -> None:
    scores, rows = case.index.search(case.queries[:0], 10)
    assert scores.shape == rows.shape == (0, 10)


def refuses_what_cannot_be_asked(case: Case, folder: Path) -> None:
    broken = case.queries.copy()
    broken[3, 2] = np.nan
    for error, words, queries, k, allow in (
        (SpaceMismatch, str(DIM), case.queries[:, 1:], 10, None),
        (SpaceMismatch, str(DIM), case.queries[0], 10, None),
        (BadData, "query 3", broken, 10, None),
        (BadSpec, "k must be", case.queries, 0, None),
        (BadData, "sorted", case.queries, 10, case.vectors.rows),
    ):
        try:
            case.index.search(queries, k, allow=allow)
        except error as said:
            assert words in str(said), f"{said} does not name the trouble"
        else:
            raise AssertionError(f"{error.__name__} was not raised")


def answers_the_same_when_saved_and_opened(case: Case, folder: Path) -> None:
    module = registry.module("indexers", registry.split(case.spec)[0])
    path = folder / "saved" / "index"
    for _ in range(2):  # the second takes the place of the first
        case.index.save(path)
    assert [entry.name for entry in path.parent.iterdir()] == ["index"]
    again = module.open(path, case.index.space)
    for allow in (None, some(case, N // 2), some(case, 30)):
        before, after = (index.search(case.queries, 10, allow=allow) for index in (case.index, again))
        assert (before[1] == after[1]).all() and np.allclose(before[0], after[0])
    assert (again.rows == case.index.rows).all() and len(again) == N
    for other in (replace(case.index.space, revision="0ther"), replace(case.index.space, dim=DIM * 2)):
        with pytest.raises(SpaceMismatch, match="rebuild"):
            module.open(path, other)


def says_what_it_holds(case: Case, folder: Path) -> None:
    assert isinstance(case.index, Index)
    assert case.index.space == case.vectors.space and len(case.index) == N
    assert case.index.rows.dtype == np.int64 and set(case.index.rows) == set(case.vectors.rows)
    assert case.index.nbytes > N  # a byte a vector is the least any codec here keeps


CONTRACT = [
    finds_the_best,
    gives_n_hits_where_k_is_more,
    finds_allowed_rows_only,
    finds_rows_that_are_allowed_by_now,
    finds_every_allowed_row_where_k_is_more,
    ignores_allowed_rows_it_does_not_hold,
    cosine_ignores_query_length,
    batch_of_one_equals_its_row_in_a_batch,
    leaves_the_queries_as_they_are,
    takes_queries_however_they_lie_in_memory,
    takes_no_queries_at_all,
    refuses_what_cannot_be_asked,
    answers_the_same_when_saved_and_opened,
    says_what_it_holds,
]
clauses = pytest.mark.parametrize("clause", CONTRACT, ids=lambda clause: clause.__name__)
specs = pytest.mark.parametrize("spec", [*PROMISES, *STRANGERS], ids=lambda spec: spec.replace(" ", ":"))
metrics = pytest.mark.parametrize("metric", METRICS)


@metrics
@specs
@clauses
def test_index_keeps_the_contract(
    clause: Callable[[Case, Path], None], spec: str, metric: Metric, tmp_path: Path
) -> None:
    clause(case(spec, metric), tmp_path)


@specs
def test_empty_index_finds_nothing(spec: str, tmp_path: Path) -> None:
    vectors, queries = world("cosine", 0)
    index = make(spec, vectors)
    index.save(tmp_path / "index")
    again = registry.module("indexers", registry.split(spec)[0]).open(tmp_path / "index", vectors.space)
    for empty in (index, again):
        assert len(empty) == 0
        for allow in (None, np.array([1, 2])):
            scores, rows = empty.search(queries, 10, allow=allow)
            assert scores.shape == rows.shape == (ASKED, 0)


@metrics
@specs
def test_stored_array_is_left_as_it_is(spec: str, metric: Metric) -> None:
    vectors, queries = world(metric, 600)
    before = vectors.data.copy()
    vectors.data.flags.writeable = False
    make(spec, vectors).search(queries, 10)
    assert (vectors.data == before).all()


@metrics
@specs
def test_equal_vectors_are_all_found(spec: str, metric: Metric) -> None:
    vectors, queries = world(metric, 600)
    same = vectors.data[100] * 9  # longest, so that the dot product prefers it too
    vectors.data[100:130] = same
    index = make(spec, vectors)
    for asked in (same[None], np.concatenate([same[None], queries]), np.tile(same, (25, 1))):  # alone, and in batches
        scores, rows = index.search(asked, 30)
        assert set(rows[0]) == set(vectors.rows[100:130])
        assert (rows[0] == np.sort(rows[0])).all(), "equal scores go by row number"
        assert np.ptp(scores[0]) == 0


@specs
def test_zero_vectors_score_zero_under_cosine(spec: str) -> None:
    vectors, queries = world("cosine", 600)
    vectors.data[5] = 0
    index = make(spec, vectors)
    scores, rows = index.search(np.concatenate([queries, np.zeros((1, DIM), np.float32)]), 600)
    assert np.isfinite(scores).all() and (np.sort(rows) == np.sort(vectors.rows)).all()
    assert np.allclose(scores[-1], 0, atol=1e-6)
    assert np.allclose(scores[rows == vectors.rows[5]], 0, atol=PROMISES.get(spec, Promise()).error)


@specs
def test_vectors_that_are_not_finite_are_refused_by_row(spec: str) -> None:
    for bad in (np.nan, np.inf, 1e30):
        vectors, _ = world("dot", 100)
        vectors.data[17, 3] = bad
        with pytest.raises(BadData, match=f"row {vectors.rows[17]} "):
            make(spec, vectors)


@specs
def test_row_numbers_that_occur_twice_are_refused(spec: str) -> None:
    vectors, _ = world("dot", 100)
    vectors.rows[40] = vectors.rows[60]
    with pytest.raises(BadData, match=f"row {vectors.rows[60]} occurs twice"):
        make(spec, vectors)


def flip_the_metric(index: Any, queries: Floats, k: int, allow: Rows | None = None) -> tuple[Floats, Rows]:
    scores, rows = index.search(queries, max(N, k), allow=allow)
    return -scores[:, ::-1][:, :k], rows[:, ::-1][:, :k]


def ignore_allow(index: Any, queries: Floats, k: int, allow: Rows | None = None) -> tuple[Floats, Rows]:
    return index.search(queries, k)


def filter_afterwards(index: Any, queries: Floats, k: int, allow: Rows | None = None) -> tuple[Floats, Rows]:
    scores, rows = index.search(queries, k)
    gone = np.zeros(rows.shape, bool) if allow is None else ~np.isin(rows, allow)
    return np.where(gone, -np.inf, scores).astype(np.float32), np.where(gone, -1, rows)


def pad_to_k(index: Any, queries: Floats, k: int, allow: Rows | None = None) -> tuple[Floats, Rows]:
    scores, rows = index.search(queries, k, allow=allow)
    room = ((0, 0), (0, k - rows.shape[1]))
    return np.pad(scores, room, constant_values=-np.inf), np.pad(rows, room, constant_values=-1)


def normalise_in_place(index: Any, queries: Floats, k: int, allow: Rows | None = None) -> tuple[Floats, Rows]:
    if queries.ndim == 2 and queries.flags.writeable:
        queries /= np.linalg.norm(queries, axis=1, keepdims=True) + 1
    return index.search(queries, k, allow=allow)


def scale_by_query_length(index: Any, queries: Floats, k: int, allow: Rows | None = None) -> tuple[Floats, Rows]:
    scores, rows = index.search(queries, k, allow=allow)
    return scores * np.linalg.norm(queries, axis=1, keepdims=True), rows


def forget_the_first_hit(index: Any, queries: Floats, k: int, allow: Rows | None = None) -> tuple[Floats, Rows]:
    scores, rows = index.search(queries, k + 1, allow=allow)
    return scores[:, 1:], rows[:, 1:]


def look_at_the_whole_batch(index: Any, queries: Floats, k: int, allow: Rows | None = None) -> tuple[Floats, Rows]:
    return index.search(queries - queries.mean(axis=0) / 2, k, allow=allow)


def answer_anything(index: Any, queries: Floats, k: int, allow: Rows | None = None) -> tuple[Floats, Rows]:
    return index.search(np.nan_to_num(np.resize(queries, (ASKED, DIM))), max(k, 1))


@pytest.mark.parametrize(
    ("wrong", "clause"),
    [
        (flip_the_metric, finds_the_best),
        (forget_the_first_hit, finds_the_best),
        (ignore_allow, finds_allowed_rows_only),
        (ignore_allow, ignores_allowed_rows_it_does_not_hold),
        (filter_afterwards, finds_allowed_rows_only),
        (pad_to_k, gives_n_hits_where_k_is_more),
        (pad_to_k, finds_every_allowed_row_where_k_is_more),
        (normalise_in_place, leaves_the_queries_as_they_are),
        (scale_by_query_length, cosine_ignores_query_length),
        (look_at_the_whole_batch, batch_of_one_equals_its_row_in_a_batch),
        (answer_anything, refuses_what_cannot_be_asked),
    ],
    ids=lambda part: part.__name__,
)
def test_wrong_index_breaks_the_contract(wrong: Any, clause: Callable[[Case, Path], None], tmp_path: Path) -> None:
    good = case("exact device=cpu", "cosine")
    clause(good, tmp_path)

    def search(queries: Floats, k: int, *, allow: Rows | None = None) -> tuple[Floats, Rows]:
        return wrong(good.index, queries, k, allow)

    with pytest.raises(AssertionError):
        clause(replace(good, index=SimpleNamespace(space=good.index.space, search=search)), tmp_path)
