import os
from dataclasses import replace

import numpy as np
import pytest

import quiver
from quiver.benchmarks.recall.outcome import Options
from quiver.benchmarks.recall.prepare import prepare
from quiver.benchmarks.recall.run import bench, depth_of, headline_of
from quiver.benchmarks.recall.search import ask
from quiver.benchmarks.recall.setup import Setup
from quiver.benchmarks.recall.task_store import fill, home
from quiver.engine.core.encoder import load
from quiver.errors import BadData, NoRoute
from quiver.task import Question, Task
from quiver.types import Item, Query

QUICK = Options(resamples=200, progress=False, baselines=False)


def similarities(task):
    """Score all readable pictures against each other, without the engine."""
    encoder = load("classic").encoder
    (space,) = encoder.spaces("image")
    read = encoder.reader("image")
    names = [item.id for item in task.items if item.id != "red4"]
    batch = [read(item.media["image"]) for item in task.items if item.id != "red4"]
    vectors = encoder.embed("image", batch, space).astype(np.float64)
    return names, vectors @ vectors.T


def test_figures_are_those_of_a_brute_force_search(task, measured):
    names, scores = similarities(task)
    np.fill_diagonal(scores, -np.inf)
    expected = dict.fromkeys((question.id for question in task.questions), 0.0)
    for n, name in enumerate(names):
        expected[f"q-{name}"] = float(names[int(scores[n].argmax())][:-1] == name[:-1])
    found = measured.outcomes[0].scores.of("Success@1").tolist()
    assert found == list(expected.values())
    assert 0 < sum(found) < len(found)


def test_what_cannot_be_read_counts_as_a_miss_and_is_named(task, measured):
    outcome = measured.outcomes[0]
    assert outcome.scores.n == len(task.questions) == 20
    assert list(outcome.missing.items) == ["red4"] and "red4.png" in outcome.missing.items["red4"]
    assert list(outcome.missing.unread) == ["q-red4"]
    # The four other red ones lack one of their answers; red4 itself, which was not read, lacks all of its own.
    assert (outcome.missing.touched, outcome.missing.hopeless) == (5, 1)
    at = [question.id for question in task.questions].index("q-red0")
    assert outcome.scores.of("R@4")[at] <= 3 / 4


def test_losses_add_up_to_what_the_figure_lacks(measured):
    found = measured.outcomes[0].attribution
    assert sum(found.counts.values()) == found.lost == 20 - int(measured.outcomes[0].scores.of("Success@1").sum())
    assert found.counts["missing"] == 1
    assert sum(found.points.values()) == pytest.approx(1 - measured.outcomes[0].scores.mean("Success@1"), abs=1e-12)


def test_excluded_items_do_not_take_up_places(task, measured):
    names = [item.id for item in task.items]
    for question, row in zip(task.questions, measured.outcomes[0].ranking.rows, strict=True):
        listed = {names[place] for place in row if place >= 0}
        assert not listed.intersection(question.exclude)
        # Everything that was read competes, but for the picture itself, and is listed once: RR has no cutoff.
        assert len(listed) == (0 if question.id == "q-red4" else 18)


def test_lists_are_those_of_a_search_by_the_collection(task, work):
    stock = fill(task, ("classic",), folder=home(task, work), progress=False)
    asked = prepare(task, stock, Setup(), folder=home(task, work), progress=False)
    ranking = ask(asked, 6, progress=False).ranking
    results = quiver.open(stock.uri).search_batch(
        [replace(q.query, k=7, index="exact") for q in task.questions if q.id != "q-red4"]
    )
    lists = [row for n, row in enumerate(ranking.rows) if n not in asked.unread]
    scores = [row for n, row in enumerate(ranking.scores) if n not in asked.unread]
    for result, rows, values in zip(results, lists, scores, strict=True):
        assert [task.items[row].id for row in rows] == [hit.id for hit in result.hits[1:]]
        assert values.tolist() == [hit.score for hit in result.hits[1:]]


def test_an_example_item_asks_as_its_picture_does(task, measured, work):
    likes = [replace(q, query=Query(like=q.exclude, target="image"), exclude=()) for q in task.questions]
    by_id = bench(replace(task, questions=likes), ["classic"], options=replace(QUICK, work=work))
    assert by_id.outcomes[0].scores.of("RR").tolist() == measured.outcomes[0].scores.of("RR").tolist()
    assert "red4 is missing" in by_id.outcomes[0].missing.unread["q-red4"]


def test_a_second_run_embeds_nothing(task, measured, work):
    def state():
        return {path: os.stat(path).st_mtime_ns for path in work.rglob("*") if "queries" in path.parts}

    before = state()
    again = bench(task, ["classic"], options=replace(QUICK, work=work))
    assert before and state() == before
    assert again.outcomes[0].scores.of("RR").tolist() == measured.outcomes[0].scores.of("RR").tolist()


