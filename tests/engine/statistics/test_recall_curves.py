"""A promise is chosen by what was measured, never by what was hoped."""

from dataclasses import replace

import pytest

from quiver.engine.core.column import Column
from quiver.engine.statistics import recall_curves
from quiver.engine.statistics.cost_model import TOGETHER, Cost, Machine
from quiver.engine.statistics.recall_curves import BUCKETS, Curve, Point, Promise
from quiver.types import Space

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


def test_a_lucky_second_half_does_not_count():
    lucky = made()
    points = tuple(replace(point, floor=0.9) for point in lucky.curves[0].points)
    assert not lucky.curves[0].points[0].keeps(0.95) and not points[1].keeps(0.95)


def test_time_grows_evenly_from_one_query_to_a_batch():
    cost = Cost(2.0, 0.5)
    assert cost.ms(1) == 2.0 and cost.ms(TOGETHER) == 0.5
    assert cost.ms(4) == pytest.approx((2.0 + 3 * (64 * 0.5 - 2.0) / 63) / 4)


def test_an_exact_scan_is_estimated_from_numbers_and_floor():
    machine = Machine(scan=Cost(0.1, 0.01), pick=Cost(0.5, 0.1), exact=Cost(0.2, 0.02))
    assert machine.scanning(1_000_000, 100).alone == pytest.approx(10.2)
    assert machine.scanning(1_000_000, 100, matching=10_000).alone == pytest.approx(0.7)
    assert machine.scanning(1_000_000, 100, matching=900_000).together == pytest.approx(1.02)


def test_time_between_selectivities_is_interpolated_on_a_log_scale():
    # A tenth of the way down twice: the geometric mean of 40 and 8.
    assert made().exact(10**-0.5) == pytest.approx((40 * 8) ** 0.5)


def test_a_promise_survives_being_written_and_says_what_changed_since(tmp_path):
    path = tmp_path / "promise.json"
    recall_curves.write(path, made())
    read = recall_curves.read(path)
    assert read == made() and read.state() == "holds"
    grown = read.now({"0": ("a", 95_000), "1": ("b", 10_000)})
    assert grown.changed == pytest.approx(0.15)
    assert grown.state() == "stale, 15% of the rows changed since it was measured"
    assert read.now({"0": ("a", 95_000)}).state() == "holds"


def test_a_promise_of_another_format_is_none(tmp_path):
    path = tmp_path / "promise.json"
    recall_curves.write(path, made())
    path.write_text(path.read_text().replace('"format": 1', '"format": 99'))
    assert recall_curves.read(path) is None
    assert recall_curves.read(tmp_path / "none.json") is None
