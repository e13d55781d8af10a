"""Stages run in the order of the plan, and hand on lists in which equal scores go by row number."""

import numpy as np
import pytest

import quiver
from quiver.engine.execution.executor import begin, execute, final, run_stages
from quiver.engine.execution.plan import Plan
from quiver.types import Query


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Sixty vectors of whole numbers: ten places, six items at each, and metadata that tells the six apart."""
    folder = tmp_path_factory.mktemp("shelf")
    places = np.random.default_rng(0).integers(-3, 4, (10, 4)).astype(np.float32)
    np.save(folder / "v.npy", np.tile(places, (6, 1)))
    collection = quiver.open(folder / "c", catch_up=False)
    collection.add_vectors(folder / "v.npy", space="made", metric="l2")
    collection.update_meta({f"v#{n}": {"n": n, "round": n // 10} for n in range(60)})
    collection.index("faiss factory=Flat")
    collection.index("lance kind=IVF_FLAT partitions=2")
    return collection, places


def ask(places, **more):
    return Query(vectors={"made": places[0]}, **more)


def numbers(result):
    return [hit.meta["n"] for hit in result]


def nearest(places, k, keep=lambda n: True):
    """Worked out by hand: by distance, then in the order added."""
    away = np.square(places - places[0]).sum(1)
    return sorted((n for n in range(60) if keep(n)), key=lambda n: (away[n % 10], n))[:k]


@pytest.mark.parametrize("kind", [None, "exact", "faiss", "lance"])
@pytest.mark.parametrize("k", [4, 6, 9, 60])
def test_equal_scores_go_by_row_number_on_every_kind_alone_and_in_a_batch(shelf, kind, k):
    collection, places = shelf
    wanted = nearest(places, k)
    assert numbers(collection.search(ask(places, k=k, index=kind))) == wanted
    for found in collection.search_batch([ask(places, k=k, index=kind)] * 30):
        assert numbers(found) == wanted


@pytest.mark.parametrize("kind", [None, "exact", "faiss", "lance"])
def test_they_do_so_behind_a_condition_in_groups_and_on_later_pages(shelf, kind):
    collection, places = shelf
    found = collection.search(ask(places, k=8, index=kind, where="n >= 25"))
    assert numbers(found) == nearest(places, 8, lambda n: n >= 25)
    paged = collection.search(ask(places, k=4, offset=3, index=kind))
    assert numbers(paged) == nearest(places, 7)[3:]
    grouped = collection.search(ask(places, k=6, group_by="round", index=kind))
    assert numbers(grouped) == [0, 10, 20, 30, 40, 50]


def test_they_do_so_among_rows_that_an_index_does_not_know_yet(tmp_path):
    data = np.tile(np.float32([[1, 2], [3, 4]]), (5, 1))
    for name, rows in (("v", data), ("w", data)):
        np.save(tmp_path / f"{name}.npy", rows)
    for kind in ("exact", "faiss", "lance"):
        collection = quiver.open(tmp_path / kind, catch_up=False)
        collection.add_vectors(tmp_path / "v.npy", space="made", metric="l2")
        if kind != "exact":
            collection.index("faiss factory=HNSW8" if kind == "faiss" else "lance kind=IVF_FLAT partitions=1")
        query = Query(vectors={"made": data[0]}, k=7, index=kind)
        collection.search(query)
        collection.add_vectors(tmp_path / "w.npy", space="made", metric="l2")
        wanted = [f"v#{n}" for n in (0, 2, 4, 6, 8)] + ["w#0", "w#2"]
        assert [hit.id for hit in collection.search(query)] == wanted
        assert [hit.id for hit in collection.search_batch([query] * 25)[7]] == wanted


def test_a_result_tells_what_every_stage_found_and_took(shelf):
    collection, places = shelf
    session, query = collection._session(), ask(places, k=5, where="round = 2")
    plan = collection.explain(query)
    (result,) = execute(session, [query], plan, examples={})
    steps = [stage.label for stage in plan.stages]
    assert [each.label for each in result.actual][: len(steps)] == steps
    assert result.actual[0].rows == 10 and result.actual[len(steps) - 1].rows == 5
    assert all(each.ms >= 0 for each in result.actual)


def test_stages_can_be_run_one_by_one(shelf):
    collection, places = shelf
    session, query = collection._session(), ask(places, k=5)
    plan = collection.explain(query)
    context = begin(session, [query], {})
    for stage in plan.stages:
        run_stages([stage], context)
    assert context.done == list(plan.stages)
    assert final(context).rows.shape == (1, 5)
    (whole,) = execute(session, [query], plan, examples={})
    assert [hit.meta["n"] for hit in whole] == nearest(places, 5)
    assert [hit.score for hit in whole] == final(context).scores[0].tolist()


def test_a_plan_is_run_as_it_says_whatever_the_query_asked_for(shelf):
    collection, places = shelf
    session, query = collection._session(), ask(places, k=5)
    plan = collection.explain(ask(places, k=5, index="faiss"))
    assert isinstance(plan, Plan)
    (result,) = execute(session, [query], plan, examples={})
    assert result.plan.stages[0].index == "faiss" and len(result) == 5