def test_several_pictures_ask_as_their_mean(task, work, swatches):
    names, scores = similarities(task)
    held = {"image": [str(swatches / "red0.png"), str(swatches / "blue0.png")]}
    question = Question("q", Query(held, target="image"), {"red1": 1}, ("red0", "blue0"))
    lone = replace(task, name="mean", questions=[question], measures=("RR",))
    (found,) = bench(lone, ["classic"], options=replace(QUICK, work=work)).outcomes
    both = scores[names.index("red0")] + scores[names.index("blue0")]
    order = [names[n] for n in np.argsort(-both) if names[n] not in question.exclude]
    assert [task.items[n].id for n in found.ranking.rows[0] if n >= 0] == order


def test_a_question_whose_file_changed_is_embedded_anew(task, work, swatches, tmp_path):
    picture = tmp_path / "asked.png"
    question = Question("q", Query({"image": str(picture)}, target="image"), {"red0": 1})
    lone = replace(task, name="lone", questions=[question], measures=("RR",))
    firsts = []
    for name in ("red0", "blue0"):
        picture.write_bytes((swatches / f"{name}.png").read_bytes())
        found = bench(lone, ["classic"], options=replace(QUICK, work=work))
        firsts.append(task.items[found.outcomes[0].ranking.rows[0, 0]].id)
    assert firsts == ["red0", "blue0"]


def test_candidates_compete_among_themselves_whatever_the_index(task, work):
    names, scores = similarities(task)
    chosen = ("blue3", "grey1", "red2", "red4", "green0", "red0")
    questions = [
        replace(q, candidates=chosen, relevant={"red2": 1}) for q in task.questions if q.id in ("q-red0", "q-red1")
    ]
    setup = Setup("faiss factory=HNSW8 ef=1")
    lone = replace(task, name="sampled", questions=questions, measures=("RR",))
    found = bench(lone, ["classic"], setups=[setup], options=replace(QUICK, work=work)).outcomes[0]
    for question, row in zip(questions, found.ranking.rows, strict=True):
        own = question.exclude[0]
        competing = [name for name in chosen if name not in ("red4", own)]
        order = sorted(competing, key=lambda name: -scores[names.index(own), names.index(name)])
        assert [task.items[place].id for place in row if place >= 0] == order
    assert found.scores.of("RR").tolist() != [1.0, 1.0]


@pytest.fixture(scope="module")
def captioned(swatches):
    """Pictures with words; a question shows one and says another colour."""
    names = [f"{colour}{n}" for colour in ("green", "blue", "grey") for n in range(5)]
    items = [Item(name, {"image": str(swatches / f"{name}.png"), "text": f"a {name[:-1]} thing"}) for name in names]
    questions = [
        Question(name, Query({"image": items[n].media["image"], "text": "blue"}, target="image"), {"blue1": 1}, (name,))
        for n, name in enumerate(names)
        if name != "blue1"
    ]
    return Task("captioned", "1", items, questions, ("RR@5",), "image", "composed", "made")


def test_excluded_items_are_gone_before_lists_are_fused(captioned, work):
    folder = home(captioned, work)
    stock = fill(captioned, ("classic",), folder=folder, progress=False)
    asked = prepare(captioned, stock, Setup(), folder=folder, progress=False)
    ranking = ask(asked, 5, progress=False).ranking
    collection = quiver.open(stock.uri)
    for n, question in enumerate(captioned.questions):
        hits = collection.search(replace(question.query, k=5, where=f"id != '{question.exclude[0]}'")).hits
        assert ranking.scores[n].tolist() == pytest.approx([hit.score for hit in hits])
    assert any("full-text search" in note for note in asked.notes)


def test_a_plan_may_use_one_key_alone(captioned, work):
    plans = [Setup(), Setup(held=("image",))]
    both, image = bench(captioned, ["classic"], setups=plans, options=replace(QUICK, work=work)).outcomes
    assert both.scores.mean("RR@5") != image.scores.mean("RR@5")
    assert "text of 14 questions is not used: left out by the plan" in image.notes
    assert [stage["stage"] for stage in image.plan["stages"]] == ["encode", "recall", "cut"]


def test_metadata_is_not_there_to_be_searched(captioned, swatches, work):
    items = [Item(item.id, {"image": item.media["image"]}, {"caption": item.media["text"]}) for item in captioned.items]
    words = [replace(q, query=Query({"text": "blue"}, target="image")) for q in captioned.questions]
    with pytest.raises(NoRoute, match="no route from text to image"):
        bench(replace(captioned, name="meta", items=items, questions=words), ["classic"], options=QUICK)


