"""The composition audit: halves, what only both find, and wordings, by counts over known rankings."""

import json

import pytest
from typer.testing import CliRunner

from quiver.benchmarks.recall.composition import audit, markdown, values
from quiver.benchmarks.recall.outcome import Options
from quiver.cli import app
from quiver.errors import BadSpec


def test_halves_and_wordings_are_measured_on_the_same_questions(shelf, tmp_path):
    found = audit(shelf, "classic", questions=12, options=Options(work=tmp_path, progress=False))
    assert found.questions == 12 and found.wordings is not None
    assert found.wordings.names[0].startswith("the same ") and len(found.wordings.recall) == 4
    assert found.wordings.recall[0] == found.both
    assert found.wordings.swing == max(found.wordings.recall) - min(found.wordings.recall)
    # A question is answered by both alone, or by both and a half, or lost: what is answered at all adds up.
    assert found.composed <= found.both and found.lost <= max(found.picture + found.words, found.both)
    assert (
        found.both - found.composed + found.lost == pytest.approx((found.both - found.composed) + found.lost)
        and 0 <= found.lured <= 1
    )
    assert found.how["picture"] == "the other input is left out"
    (told,) = values([found])
    assert json.loads(json.dumps(told))["wordings"]["recall"] == list(found.wordings.recall)
    assert "| picture alone |" in markdown([found]) and "swing" in markdown([found])


def test_a_task_without_composed_questions_is_refused(shelf, tmp_path):
    from dataclasses import replace

    from quiver.types import Query

    bare = [replace(each, query=Query({"text": "red"}, target="image")) for each in shelf.questions]
    with pytest.raises(BadSpec, match="no questions with an image and a text"):
        audit(replace(shelf, questions=bare), "classic", options=Options(work=tmp_path, progress=False))


def test_the_command_needs_an_encoder():
    done = CliRunner().invoke(app, ["bench", "composition", "fashion_products track=composed"])
    assert done.exit_code == 2
