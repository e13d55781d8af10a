"""What the packs share: splits that keep groups whole, questions of likeness, and drawn changes."""

from collections import Counter

import pytest

from quiver.attribute_edits import Changes
from quiver.benchmarks.datasets._pack import Sample, alike, connected, split_of
from quiver.errors import BadSpec

SHELF = [  # type, colour, gender
    {"type": "shirt", "colour": "red", "gender": "men"},
    {"type": "shirt", "colour": "blue", "gender": "men"},
    {"type": "shirt", "colour": "blue", "gender": "men"},
    {"type": "shirt", "colour": "red", "gender": "women"},
    {"type": "skirt", "colour": "red", "gender": "women"},
    {"type": "shirt", "colour": "NA", "gender": "men"},
]


def test_groups_are_shared_out_seven_one_two_and_always_alike():
    splits = [split_of(str(number), pack="p") for number in range(20_000)]
    shares = {name: count / len(splits) for name, count in Counter(splits).items()}
    assert shares == pytest.approx({"train": 0.7, "validation": 0.1, "test": 0.2}, abs=0.015)
    assert [split_of(str(n), pack="p") for n in range(6)] == splits[:6]
    assert splits != [split_of(str(number), pack="q") for number in range(20_000)]


def test_rows_are_connected_through_others():
    assert connected([["a"], ["b"], ["c", "b"], [], ["a", "c"], ["d"]]) == [0, 0, 0, 3, 0, 5]


def test_a_thing_asks_for_its_label_and_its_group_does_not_compete():
    kinds = [("cat", "1"), ("cat", "1"), ("cat", "2"), ("dog", "1"), ("dog", "1"), ("cow", "4")]
    samples = [Sample(f"s{n}", {"image": f"{n}.jpg"}, *kind) for n, kind in enumerate(kinds)]
    questions, alone = alike(samples, target="image")
    assert alone == 3  # no other group has a dog or a cow
    assert {each.id: set(each.relevant) for each in questions} == {"s0": {"s2"}, "s1": {"s2"}, "s2": {"s0", "s1"}}
    assert set(questions[0].exclude) == {"s0", "s1", "s3", "s4"}
    assert questions[2].query.media == {"image": "2.jpg"}


def test_targets_have_the_asked_value_and_are_otherwise_alike():
    changes = Changes(SHELF, ("type", "colour", "gender"), unknown=("NA",))
    assert [(each.value, each.targets) for each in changes.of(0, "colour")] == [("blue", (1, 2))]
    assert [(each.value, each.targets) for each in changes.of(0, "gender")] == [("women", (3,))]
    assert [(each.value, each.targets) for each in changes.of(4, "type")] == [("shirt", (3,))]
    assert changes.of(1, "gender") == []


def test_all_changes_are_drawn_once_and_a_smaller_count_is_the_beginning():
    changes = Changes(SHELF, ("type", "colour", "gender"), unknown=("NA",))
    drawn = changes.draw(("colour", "gender", "type"), 100, seed=3)
    found = [(each.reference, each.attribute, each.value) for each in drawn]
    assert sorted(found) == sorted(
        [
            (0, "colour", "blue"),
            (1, "colour", "red"),
            (2, "colour", "red"),
            (0, "gender", "women"),
            (3, "gender", "men"),
            (3, "type", "skirt"),
            (4, "type", "shirt"),
        ]
    )
    assert [each.attribute for each in drawn[:3]] == ["colour", "gender", "type"]
    assert changes.draw(("colour", "gender", "type"), 3, seed=3) == drawn[:3]
    assert any(changes.draw(("colour",), 3, seed=seed) != drawn[:3] for seed in range(4))
    with pytest.raises(BadSpec, match="queries must be at least 1"):
        changes.draw(("colour",), 0, seed=0)


def test_references_are_drawn_alike_whatever_they_can_be_asked_for():
    shelf = [{"type": "bag", "colour": str(n)} for n in range(30)] + [{"type": "hat", "colour": c} for c in "ab"]
    changes = Changes(shelf, ("type", "colour"))
    first = changes.draw(("colour",), 32, seed=0)
    assert sorted(each.reference for each in first) == list(range(32))
    assert len(changes.draw(("colour",), 10**6, seed=0)) == 30 * 29 + 2
