"""Composed questions, by scorers: made garments with an untrained ARTEMIS, and a judge of numbers by hand."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from quiver import registry
from quiver.benchmarks.recall import plot
from quiver.benchmarks.recall.outcome import Options
from quiver.benchmarks.recall.prepare import prepare
from quiver.benchmarks.recall.report import describe, remarks, table
from quiver.benchmarks.recall.run import bench
from quiver.benchmarks.recall.search import ask
from quiver.benchmarks.recall.setup import Setup
from quiver.benchmarks.recall.task_store import fill, home
from quiver.encoders.artemis.config import Config
from quiver.encoders.artemis.model import Model
from quiver.encoders.artemis.word import collect
from quiver.engine.core.encoder import load
from quiver.protocols import ScorerInput
from quiver.task import Question, Task
from quiver.types import Item, Query

N = 60
QUICK = Options(resamples=100, progress=False, baselines=False)
WAYS = {
    "exact": Setup(),
    "none": Setup(scorer="none"),
    "image": Setup(held=("image",)),
    "words": Setup(held=("text",)),
    "keep": Setup(weights=(("image", 1.0), ("text", 0.0))),
    **{
        f"{name} {depth}": Setup(recall=name, depth=depth) for name in ("single", "union", "lifted") for depth in (4, N)
    },
    "faiss": Setup("faiss factory=HNSW8 ef=16", recall="lifted", depth=20),
    "rerank": Setup(recall="routes", spaces=("classic/image",), depth=20),
    "guess": Setup(recall="guess"),
    "other": Setup(scorer="tirg"),
}


@pytest.fixture(scope="module")
def garments(tmp_path_factory):
    """Forty composed questions of sixty garments, one of which shows a file that is no picture."""
    folder = tmp_path_factory.mktemp("garments")
    torch.set_num_threads(1)
    task = registry.load("benchmarks.datasets", f"world track=composed split=all count={N} size=24 folder={folder}")
    (folder / "no.png").write_bytes(b"no picture")
    questions = list(task.questions[:40])
    media = {**questions[7].query.media, "image": str(folder / "no.png")}
    questions[7] = replace(questions[7], query=replace(questions[7].query, media=media))
    return replace(task, questions=questions, measures=("Success@10", "RR"))


@pytest.fixture(scope="module")
def spec(tmp_path_factory, garments):
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("model")
    heard = collect(question.query.media["text"] for question in garments.questions)
    Model(Config.tiny(image="features:1120", image_spec="classic", words=heard)).save_pretrained(folder)
    return f"artemis checkpoint={folder} device=cpu"


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def found(garments, spec, shared):
    """All ways, measured, by their names here."""
    setups = [replace(setup, name=name) for name, setup in WAYS.items()]
    return bench(garments, [f"{spec} + classic"], setups=setups, options=replace(QUICK, work=shared))


def of(found, name):
    return found.outcome(f"artemis/artemis + classic/image | {name}")


@pytest.fixture(scope="module")
def truth(garments, spec):
    """Score every garment for every question but the unreadable one, without the engine: terms by name, (q, n)."""
    encoder = load(registry.canonical(spec)).encoder
    scorer, (space,), read = encoder.scorers[0], encoder.spaces("image"), encoder.reader("image")
    stored = encoder.embed("image", [read(item.media["image"]) for item in garments.items], space)
    asked = [ScorerInput({name: [value] for name, value in q.query.media.items()}) for q in able(garments)]
    return scorer.terms(scorer.hold(asked), {space: stored}), stored


def able(task):
    return [question for n, question in enumerate(task.questions) if n != 7]


def places(task, scores):
    """Sort the garments that compete for each question."""
    at = {item.id: n for n, item in enumerate(task.items)}
    for question, row in zip(able(task), scores, strict=True):
        order = np.argsort(-row, kind="stable")
        yield order[~np.isin(order, [at[id] for id in question.exclude])]


def listed(outcome):
    return [row[row >= 0] for n, row in enumerate(outcome.ranking.rows) if n != 7]


def test_text_and_image_are_composed_and_everything_is_scored(found, garments, truth):
    outcome, (terms, _) = of(found, "exact"), truth
    for mine, theirs in zip(listed(outcome), places(garments, terms["keep"] + terms["change"]), strict=True):
        assert mine.tolist() == theirs.tolist() and len(mine) == N - 1
    assert [stage["stage"] for stage in outcome.plan["stages"]] == ["compose", "score", "cut"]
    assert outcome.notes == ("artemis (image + text -> image) scores all competing items",)
    assert outcome.latency.embed > 0


def test_a_question_whose_picture_is_none_is_a_miss_with_its_reason(found, garments):
    outcome = of(found, "exact")
    assert outcome.scores.n == 40 and outcome.scores.of("RR")[7] == 0
    assert list(outcome.missing.unread) == [garments.questions[7].id]
    assert "no.png" in outcome.missing.unread[garments.questions[7].id]
    assert outcome.attribution.counts["missing"] == 1


def test_the_reference_competes_where_the_protocol_does_not_leave_it_out(garments, spec, shared):
    kept = replace(garments, questions=[replace(question, exclude=()) for question in garments.questions[:3]])
    setups = [Setup(), Setup(recall="lifted", depth=N)]
    for outcome in bench(kept, [f"{spec} + classic"], setups=setups, options=replace(QUICK, work=shared)).outcomes:
        assert [len(row[row >= 0]) for row in outcome.ranking.rows] == [N] * 3
        assert not any("left out" in note for note in outcome.notes)


def test_a_plan_without_a_scorer_or_without_words_is_visual_search(found, garments, spec, shared):
    alone = bench(garments, [spec], setups=[Setup(held=("image",))], options=replace(QUICK, work=shared)).outcomes[0]
    read = load(registry.canonical(spec)).encoder
    (space,), reader = read.spaces("image"), read.reader("image")
    held = read.embed("image", [reader(question.query.media["image"]) for question in able(garments)], space)
    stored = read.embed("image", [reader(item.media["image"]) for item in garments.items], space)
    for mine, theirs in zip(listed(alone), places(garments, held @ stored.T), strict=True):
        assert mine[:10].tolist() == theirs[:10].tolist()
    assert of(found, "none").ranking.rows.tolist() == of(found, "image").ranking.rows.tolist()
    assert "text of 40 questions is not used: left out by the plan" in of(found, "image").notes
    assert "text of 40 questions is not used: no route leads from it to the target" in of(found, "none").notes


def test_words_that_lead_nowhere_and_ways_that_are_not_there_are_refused(found):
    why = {each.name.split(" | ")[1]: each.why for each in found.refused}
    assert list(why) == ["words", "guess", "other"]
    assert "no route from text to image" in why["words"]
    assert "has no recall 'guess'; choose from single, union, lifted, routes" in why["guess"]
    assert "there is no scorer 'tirg' here" in why["other"]


def test_weights_weigh_the_terms_of_a_scorer(found, garments, truth):
    for mine, theirs in zip(listed(of(found, "keep")), places(garments, truth[0]["keep"]), strict=True):
        assert mine.tolist() == theirs.tolist()


@pytest.mark.parametrize("recall", ["single", "union", "lifted"])
def test_as_many_candidates_as_there_are_keep_everything(found, recall):
    exact, way = of(found, "exact"), of(found, f"{recall} {N}")
    assert way.ranking.rows[:, : N - 1].tolist() == exact.ranking.rows[:, : N - 1].tolist()
    assert way.kept[10].value == 1.0 and not exact.kept
    assert way.attribution.counts == exact.attribution.counts
    names = [stage["stage"] for stage in way.plan["stages"]]
    assert names == ["compose", *["recall"] * (3 if recall == "union" else 1), "rescore", "cut"]


@pytest.mark.parametrize("recall", ["single", "union", "lifted"])
def test_what_is_kept_is_counted_and_what_few_candidates_lose_is_laid_to_the_depth(found, recall):
    exact, way = of(found, "exact"), of(found, f"{recall} 4")
    pairs = zip(listed(exact), listed(way), strict=True)
    assert way.kept[10].value == pytest.approx(np.mean([np.isin(a[:10], b[:10]).mean() for a, b in pairs]))
    assert way.kept[10].low <= way.kept[10].value <= way.kept[10].high < 1
    assert way.attribution.counts["depth"] > 0 == way.attribution.counts["index"]
    lost = (exact.scores.of("Success@10") > way.scores.of("Success@10")).sum()
    assert way.attribution.counts["depth"] == lost


def test_losses_of_every_way_add_up(found):
    for outcome in found.outcomes:
        value = outcome.scores.mean("Success@10")
        assert sum(outcome.attribution.counts.values()) == outcome.attribution.lost == round(40 * (1 - value))
        assert sum(outcome.attribution.points.values()) == pytest.approx(1 - value, abs=1e-12)


def test_an_index_over_the_lifted_vectors_is_built_and_asked(found):
    outcome = of(found, "faiss")
    (recall,) = [stage for stage in outcome.plan["stages"] if stage["stage"] == "recall"]
    assert (recall["index"], recall["k"]) == ("faiss", 20)
    assert recall["route"]["column"]["bridges"][0]["target"]["name"] == "artemis/artemis/lifted"
    assert outcome.seconds["index"] > 0 and 0.5 < outcome.kept[10].value <= 1


def test_a_scorer_reranks_what_another_route_finds(found, garments, truth):
    outcome, (terms, _) = of(found, "rerank"), truth
    recalls = [stage for stage in outcome.plan["stages"] if stage["stage"] == "recall"]
    images = [stage["route"]["column"]["space"]["name"] for stage in recalls]
    assert images == ["classic/image"] and not outcome.kept
    assert "words" not in [stage["stage"] for stage in outcome.plan["stages"]], "no item has a word"
    for mine, scores in zip(listed(outcome), terms["keep"] + terms["change"], strict=True):
        assert len(mine) == 20
        assert mine.tolist() == sorted(mine.tolist(), key=lambda n: -scores[n])
    counts = outcome.attribution.counts
    assert counts["reranker"] > 0 and counts["depth"] > 0 and counts["encoder"] == counts["index"] == 0


def test_candidates_compete_among_themselves_whatever_the_recall(garments, spec, shared, truth):
    scores, at = truth[0]["keep"] + truth[0]["change"], {item.id: n for n, item in enumerate(garments.items)}
    first = garments.questions[0]
    few = tuple(sorted({*first.exclude, *list(first.relevant)[:1], *(item.id for item in garments.items[-9:])}))
    asked = replace(first, candidates=few, relevant=dict.fromkeys(list(first.relevant)[:1], 1))
    task = replace(garments, questions=[asked])
    setups = [Setup(recall="single", depth=2), Setup(recall="routes", spaces=("classic/image",), depth=20)]
    for outcome in bench(task, [f"{spec} + classic"], setups=setups, options=replace(QUICK, work=shared)).outcomes:
        mine = [garments.items[n].id for n in outcome.ranking.rows[0] if n >= 0]
        competing = [id for id in few if id not in first.exclude]
        assert mine == sorted(competing, key=lambda id: -scores[0, at[id]])[: outcome.setup.depth]


def test_the_table_says_what_is_kept_and_the_plot_draws_it(found):
    report = describe(found)
    titles, rows = table(report)
    kept = {row[0].split(" | ")[1]: row[titles.index("kept@10")] for row in rows}
    assert kept["exact"] == "-" and kept[f"union {N}"] == "1.000" and float(kept["single 4"]) < 1
    assert "artemis/artemis + classic/image union by exact" in plot.rendered(report)["kept"].decode()
    said = "\n".join(remarks(report))
    assert "the reranker moved" in said and "scores the candidates of its recall method lifted" in said


def test_intervals_draw_references_not_questions(found, garments):
    named = [question.source for question in garments.questions]
    assert [question.exclude[0] for question in garments.questions] == named
    count = len(set(named))
    assert count < 40 and f"resampled over {count} sources with all of their questions (40 in all)" in "\n".join(
        remarks(describe(found))
    )


def test_weights_weigh_lists_that_are_fused_by_rank(swatches, tmp_path):
    names = [path.stem for path in sorted(swatches.iterdir()) if path.stem != "red4"]
    items = [Item(name, {"image": str(swatches / f"{name}.png"), "text": f"a {name[:-1]} thing"}) for name in names]
    query = Query({"image": str(swatches / "green0.png"), "text": "grey"}, target="image")
    task = Task("w", "1", items, [Question("q", query, {"grey0": 1}, ("green0",))], ("RR@5",), "image", "", "made")
    weighed = [Setup(weights=(("image", 1.0), ("text", weight))) for weight in (0.0, 1e-3, 1e3)]
    setups = [Setup(held=("image",)), *weighed]
    alone, none, little, much = (
        [items[n].id for n in each.ranking.rows[0, :5]]
        for each in bench(task, ["classic"], setups=setups, options=replace(QUICK, work=tmp_path)).outcomes
    )
    assert alone == none == little
    assert all(name.startswith("grey") for name in much)


def test_what_was_prepared_is_found_again_by_a_second_ask(garments, spec, shared):
    folder = home(garments, shared)
    stock = fill(garments, (registry.canonical(spec), "classic"), folder=folder, progress=False)
    before = {path: os.stat(path).st_mtime_ns for path in folder.rglob("*.safetensors")}
    asked = prepare(garments, stock, Setup(recall="union", depth=10), folder=folder, progress=False)
    first, second = (ask(asked, 5, progress=False) for _ in range(2))
    assert first.ranking.rows.tolist() == second.ranking.rows.tolist() and first.before is None
    assert {path: os.stat(path).st_mtime_ns for path in folder.rglob("*.safetensors")} == before