def test_an_encoder_of_something_else_is_refused_beside_one_that_works(task, work, measured):
    made = "quiver.benchmarks.speed.scale items=10 questions=10"
    both = bench(task, [made, "classic"], options=replace(QUICK, work=work))
    assert [outcome.name for outcome in both.outcomes] == ["classic"]
    assert "embeds no image" in both.refused[0].why
    with pytest.raises(NoRoute, match="embeds no image"):
        bench(task, [made], options=replace(QUICK, work=work))


def test_two_encoders_of_one_name_are_told_apart(task, work):
    found = bench(task, ["classic frames=2", "classic frames=3"], options=replace(QUICK, work=work))
    names = [outcome.name for outcome in found.outcomes]
    assert len(set(names)) == 2 and names[1].startswith("classic/image@")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"items": 2}, "item 'red0' occurs twice"),
        ({"questions": 2}, "question 'q-red0' occurs twice"),
        ({"relevant": {}}, "question q-red0 has no relevant item"),
        ({"relevant": {"nobody": 1}}, "names item 'nobody', which the task lacks"),
        ({"relevant": {"red0": 1}}, "has no relevant item among those that compete"),
    ],
)
def test_a_task_that_contradicts_itself_is_refused(task, change, problem):
    first = task.questions[0]
    bad = {
        "items": lambda: replace(task, items=[*task.items, task.items[0]]),
        "questions": lambda: replace(task, questions=[first, first]),
        "relevant": lambda: replace(task, questions=[replace(first, relevant=change["relevant"])]),
    }[next(iter(change))]()
    with pytest.raises(BadData, match=problem):
        bench(bad, ["classic"], options=QUICK)


def test_an_unknown_space_is_an_error_that_lists_those_there_are(task, work):
    with pytest.raises(NoRoute, match="no space is called 'dino' here; there are classic/image"):
        bench(task, ["classic"], setups=[Setup(spaces=("dino",))], options=replace(QUICK, work=work))


def test_nothing_that_can_be_embedded_is_an_error(task, tmp_path):
    bad = [Item(item.id, {"image": str(tmp_path / item.id)}) for item in task.items]
    with pytest.raises(BadData, match="not one image of its 20 items could be embedded"):
        bench(replace(task, name="gone", items=bad), ["classic"], options=replace(QUICK, work=tmp_path))


def test_lists_are_one_place_deeper_than_the_largest_cutoff(measured):
    assert depth_of(("Success@1", "R@4"), measured.judgements) == (5, ())
    assert depth_of(("R@4", "RR"), measured.judgements) == (19, ())
    assert headline_of(("AP@20", "R@5")) == "R@5"
    assert headline_of(("APh@20",)) == "Success@20"


NUMBERS = """
import numpy as np

from quiver.media import TextReader
from quiver.types import Space


def load(*, flip: bool = False):
    return Numbers(flip)


class Numbers:
    keys = ("text",)

    def __init__(self, flip):
        self.space = Space(f"numbers/{flip}", 2, "l2", "1" if flip else "0")
        self.sign = -1 if flip else 1

    def spaces(self, key):
        return (self.space,) if key == "text" else ()

    def reader(self, key):
        return TextReader()

    def embed(self, key, batch, space):
        return np.array([[float(text), self.sign * float(text)] for text in batch], np.float32)
"""


@pytest.fixture
def numbers(lab):
    (lab / "numbers.py").write_text(NUMBERS)
    items = [Item(f"i{n}", {"text": str(n)}) for n in range(8)]
    questions = [
        Question("near", Query({"text": "2.2"}), {"i2": 1}),
        Question("nan", Query({"text": "nan"}), {"i3": 1}),
    ]
    return Task("numbers", "1", items, questions, ("RR", "Success@1"), "text", "nearest number", "made")


def test_a_vector_that_is_not_a_number_is_a_miss_with_its_reason(numbers, tmp_path):
    (found,) = bench(numbers, ["lab.numbers"], options=replace(QUICK, work=tmp_path)).outcomes
    assert found.scores.of("RR").tolist() == [1.0, 0.0]
    assert "not finite" in found.missing.unread["nan"]
    assert found.attribution.counts == {"missing": 1, "encoder": 0, "index": 0, "depth": 0, "reranker": 0}


def test_encoders_joined_by_a_plus_answer_together(numbers, tmp_path):
    options = replace(QUICK, work=tmp_path)
    (found,) = bench(numbers, ["lab.numbers + lab.numbers flip=true"], options=options).outcomes
    assert found.name == "numbers/False + numbers/True"
    assert [stage["stage"] for stage in found.plan["stages"]] == ["encode", "encode", "recall", "recall", "fuse", "cut"]
    # Both lists agree, so that the first of them scores twice what rank 1 gives.
    assert found.ranking.scores[0, 0] == pytest.approx(2 / 61)
