"""How a column is searched: exactly, or by the cheapest setting of an index that keeps the recall target."""

from dataclasses import replace

import pytest

from quiver.engine.core.column import Column
from quiver.engine.core.graph import Graph
from quiver.engine.planning.planner import plan
from quiver.engine.statistics.cost_model import Cost
from quiver.engine.statistics.facts import Facts
from quiver.engine.statistics.recall_curves import BUCKETS, Curve, Point, Promise
from quiver.types import Query, Space

SPACE = Space("made", 64, "cosine", "given")
COLUMN = Column("image", SPACE, None)
#: Recall by setting, at selectivities 1, 0.1, 0.01 and 0.001.
RECALLS = {1: (0.80, 0.90, 0.99, 1.0), 4: (0.96, 0.94, 0.99, 1.0), 16: (0.99, 0.98, 0.99, 1.0)}
SCANS = dict(zip(BUCKETS, (40.0, 8.0, 0.5, 0.1), strict=True))


def made(**changes):
    curves = tuple(
        Curve(
            10,
            share,
            Cost(SCANS[share], SCANS[share]),
            tuple(
                Point({"nprobe": n}, recalls[at], 0.001, recalls[at] - 0.002, Cost(n / 10, n / 10))
                for n, recalls in RECALLS.items()
            ),
        )
        for at, share in enumerate(BUCKETS)
    )
    plain = Promise(
        recall=0.95,
        k=10,
        kind="faiss",
        options={"factory": "IVF64,Flat"},
        rows=100_000,
        version=3,
        at="2026-11-27T05:00:00+00:00",
        source="500 queries (asked.npy)",
        asked=500,
        versions={"faiss-cpu": "1.15"},
        machine="a machine",
        fragments={"0": ("a", 100_000)},
        resident=True,
        curves=curves,
    )
    return replace(plain, **changes)


def planned(k=10, matching=None, kept=None, queries=1, built=("faiss",), items=100_000):
    facts = Facts(
        Graph.of({}, [COLUMN]),
        items=items,
        version=3,
        matching=matching,
        built={COLUMN.name: built},
        promises={} if kept is False else {COLUMN.name: {"faiss": kept or made()}},
        queries=queries,
    )
    where = None if matching is None else "n < 1"
    found = plan(Query(vectors={"made": [0.0] * 64}, k=k, where=where), facts)
    (recall,) = [stage for stage in found.stages if hasattr(stage, "index")]
    return recall, {each.what: each.why for each in found.refused}


@pytest.mark.parametrize(("matching", "index"), [(None, "faiss"), (10_000_000, "faiss"), (200_000, "exact")])
def test_an_index_of_which_nothing_was_measured_gives_way_where_a_condition_makes_it_slow(matching, index):
    # 200,000 x 64 numbers are picked in 1.03 ms a query; FAISS takes 0.02 at least, 100 times that for a hundredth.
    recall, _ = planned(matching=matching, kept=False, queries=256, items=20_000_000)
    assert recall.index == index


def test_the_cheapest_setting_that_keeps_the_promise_is_taken():
    recall, refused = planned()
    assert (recall.index, recall.spend, recall.depth) == ("faiss", {"nprobe": 4}, 10)
    assert (recall.ms, recall.recall) == (0.4, 0.96)
    assert refused == {
        "exact scan for image in made": "40 ms, recall 1.000 expected; faiss index with nprobe=4 takes 0.4 ms",
        "faiss index with nprobe=1 for image in made": "0.1 ms, recall 0.800 expected; the recall target is 0.95",
    }


def test_between_two_selectivities_both_have_to_keep_the_promise():
    # At 0.3 the curve of 1 keeps it with 4 and that of 0.1 does not: the first that both keep is 16.
    assert planned(matching=30_000)[0].spend == {"nprobe": 16}


def test_an_exact_scan_is_taken_where_it_costs_about_as_much():
    recall, refused = planned(matching=110)
    assert (recall.index, recall.spend, recall.recall) == ("exact", {}, 1.0)
    assert refused == {
        "faiss index with nprobe=1 for image in made": "0.1 ms, recall 0.990 expected; exact scan takes 0.11 ms"
        " and finds everything"
    }


@pytest.mark.parametrize(
    ("k", "matching", "why"), [(11, None, "only up to k = 10"), (10, 50, "so few rows are scanned")]
)
def test_what_was_not_measured_is_scanned_exactly(k, matching, why):
    recall, refused = planned(k=k, matching=matching)
    assert recall.index == "exact"
    assert why in refused["faiss index for image in made"]


def test_a_promise_that_no_setting_keeps_is_kept_by_exact_scans():
    recall, refused = planned(kept=made(recall=0.995))
    assert recall.index == "exact"
    assert (
        "recall 0.990 expected; the recall target is 0.995" in refused["faiss index with nprobe=16 for image in made"]
    )


def test_what_memory_does_not_hold_is_scanned_on_disk():
    recall, _ = planned(matching=50, kept=made(kind="lance", resident=False))
    assert (recall.index, recall.spend) == ("lance", {"scan": 100_000})


def test_an_index_of_which_nothing_was_measured_never_breaks_the_promise_of_another():
    recall, refused = planned(built=("faiss", "lance"))
    assert recall.index == "faiss"
    assert "recall unknown" in refused["lance index for image in made"]


def test_without_a_promise_an_index_is_used_where_a_scan_is_slow():
    slow, _ = planned(kept=False, items=1_000_000)
    assert (slow.index, slow.spend, slow.recall) == ("faiss", {}, None)
    quick, refused = planned(kept=False, items=5_000)
    assert quick.index == "exact" and quick.ms < 1
    assert "recall unknown" in refused["faiss index for image in made"]
