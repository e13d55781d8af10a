"""Own questions: a table with answers, measured as a data set is."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

import quiver
from quiver.benchmarks.recall import measure
from quiver.benchmarks.recall.outcome import Options
from quiver.benchmarks.recall.own_questions import Own, load
from quiver.cli import app
from quiver.errors import BadData, BadSpec

QUICK = Options(resamples=200, progress=False)


def table(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


@pytest.fixture
def questions(photos, tmp_path):
    """Each of the first pictures of a colour asks for the next two of it, in two rows."""
    rows = [
        {"image": str(photos / f"{colour}0.png"), "answer": answer}
        for colour in ("red", "green", "blue")
        for answer in (f"photos/{colour}1.png", f"{colour}2.png")  # an id, and the name of a file alone
    ]
    return table(tmp_path / "questions.csv", rows)


def test_rows_that_ask_the_same_are_one_question_and_the_picture_itself_does_not_compete(photos, questions):
    task = load(questions, Own(items=[str(photos)]))
    assert (len(task.items), len(task.questions), task.target) == (24, 3, "image")
    (red,) = (each for each in task.questions if "red" in each.query.media["image"])
    assert set(red.relevant) == {"photos/red1.png", "photos/red2.png"} and red.exclude == ("photos/red0.png",)
    again = load(questions, Own(items=[str(photos)]))
    assert again.revision == task.revision


def test_figures_are_those_of_a_search_by_hand_beside_chance_and_intervals(photos, questions, tmp_path):
    found = measure(questions, ["classic"], own=Own(items=[str(photos)]), options=QUICK)
    encoder = quiver.registry.load("encoders", "classic")
    (space,) = encoder.spaces("image")
    read, names = encoder.reader("image"), sorted(path.name for path in photos.iterdir())
    rows = encoder.embed("image", [read(str(photos / name)) for name in names], space)
    hits = []
    for colour in ("red", "green", "blue"):
        scores = rows @ rows[names.index(f"{colour}0.png")]
        scores[names.index(f"{colour}0.png")] = -np.inf
        best = names[int(scores.argmax())]
        hits.append(best in (f"{colour}1.png", f"{colour}2.png"))
    assert [outcome.name for outcome in found.outcomes][:2] == ["classic", "random"]
    first, chance = found.outcomes[:2]
    assert first.scores.of("Success@1").tolist() == [float(hit) for hit in hits]
    assert chance.scores.mean("Success@1") == pytest.approx(2 / 23)
    assert first.intervals["Success@10"].low <= first.scores.mean("Success@10") <= first.intervals["Success@10"].high


def test_items_may_be_a_manifest_or_a_collection(photos, questions, prices, tmp_path):
    rows = [{"photo": path.name, "name": f"a {path.stem[:-1]} one"} for path in sorted(photos.iterdir())]
    shop = table(photos / "shop.csv", rows)
    task = load(questions, Own(items=[f"{shop} image=photo text=name"]))
    assert len(task.items) == 24 and task.items[0].media["text"] == "a blue one"
    quiver.open(tmp_path / "shop").add(photos, encoder="classic", meta=prices)
    stored = load(questions, Own(items=[str(tmp_path / "shop")]))
    assert {item.id for item in stored.items} == {item.id for item in load(questions, Own(items=[str(photos)])).items}
    assert stored.items[0].meta["colour"] in ("red", "green", "blue")
    words = table(tmp_path / "words.csv", [{"text": "a red one", "answer": "photos/red3.png"}])
    found = load(words, Own(items=[f"{shop} image=photo text=name"], target="text"))
    assert found.target == found.questions[0].query.target == "text"


def test_answers_that_name_no_item_count_as_not_found_and_none_is_refused(photos, tmp_path):
    rows = [{"image": str(photos / "red0.png"), "answer": "red1.png"}, {"image": str(photos / "red2.png")}]
    rows[1]["answer"] = "pink.png"
    path = table(tmp_path / "q.csv", rows)
    task = load(path, Own(items=[str(photos)]))
    assert [note for note in task.notes if "1 of 2 right answers name no item with image, such as 'pink.png'" in note]
    found = measure(path, ["classic"], own=Own(items=[str(photos)]), options=replace(QUICK, work=tmp_path / "work"))
    classic = found.outcomes[0]
    assert classic.scores.n == 2 and classic.scores.of("Success@1")[1] == 0
    assert classic.attribution.counts["missing"] == 1 and classic.missing.hopeless == 1
    assert dict(classic.missing.items) == {"pink.png": "there is no such item"}
    with pytest.raises(BadData, match=r"no answer is the id of an item with image, such as 'pink.png' \(ids look like"):
        load(table(tmp_path / "r.csv", rows[1:]), Own(items=[str(photos)]))


def test_a_column_of_no_table_is_refused_also_if_the_items_are_a_collection(photos, tmp_path):
    path = table(tmp_path / "q.csv", [{"text": "red", "answer": "photos/red1.png"}])
    shop = quiver.open(tmp_path / "shop", catch_up=False)
    shop.add(photos, encoder="classic", workers=0)
    for own in (Own(items=[shop.uri]), Own(collection=shop.uri)):
        with pytest.raises(BadData, match=r"q\.csv has no column 'words'"):
            load(path, replace(own, columns={"text": "words"}))
        assert [question.id for question in load(path, own).questions] == ["q1"]


@pytest.mark.parametrize(
    ("own", "says"),
    [
        (
            Own(),
            r"or files to embed, as in `quiver bench recall .*q\.csv --items photos/ --encoder classic`",
        ),
        (Own(items=["nowhere"]), "no such file, folder or collection"),
        (Own(items=["photos"], answer="right"), "has no column 'right'"),
        (Own(items=["photos"], target="audio"), "--target audio: the items have image"),
        (Own(items=["photos", "photos"]), "also occurs in another of the --items"),
    ],
)
def test_missing_and_wrong_options_are_explained(photos, tmp_path, monkeypatch, own, says):
    monkeypatch.chdir(tmp_path)
    path = table(tmp_path / "q.csv", [{"text": "red", "answer": "red1.png"}])
    with pytest.raises((BadData, BadSpec), match=says):
        load(path, own)


def test_the_command_measures_own_questions(photos, questions, tmp_path):
    command = ["bench", "recall", questions, "--items", photos, "--encoder", "classic", "--work", tmp_path / "work"]
    done = CliRunner().invoke(app, [*map(str, command), "--json", "-"], catch_exceptions=False)
    report = json.loads(done.stdout)
    assert report["headline"] == "Success@1" and report["dataset"]["questions"] == 3
    plain = CliRunner().invoke(app, ["bench", "recall", questions, "--items", str(photos)])
    assert isinstance(plain.exception, BadSpec) and "give --encoder, as in" in str(plain.exception)
    absent = CliRunner().invoke(app, ["bench", "recall", "none.csv", "--items", str(photos)])
    assert "there is no file none.csv" in str(absent.exception)
    other = CliRunner().invoke(app, ["bench", "recall", "esc50", "--items", str(photos), "--encoder", "classic"])
    assert "need your own questions" in str(other.exception)
