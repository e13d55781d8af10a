"""A threshold is the best score of items that do not fit; searches with it find nothing where nothing fits."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import quiver
from quiver.cli import app
from quiver.errors import BadData, BadSpec
from quiver.types import Query


@pytest.fixture
def circle(tmp_path):
    """Ten groups of three vectors on a circle: a group spans 2 degrees, and 36 lie between groups."""
    degrees = np.array([36 * group + turn for group in range(10) for turn in (0, 1, 2)])
    made = quiver.open(tmp_path / "c")
    vectors = np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], 1)
    made.add_vectors(vectors, space="mine", ids=[f"g{n // 3}-{n % 3}" for n in range(30)])
    return made


def at(degrees):
    return Query(vectors={"mine": [np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]})


def asked():
    return [at(36 * group + 1) for group in range(10)], [[f"g{group}-{n}" for n in range(3)] for group in range(10)]


def test_the_threshold_is_what_items_that_do_not_fit_reach_at_most(circle):
    found = circle.threshold(*asked(), rate=0.1)
    # Without its group, the nearest vector is 35 degrees away, on both sides.
    assert found.min_score == pytest.approx(np.cos(np.radians(35)), abs=1e-5)
    assert found.questions == 10 and found.rate <= 0.1 and found.kept == 1.0


def test_a_search_for_what_is_not_there_finds_nothing_above_the_threshold(circle):
    threshold = circle.threshold(*asked()).min_score + 1e-4
    there = Query(vectors=at(37).vectors, min_score=threshold)
    assert circle.search(there).ids[:1] == ("g1-1",) and len(circle.search(there)) == 3
    circle.delete([f"g1-{n}" for n in range(3)])
    assert circle.search(there).ids == ()


def test_questions_must_be_enough_comparable_and_answered(circle):
    queries, answers = asked()
    with pytest.raises(BadSpec, match=r"a rate of 0\.01 needs more than 10 questions"):
        circle.threshold(queries, answers, rate=0.01)
    with pytest.raises(BadSpec, match="10 queries have 1 answers"):
        circle.threshold(queries, answers[:1])
    with pytest.raises(BadData, match="no right answer is found"):
        circle.threshold(queries, [["nobody"]] * 10)
    circle.add_vectors(np.eye(30), space="other", ids=[f"g{n // 3}-{n % 3}" for n in range(30)])
    both = [Query(vectors={**query.vectors, "other": np.eye(30)[0]}) for query in queries]
    with pytest.raises(BadSpec, match="min_score needs comparable scores"):
        circle.threshold(both, answers)


def test_the_command_line_reads_a_table_of_questions(tmp_path):
    words = [f"word{n}" for n in range(12)]
    shop = quiver.open(tmp_path / "shop")
    shop.add(*(quiver.Item(word, {"text": f"{word} of our own"}) for word in words), encoder="classic", workers=0)
    table = tmp_path / "questions.csv"
    table.write_text("text,answer\n" + "".join(f"{word} of our own,{word}\n" for word in words))
    done = CliRunner().invoke(app, ["threshold", shop.uri, str(table), "--target", "text", "--json"])
    found = json.loads(done.stdout)
    assert found["questions"] == 12 and found["min_score"] < 1 and found["kept"] == 1.0
    said = CliRunner().invoke(app, ["threshold", shop.uri, str(table), "--target", "text"]).stdout
    assert said.startswith("min_score ") and "learned on 12 questions" in said
