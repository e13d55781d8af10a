"""Facets: counts of values, ranges of numbers and times, members of lists, missing values. Numbers by hand."""

import json
from datetime import UTC, date, datetime

import numpy as np
import pytest
from typer.testing import CliRunner

import quiver
from quiver.cli import app
from quiver.errors import BadSpec

MONTHS = [date(2024, month, 15) for month in (1, 1, 2, 3, 3, 3)]
ROWS = [
    {"brand": "Nike", "price": 12, "weight": 0.15, "tags": ["new", "new", "sale"], "day": MONTHS[0], "sold": True},
    {"brand": "Puma", "price": 12, "weight": 0.25, "tags": ["sale"], "day": MONTHS[1], "sold": False},
    {"brand": "Nike", "price": 35, "weight": float("nan"), "tags": [], "day": MONTHS[2], "sold": True},
    {"brand": "Asics", "price": -3, "weight": 0.85, "tags": None, "day": MONTHS[3], "sold": None},
    {"brand": "Puma", "price": 104, "weight": 0.25, "tags": ["old"], "day": MONTHS[4], "sold": True},
    {"brand": None, "price": None, "weight": None, "tags": ["sale", "old"], "day": MONTHS[5], "sold": True},
]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    collection = quiver.open(tmp_path_factory.mktemp("facets") / "shop", catch_up=False)
    rows = [{"id": f"p{n}", "vector": [n, 1.0], **row} for n, row in enumerate(ROWS)]
    collection.add(rows, space="mine", metric="l2")
    return collection


def counts(found):
    return [(each.value, each.count) for each in found.values]


def ranges(found):
    return [(each.low, each.high, each.count) for each in found.ranges]


def test_values_come_by_count_and_then_in_their_order(shop):
    found = shop.facets("brand")
    assert counts(found) == [("Nike", 2), ("Puma", 2), ("Asics", 1)]
    assert (found.items, found.missing, found.distinct, found.kind) == (6, 1, 3, "text")
    assert (found.low, found.high, list(found.ranges)) == (None, None, [])
    assert counts(shop.facets("brand", limit=1)) == [("Nike", 2)] and shop.facets("brand", limit=1).distinct == 3
    assert counts(shop.facets("sold")) == [(True, 4), (False, 1)]


def test_a_condition_restricts_the_counts(shop):
    found = shop.facets("brand", "price < :most", {"most": 30})
    assert (counts(found), found.items, found.missing) == ([("Asics", 1), ("Nike", 1), ("Puma", 1)], 3, 0)
    none = shop.facets("price", "price > 1000")
    assert (counts(none), none.items, none.missing, none.distinct, none.low) == ([], 0, 0, 0, None)


def test_whole_numbers_are_counted_by_round_ranges(shop):
    found = shop.facets("price")
    assert (found.low, found.high, found.missing, found.kind) == (-3, 104, 1, "whole numbers")
    assert counts(found) == [(12, 2), (-3, 1), (35, 1), (104, 1)]
    assert ranges(found) == [(-10, 0, 1), (10, 20, 2), (30, 40, 1), (100, 110, 1)]
    assert ranges(shop.facets("price", "price = 12")) == [(12, 13, 2)]


def test_fractions_have_exact_bounds_and_nan_is_missing(shop):
    found = shop.facets("weight")
    assert (found.missing, found.low, found.high) == (2, 0.15, 0.85)
    assert ranges(found) == [(0.1, 0.2, 1), (0.2, 0.3, 2), (0.8, 0.9, 1)]


def test_members_of_lists_count_once_per_item(shop):
    found = shop.facets("tags")
    assert counts(found) == [("sale", 3), ("old", 2), ("new", 1)]
    assert (found.items, found.missing, found.kind) == (6, 2, "lists of text")


def test_dates_are_counted_by_the_finest_calendar_unit_that_gives_few_ranges(shop):
    found = shop.facets("day")
    assert (found.low, found.high, found.kind) == (date(2024, 1, 15), date(2024, 3, 15), "dates")
    assert ranges(found)[0] == (date(2024, 1, 15), date(2024, 1, 16), 2)


def test_many_days_are_counted_by_month_and_times_keep_their_zone(tmp_path):
    collection = quiver.open(tmp_path / "c", catch_up=False)
    at = [datetime(2020 + n // 365, 1 + n % 12, 1 + n % 28, n % 24, tzinfo=UTC) for n in range(0, 30)]
    collection.add([{"id": f"i{n}", "vector": [n, 1.0], "at": t} for n, t in enumerate(at)], space="s", metric="l2")
    found = collection.facets("at")
    assert found.kind == "times with a zone" and len(found.ranges) == 12
    assert ranges(found)[0] == (datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 2, 1, tzinfo=UTC), 3)
    assert ranges(found)[-1][1] == datetime(2021, 1, 1, tzinfo=UTC)
    assert sum(each.count for each in found.ranges) == 30


def test_infinities_and_the_largest_numbers_are_counted_as_values(tmp_path):
    collection = quiver.open(tmp_path / "c", catch_up=False)
    rows = [{"big": 2**62, "far": np.inf}, {"big": -(2**62), "far": 1.5}, {"big": 0, "far": 1e308}]
    collection.add([{"id": f"i{n}", "vector": [n, 1.0], **r} for n, r in enumerate(rows)], space="s", metric="l2")
    found = collection.facets("big")
    assert sum(each.count for each in found.ranges) == 3 and found.distinct == 3
    far = collection.facets("far")
    assert far.high == np.inf and sum(each.count for each in far.ranges) == 2


@pytest.mark.parametrize("column", ["brnad", "image", "", None, 7, "vec_image"])
def test_an_unknown_column_is_one_line_with_the_known_ones(shop, column):
    with pytest.raises(BadSpec, match=r"no metadata column .* columns here: text, brand, price") as caught:
        shop.facets(column)
    assert "\n" not in str(caught.value) and ("did you mean brand" in str(caught.value)) == (column == "brnad")


@pytest.mark.parametrize("limit", [0, -1, True, 2.5, None])
def test_a_limit_is_a_positive_whole_number(shop, limit):
    with pytest.raises(BadSpec, match="limit must be a positive whole number"):
        shop.facets("brand", limit=limit)


def test_the_command_prints_json_and_lines(shop):
    run = CliRunner()
    done = run.invoke(app, ["facets", shop.uri, "brand", "--where", "price < :m", "--param", "m=30", "--json"])
    assert json.loads(done.stdout)["values"] == [
        {"value": "Asics", "count": 1},
        {"value": "Nike", "count": 1},
        {"value": "Puma", "count": 1},
    ]
    lines = run.invoke(app, ["facets", shop.uri, "price"]).stdout.splitlines()
    assert "12\t2" in lines and "-10 to 0\t1" in lines
