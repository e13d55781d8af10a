"""A threshold is the best score of items that do not fit; searches with it find nothing where nothing fits."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm
from typer.testing import CliRunner

import quiver
from quiver.cli import app
from quiver.engine.serving.no_hits import reason
from quiver.engine.statistics.score_thresholds import allowed, bounded, least_questions
from quiver.errors import BadData, BadSpec
from quiver.types import Query


@pytest.fixture
def circle(tmp_path):
    """Sixty groups of three vectors on a circle: a group spans 2 degrees, and 6 lie between the starts of groups."""
    degrees = np.array([6 * group + turn for group in range(60) for turn in (0, 1, 2)])
    made = quiver.open(tmp_path / "c", catch_up=False)
    vectors = np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], 1)
    meta = {"group": [f"g{n // 3}" for n in range(180)]}
    made.add_vectors(vectors, space="mine", ids=[f"g{n // 3}-{n % 3}" for n in range(180)], meta=meta)
    return made


def at(degrees):
    return Query(vectors={"mine": [np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]})


def asked():
    return [at(6 * group + 1) for group in range(60)], [[f"g{group}-{n}" for n in range(3)] for group in range(60)]


def test_the_threshold_is_above_what_items_that_do_not_fit_reach(circle):
    found = circle.threshold(*asked(), rate=0.1)
    # Without its group, the nearest vector is 5 degrees away, on both sides.
    assert found.min_score == pytest.approx(np.cos(np.radians(5)), abs=1e-5)
    assert found.questions == 60 and found.observed <= 0.1 and found.kept == 1.0
    assert (found.rate, found.confidence, found.source) == (0.1, 0.95, "the user")
    assert found.kept_low == pytest.approx(0.05 ** (1 / 60)) and "vector -> image in mine" in str(found)
    assert found.precision() == pytest.approx(1.0)


def test_auto_uses_the_stored_threshold_and_says_what_it_means(circle):
    circle.threshold(*asked())
    again = quiver.open(circle.uri)
    there = replace(at(37), min_score="auto")
    assert again.search(there).ids[:1] == ("g6-1",) and len(again.search(there)) == 3
    circle.delete([f"g6-{n}" for n in range(3)])
    found = again.search(there)
    assert found.ids == () and "changed since" in str(found.plan)
    told = reason(found)
    assert "every score is below min_score" in told and "at most 10% of questions without an answer" in told
    batch = again.search_batch(vector=np.stack([at(37).vectors["mine"], at(13).vectors["mine"]]), min_score="auto")
    assert [len(each) for each in batch] == [0, 3]
    assert len(next(again.pages(replace(at(13), min_score="auto", k=2)))) == 2


def test_the_description_of_a_collection_lists_its_thresholds(circle):
    assert list(circle.info().thresholds) == []
    learned = circle.threshold(*asked())
    (told,) = circle.info().thresholds
    assert (told.kind, told.min_score, told.questions) == ("vector -> image in mine", learned.min_score, 60)
    assert told.promise == learned.promise() and not told.stale and told.changed == 0
    assert circle.info().to_dict()["thresholds"][0]["source"] == "the user"
    ids = [f"new{n}" for n in range(20)]
    circle.add_vectors(np.tile(np.float32([1, 0]), (20, 1)), ids=ids, space="mine", meta={"group": ["new"] * 20})
    (late,) = circle.info().thresholds
    assert late.stale and late.changed == pytest.approx(20 / 180)
    printed = CliRunner().invoke(app, ["info", circle.uri]).output
    assert "min_score 0.9962 for vector -> image in mine: with 95% confidence" in " ".join(printed.split())
    assert "not used any more: 11% of the vectors have changed" in " ".join(printed.split())


def test_a_threshold_is_stale_after_many_changes_and_for_other_kinds(circle):
    there = replace(at(37), min_score="auto")
    with pytest.raises(BadSpec, match=r"no threshold is learned for vector -> image in mine: learn one with .* none"):
        circle.search(there)
    circle.threshold(*asked())
    with pytest.raises(BadSpec, match=r"no threshold is learned for like .*; learned so far: vector -> image in mine"):
        circle.search(like="g1-1", min_score="auto")
    with pytest.raises(BadSpec, match="min_score='auto' does not go together with unlike"):
        circle.search(vector=at(3).vectors["mine"], unlike="g9-1", min_score="auto")
    ids = [f"new{n}" for n in range(17)]
    circle.add_vectors(np.tile(np.float32([1, 0]), (17, 1)), ids=ids, space="mine", meta={"group": ["new"] * 17})
    assert circle.search(there).ids and "9.4% of the vectors changed since" in str(circle.explain(there))
    circle.add_vectors(np.float32([[0, 1]] * 2), ids=["x", "y"], space="mine", meta={"group": ["new"] * 2})
    with pytest.raises(BadSpec, match=r"is stale: 11% of the vectors changed since 20..-..-..; learn it again"):
        circle.search(there)
    circle.threshold(*asked())
    assert circle.search(there).ids


def test_replaced_vectors_count_as_changes_and_compaction_does_not(circle):
    circle.threshold(*asked())
    there = replace(at(37), min_score="auto")
    circle.index("faiss factory=Flat")
    assert "changed since" not in str(circle.explain(there))
    ids = [f"g{n}-0" for n in range(30)]
    circle.add_vectors(np.tile(np.float32([0, 1]), (30, 1)), ids=ids, space="mine")
    with pytest.raises(BadSpec, match="stale: 17% of the vectors"):
        circle.search(there)


def test_the_collection_asks_itself_by_a_column(circle):
    found = circle.threshold(by="group", rate=0.2)
    assert found.questions == 180 and found.kind == "like -> image in mine" and found.source == "own items by group"
    assert np.cos(np.radians(6)) < found.min_score <= np.cos(np.radians(3.9)) and found.kept == 1.0
    assert len(circle.search(like="g3-0", min_score="auto")) == 2
    with pytest.raises(BadSpec, match="no metadata column 'brand' to group by"):
        circle.threshold(by="brand")
    with pytest.raises(BadSpec, match="by and target choose the collection's own questions"):
        circle.threshold(*asked(), by="group")
    with pytest.raises(BadSpec, match="queries together with their answers"):
        circle.threshold(asked()[0])


def test_the_bound_holds_for_new_questions_with_the_stated_confidence():
    rng = np.random.default_rng(5)
    for questions, rate, confidence in ((40, 0.1, 0.95), (200, 0.1, 0.9), (100, 0.2, 0.95)):
        draws = rng.normal(size=(500, questions)).astype(np.float32)
        found = [bounded(absent, absent + 1, rate=rate, confidence=confidence).min_score for absent in draws]
        missed = norm.sf(found) > rate  # the true share of new questions above the threshold
        assert missed.mean() <= 1 - confidence + 0.02
    exact = [allowed(n, 0.1, 0.95) for n in (28, 29, 46, 61, 100, 500)]
    assert exact == [-1, 0, 1, 2, 4, 38]
    assert least_questions(0.01, 0.95) == 299


def test_questions_must_be_enough_comparable_and_answered(circle):
    queries, answers = asked()
    with pytest.raises(BadSpec, match=r"a rate of 0\.01 with a confidence of 0\.95 needs at least 299 questions"):
        circle.threshold(queries, answers, rate=0.01)
    with pytest.raises(BadSpec, match="confidence must be a share"):
        circle.threshold(queries, answers, confidence=1)
    with pytest.raises(BadSpec, match="60 queries have 1 answers"):
        circle.threshold(queries, answers[:1])
    with pytest.raises(BadSpec, match="one kind of query"):
        circle.threshold([*queries[1:], Query(like="g1-1")], answers)
    with pytest.raises(BadData, match="no right answer is found"):
        circle.threshold(queries, [["nobody"]] * 60)
    circle.add_vectors(np.eye(60), space="other", ids=[f"g{n}-0" for n in range(60)])
    both = [Query(vectors={**query.vectors, "other": np.eye(60)[0]}) for query in queries]
    with pytest.raises(BadSpec, match="min_score needs comparable scores"):
        circle.threshold(both, answers)


@pytest.mark.parametrize("least", ["automatic", "0.5", [0.5], np.nan])
def test_a_threshold_is_a_number_or_auto(least):
    with pytest.raises(BadSpec, match="min_score must be a finite number or 'auto'"):
        Query(like="a", min_score=least)


def test_the_command_line_reads_a_table_of_questions_or_asks_the_collection(tmp_path):
    words = [f"word{n}" for n in range(32)]
    shop = quiver.open(tmp_path / "shop", catch_up=False)
    shop.add(*(quiver.Item(word, {"text": f"{word} of our own"}) for word in words), encoder="classic", workers=0)
    table = tmp_path / "questions.csv"
    table.write_text("text,answer\n" + "".join(f"{word} of our own,{word}\n" for word in words))
    done = CliRunner().invoke(app, ["threshold", shop.uri, str(table), "--target", "text", "--json"])
    found = json.loads(done.stdout)
    assert found["questions"] == 32 and found["min_score"] < 1 and found["kept"] == 1.0
    assert found["source"] == "questions.csv" and found["precision"] > 0.5 and "sample" not in found
    said = CliRunner().invoke(app, ["threshold", shop.uri, "--target", "text"]).stdout
    assert said.startswith("min_score ") and "learned on 32 questions (own texts)" in said
    lines = CliRunner().invoke(
        app, ["search", shop.uri, "--text", "word3 of our own", "--target", "text", "--min-score", "auto"]
    )
    assert lines.stdout.splitlines()[0].split("\t")[2] == "word3"
    with pytest.raises(BadSpec, match="--min-score soon: give a number, or auto"):
        CliRunner().invoke(app, ["search", shop.uri, "--text", "a", "--min-score", "soon"], catch_exceptions=False)
