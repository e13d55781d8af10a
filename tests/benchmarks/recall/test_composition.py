"""The composition audit: halves, what only both find, and wordings, by counts over known rankings."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from quiver.benchmarks.recall.composition import audit, markdown, values
from quiver.benchmarks.recall.outcome import Options
from quiver.benchmarks.recall.run import bench
from quiver.benchmarks.recall.setup import Setup
from quiver.cli import app
from quiver.errors import BadSpec
from quiver.types import Query


def test_halves_and_wordings_are_measured_on_the_same_questions(shelf, tmp_path):
    options = Options(work=tmp_path, progress=False, baselines=False, measures=("Success@10",))
    found = audit(shelf, "classic", questions=12, options=options)
    assert found.questions == 12 and found.how["picture"] == "the other input is left out"
    task = replace(shelf, questions=shelf.questions[:12])
    setups = (Setup(), Setup(held=("image",)))
    outcomes = bench(task, "classic", setups=setups, options=options).outcomes
    both, picture = (each.scores.values["Success@10"] > 0 for each in outcomes)
    words = np.zeros(12, bool)  # classic does not find pictures by words
    assert found.how["words"].startswith("cannot be asked")
    assert (found.both, found.picture, found.words) == (both.mean(), picture.mean(), words.mean())
    assert (
        (found.picture > 0)
        and found.composed == (both & ~picture & ~words).mean()
        and found.lost == (~both & (picture | words)).mean()
    )
    assert found.alone == (picture | words).mean()
    assert 0 <= found.lured <= 1
    assert [each.both for each in found.answered] == both.tolist()
    assert [(each.id, each.picture) for each in found.answered] == [
        (question.id, bool(own)) for question, own in zip(task.questions, picture, strict=True)
    ]


def test_shares_have_intervals_and_a_random_order_beside_them(shelf, tmp_path):
    found = audit(shelf, "classic", questions=12, options=Options(work=tmp_path, progress=False))
    for name in ("both", "picture", "words", "alone", "composed", "lost", "lured"):
        low, high = found.intervals[name]
        assert low <= getattr(found, name) <= high
    competing = len(shelf.items) - 1  # the reference does not compete
    missed = [
        np.prod([(competing - len(each.relevant) - n) / (competing - n) for n in range(10)])
        for each in shelf.questions[:12]
    ]
    assert found.random == pytest.approx(1 - np.mean(missed))
    told = found.wordings
    assert told.intervals["swing"][0] <= told.swing <= told.intervals["swing"][1]
    assert told.intervals["recall 1"][0] <= told.recall[0] <= told.intervals["recall 1"][1]
    _, rows = found.table()
    assert any(row[0] == "a half alone" and "[" in row[1] for row in rows)


def test_wordings_are_compared_question_by_question(shelf, tmp_path):
    found = audit(shelf, "classic", questions=6, options=Options(work=tmp_path, progress=False))
    told = found.wordings
    assert told.names[0].startswith("the same ") and len(told.recall) == 4 and told.recall[0] == found.both
    assert told.swing == max(told.recall) - min(told.recall) and told.unstable >= told.swing - 1e-9
    assert 0 <= told.kept <= 1
    (values_,) = values([found])
    assert json.loads(json.dumps(values_))["wordings"]["recall"] == list(told.recall)
    assert "| picture alone |" in markdown([found]) and "swing" in markdown([found])
    human = [Query({**each.query.media, "text": "is shinier"}, target="image") for each in shelf.questions[:3]]
    asked = [replace(each, query=query) for each, query in zip(shelf.questions, human, strict=False)]
    assert audit(replace(shelf, questions=asked), "classic", options=Options(work=tmp_path)).wordings is None


def test_a_task_without_composed_questions_is_refused(shelf, tmp_path):
    bare = [replace(each, query=Query({"text": "red"}, target="image")) for each in shelf.questions]
    with pytest.raises(BadSpec, match="no questions with an image and a text"):
        audit(replace(shelf, questions=bare), "classic", options=Options(work=tmp_path, progress=False))


def test_the_command_needs_an_encoder():
    done = CliRunner().invoke(app, ["bench", "composition", "fashion_products track=composed"])
    assert done.exit_code == 2
