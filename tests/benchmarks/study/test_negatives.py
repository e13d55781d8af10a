"""The study of negative examples: who asks, the figures by hand, and a collection whose likeness is colour."""

import numpy as np
import pytest
from PIL import Image

from quiver.benchmarks.study.negatives import Asker, K, askers, chance, fill, shares, study
from quiver.errors import BadSpec
from quiver.types import Item

COLOURS = {"red": (200, 40, 40), "green": (40, 170, 50), "blue": (40, 50, 200)}
EACH = 15


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("swatches"), np.random.default_rng(0)
    found = []
    for colour, base in COLOURS.items():
        for n in range(EACH):
            path = folder / f"{colour}{n}.png"
            pixels = np.clip(np.array(base) + rng.normal(0, 60, 3) + rng.normal(0, 20, (16, 16, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
            found.append(Item(path.stem, {"image": str(path)}, {"kind": "swatch", "colour": colour}))
    return found


def test_an_item_asks_if_it_has_enough_company(items):
    asked = askers(items, ["kind"], "colour", given=3, seed=1)
    assert [each.id for each in asked] == [item.id for item in items]
    first = asked[0]
    assert first.value == "red" and len(first.negatives) == 3 and first.competing == len(items) - 4
    reds = {f"red{n}" for n in range(1, EACH)}
    assert set(first.negatives) | first.avoid == reds and not first.avoid & set(first.negatives)
    assert first.right == {item.id for item in items if item.meta["colour"] != "red"}
    assert askers(items, ["kind"], "colour", seed=1) == asked != askers(items, ["kind"], "colour", seed=2)
    with pytest.raises(BadSpec, match="no item has 15 others of one colour and 10 of another"):
        askers(items, ["kind"], "colour", given=5)
    with pytest.raises(BadSpec, match="shape is no column of all items; columns are colour, kind"):
        askers(items, ["shape"], "colour")


def test_the_value_to_be_avoided_may_be_another_one(items):
    asked = askers(items, ["kind"], "colour", whose="other", seed=1)
    assert len(asked) == len(items)
    for item, each in zip(items, asked, strict=True):
        assert each.value in COLOURS and each.value != item.meta["colour"]
        assert len(each.avoid) == EACH - 3 and all(id.startswith(each.value) for id in (*each.avoid, *each.negatives))
        assert len(each.right) == 2 * EACH - 1 and item.id not in each.right  # its own colour, and the third
    assert {each.value for each in asked} == set(COLOURS)


def test_figures_are_counts_over_the_first_hits():
    asker = Asker("a", "red", ("n",), frozenset("bc"), frozenset("xyz"), 20)
    assert shares([list("bxyq")], [asker]).tolist() == [[1 / K, 2 / K, 1]]
    assert shares([list("xb")], [asker]).tolist() == [[1 / K, 1 / K, 0]]
    assert shares([[]], [asker]).tolist() == [[0, 0, 0]]
    assert chance([asker]).tolist() == [[0.1, 0.15, 0.1]]


def test_negative_examples_and_conditions_keep_a_colour_out(items, tmp_path):
    collection = fill(tmp_path / "items", items, "image", "classic")
    asked = askers(items, ["kind"], "colour", whose="other")
    found = study(collection, asked, "image", "colour", weights=(0.5, 1.0))
    assert set(found) == {"random", "like", "unlike, weight 0.5", "unlike, weight 1", "where"}  # classic has no words
    avoided = {way: row[0].value for way, row in found.items()}
    assert avoided["random"] == pytest.approx((EACH - 3) / (len(items) - 4))
    assert avoided["like"] > avoided["unlike, weight 1"] + 0.02 and avoided["where"] == 0
    assert found["where"][1].value == 1
    for row in found.values():
        assert row[0].value + row[1].value == pytest.approx(1)  # nothing else is there
        assert all(each.low <= each.value <= each.high for each in row)
