"""How much lists count in fusion is learnt from known answers, and used from then on."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import quiver
from quiver.cli import app
from quiver.engine.core.ranking import Ranked
from quiver.engine.execution.stages.fuse import Fuse
from quiver.engine.statistics.fusion_weights import learn, read, write
from quiver.engine.tasks.labelled_queries import read as read_questions
from quiver.errors import BadData, BadSpec
from quiver.types import Item, Query

#: Embeds a text anywhere, always in the same place.
CHANCE = """
import zlib
import numpy as np
from quiver.media import TextReader
from quiver.types import Space


class Chance:
    keys = ("text",)

    def spaces(self, key):
        return (Space("chance", 8, "cosine", "0"),) if key == "text" else ()

    def reader(self, key):
        return TextReader()

    def embed(self, key, batch, space):
        return np.stack([np.random.default_rng(zlib.crc32(text.encode())).standard_normal(8) for text in batch])


def load():
    return Chance()
"""


def lists(skill, count=300, n=20):
    """Lists of the same n rows, in each of which the answer has so much skill on its side, and which it is."""
    rng = np.random.default_rng(0)
    right = rng.integers(0, n, count)
    found = []
    for label, each in skill.items():
        scores = rng.standard_normal((count, n))
        scores[np.arange(count), right] += each
        rows = np.argsort(-scores, axis=1)
        found.append(Ranked(label, np.take_along_axis(scores, rows, 1), rows))
    return found, [[int(row)] for row in right]


def test_a_list_that_knows_nothing_counts_little_and_more_is_found():
    found = learn(*lists({"good": 2.0, "dice": 0.0}), c=60, source="made")
    assert found.weights["good"] > 10 * found.weights["dice"] and sum(found.weights.values()) == pytest.approx(2)
    assert found.after > found.before + 0.1 and found.questions == 300
    assert "weights good" in str(found) and "300 questions of made" in str(found)


def test_lists_as_good_as_each_other_count_alike():
    found = learn(*lists({"one": 1.0, "two": 1.0}), c=60, source="made")
    assert found.weights == {"one": 1.0, "two": 1.0} and found.after == found.before


def test_rows_that_one_list_lacks_get_nothing_from_it_and_no_answer_is_refused():
    short = Ranked("short", np.zeros((2, 1)), np.array([[4], [-1]]))
    whole = Ranked("whole", np.zeros((2, 3)), np.array([[1, 2, 4], [7, 8, -1]]))
    found = learn([short, whole], [[4], [8]], c=0, source="made")
    # Alike: 4 gets 1 + 1/3 against 1 and 1/2; 8 comes second.
    assert found.before == pytest.approx((1 + 1 / 2) / 2)
    with pytest.raises(BadData, match="no list finds an answer to any of 2 questions"):
        learn([short, whole], [[9], []], c=0, source="made")


def test_what_was_learnt_is_kept_by_the_labels_of_the_lists(tmp_path):
    found = learn(*lists({"good": 2.0, "dice": 0.0}), c=60, source="made")
    write(tmp_path, found)
    assert read(tmp_path) == {frozenset({"good", "dice"}): found}
    (tmp_path / "measured" / "lists-other.json").write_text("{}")
    assert read(tmp_path) == {frozenset({"good", "dice"}): found}


@pytest.fixture
def shop(lab, tmp_path):
    """Sixty things with a number each, which an encoder puts anywhere."""
    (lab / "chance.py").write_text(CHANCE)
    made = quiver.open(tmp_path / "c")
    things = [f"{colour} {thing}" for colour in ("red", "blue") for thing in ("coat", "hat", "shoe")]
    made.add(
        *(Item(f"{n}", {"text": f"{thing} item{n}"}) for n, thing in enumerate(things * 10)),
        encoder="lab.chance",
        workers=1,
    )
    return made


def test_the_command_line_reads_questions_from_a_table(shop, tmp_path):
    rows = [f"item{n},{n}" for n in range(0, 40, 2)] + ["coat,0", "coat,6", "hat,", ",3"]
    (tmp_path / "asked.csv").write_text("\n".join(["text,answer", *rows]))
    arguments = ["fit", shop.uri, str(tmp_path / "asked.csv"), "--hybrid"]
    done = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    found = json.loads(done.stdout)
    assert found["questions"] == 21 and found["source"] == "asked.csv"
    assert found["weights"]["words"] > 1
    assert "1 rows left out" in done.stderr
    told = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    assert told.startswith("weights recall text -> chance (text)") and "21 questions of asked.csv" in told
    with pytest.raises(BadSpec, match=r"no column 'right' .* which are text, answer"):
        read_questions(tmp_path / "asked.csv", answer="right")
    (tmp_path / "none.csv").write_text("text,answer\nhat,\n")
    with pytest.raises(BadData, match="has no row with query media and an answer"):
        read_questions(tmp_path / "none.csv")


def test_hybrid_searches_go_by_what_was_learnt_unless_weights_are_asked_for(shop):
    queries = [Query({"text": f"item{n}"}, k=5, hybrid=True) for n in range(0, 60, 2)]
    found = shop.fit(queries, [f"{n}" for n in range(0, 60, 2)], source="even numbers")
    assert found.weights["words"] > 1.5 and found.after == found.before == 1.0
    asked = quiver.open(shop.uri).search(text="item7", k=1, hybrid=True)
    (fuse,) = [stage for stage in asked.plan.stages if isinstance(stage, Fuse)]
    assert (
        list(asked.ids) == ["7"] and fuse.weights == found.weights and "30 questions of even numbers" in str(asked.plan)
    )
    told = shop.search(text="item7", k=1, hybrid=True, weights={"words": 2}).plan
    assert [stage.weights for stage in told.stages if isinstance(stage, Fuse)] == [{"words": 2}]


def test_what_cannot_be_fitted_is_refused_with_what_to_do(shop, tmp_path):
    texts, like = [Query({"text": f"item{n}"}) for n in range(3)], Query(like=("1",))
    for queries, told in (
        (texts, r"takes queries of text: add an encoder .* by hybrid=True or fuse=True"),
        ([like], r"takes queries of like: add an encoder"),
        ([Query(vectors={"chance": [1.0] * 8})], r"takes queries of vectors: add an encoder"),
        ([*texts, like], r"several kinds \(3 of text, 1 of like\), but figures hold for one kind: give them apart"),
        ([], "there are no queries: give some"),
    ):
        with pytest.raises(BadSpec, match=told):
            shop.fit(queries, [["0"]] * len(queries))
        with pytest.raises(BadSpec, match=told):
            shop.measure(queries)
    plane = quiver.open(tmp_path / "plane")
    plane.add(vectors=[[1.0, 0.0], [0.0, 1.0]], ids=["a", "b"], space="plane", meta={"name": ["hat", "coat"]})
    (tmp_path / "asked.csv").write_text("text,answer\nhat,a\ncoat,b\n")
    done = CliRunner().invoke(app, ["fit", plane.uri, str(tmp_path / "asked.csv"), "--hybrid"])
    assert isinstance(done.exception, BadSpec)
    assert "they have one list of results, so there is nothing to fuse: add an encoder that embeds" in str(
        done.exception
    )
