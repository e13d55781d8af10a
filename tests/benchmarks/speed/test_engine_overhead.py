import numpy as np
import pytest

from quiver.benchmarks.speed import engine_overhead
from quiver.benchmarks.speed.exact import clusters

SPECS = ("exact", "faiss factory=IVF8,Flat nprobe=2")


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    made = clusters(600, dim=16, size=20)
    filled = engine_overhead.fill(tmp_path_factory.mktemp("overhead"), made.base)
    filled.index(SPECS[1])
    return filled, made.queries[:256]


@pytest.mark.parametrize("spec", SPECS)
def test_the_raw_call_finds_what_a_search_finds(collection, spec):
    filled, queries = collection
    scores, rows = engine_overhead.raw(filled, spec, queries[:20])()
    for n, query in enumerate(queries[:20]):
        found = filled.search(vectors={"made": query}, index=spec.split()[0])
        assert [f"made#{row}" for row in rows[n]] == list(found.ids)
        np.testing.assert_allclose([hit.score for hit in found], scores[n], atol=1e-5)


def test_a_line_holds_medians_and_leaves_out_what_was_not_measured(collection):
    filled, queries = collection
    one, many = engine_overhead.measure(filled, "exact", queries, where="price < 100", rounds=2)
    assert (one.queries, many.queries) == engine_overhead.BATCHES and one.raw is one.overhead is None
    assert engine_overhead.table([one]).splitlines()[1].split()[:5] == ["exact", "price", "<", "100", "1"]
    assert engine_overhead.measure(filled, "exact", queries, where=None, rounds=2)[0].overhead is not None
