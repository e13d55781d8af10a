"""The study of wanted media: an encoder whose media stand apart, and figures by hand."""

from dataclasses import dataclass

import numpy as np
import pytest

from quiver.benchmarks.study.targets import Counterparts, K, chance, counterparts, fill, right, study, ways
from quiver.errors import BadSpec
from quiver.task import Question, Task
from quiver.types import Item, Query, Space

COUNT = 30
SPACE = Space("apart", 9, "cosine", "3" * 16)


@dataclass(frozen=True)
class Number:
    """Read a number from a text that ends with it, or from the name of a file."""

    def __call__(self, source):
        return int(str(source).rpartition("thing")[2].partition(".")[0])


class Apart:
    """Text and pictures of thing n have one direction, and each medium stands apart from the other."""

    keys = ("text", "image")
    name, revision = "apart", "3"

    def spaces(self, key):
        return (SPACE,) if key in self.keys else ()

    def reader(self, key):
        return Number()

    def embed(self, key, batch, space):
        rows = np.zeros((len(batch), SPACE.dim), np.float32)
        for row, number in zip(rows, batch, strict=True):
            own = np.random.default_rng(number).standard_normal(SPACE.dim - 1)
            row[1:] = own / np.linalg.norm(own)
            row[0] = 3.0 if key == "text" else -3.0
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def things(tmp_path):
    found = []
    for n in range(COUNT):
        path = tmp_path / f"thing{n}.png"
        path.write_text(str(n))
        found.append(Counterparts(f"s{n}", {"text": f"a thing{n}", "image": str(path)}))
    return found


def test_the_target_finds_the_wanted_medium_where_the_query_finds_its_own(things, tmp_path):
    collection = fill(tmp_path / "things", things, Apart())
    assert collection.count() == 2 * COUNT
    found = {(line.asks, line.wants, line.way): line.figures for line in study(collection, things)}
    assert len(found) == 9  # three ways and two random orders for texts, two and two for pictures
    for asks, wants in (("text", "image"), ("image", "text")):
        bare, typed = found[asks, wants, "no target"], found[asks, wants, "target"]
        assert bare.wanted[0] == bare.found[0] == 0 and typed.wanted[0] == typed.found[0] == 1
        chances = found[asks, wants, "random"]
        assert chances.wanted[0] == COUNT / (2 * COUNT - 1)
        assert chances.found[0] == pytest.approx(K / (2 * COUNT - 1))
        within = found[asks, wants, "random, target"]
        assert within.wanted[0] == 1 and within.found[0] == pytest.approx(K / COUNT)
    assert found["text", "image", "in words"].wanted[0] == 0  # instructions do not help this encoder


def test_wanted_media_are_asked_for_in_words_and_by_target(things):
    asked = dict(ways(things[:1], "text", "image"))
    assert asked["no target"][0] == Query({"text": "a thing0"}, k=K, exclude=("text:s0",))
    assert asked["in words"][0].media == {"text": "a picture of: a thing0"} and asked["in words"][0].target is None
    assert asked["target"][0].target == "image"


def test_sources_with_the_same_text_answer_alike():
    twins = [
        Counterparts(id, {"text": text, "audio": id, "video": id}) for id, text in (("a", "x"), ("b", "x"), ("c", "y"))
    ]
    assert right(twins, "text", "video") == {"a": {"video:a", "video:b"}, "b": {"video:a", "video:b"}, "c": {"video:c"}}
    assert right(twins, "audio", "video") == {"a": {"video:a"}, "b": {"video:b"}, "c": {"video:c"}}
    # ten of eleven are seen, so that one of two right ones is among them; one of twenty is there by half
    assert chance([2], 4, 11).found[0] == 1 and chance([1], 4, 20).found[0] == pytest.approx(0.5)


def test_a_text_that_asks_for_an_item_is_its_text():
    items = [Item("a", {"video": "a.mp4"}), Item("b", {"video": "b.mp4"})]
    questions = [Question("q1", Query({"text": "one"}), {"a": 1}), Question("q2", Query({"text": "two"}), {"a": 1})]
    task = Task("t", "1", items, questions, ("R@1",), "video", "by hand", "made")
    (only,) = [each for each in counterparts(task)]
    assert only == Counterparts("a", {"text": "one", "video": "a.mp4"})
    with pytest.raises(BadSpec, match="no item has two media"):
        counterparts(Task("t", "1", items, [], ("R@1",), "video", "by hand", "made"))
