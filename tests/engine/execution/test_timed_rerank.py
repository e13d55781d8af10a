"""Reranking: as deep as a budget allows, best first, and with the say of recall that was learnt."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
from typer.testing import CliRunner

import quiver
from quiver.cli import app
from quiver.engine.core.ranking import Ranked
from quiver.engine.execution import timed_rerank
from quiver.engine.execution.stages.rerank import Rerank
from quiver.engine.execution.timed_rerank import Matched, order
from quiver.engine.planning.planner import plan
from quiver.engine.statistics.rerank_weights import (
    RECALL,
    SCORER,
    Blend,
    Weights,
    agreement,
    blend_safely,
    learn,
    mix,
)
from quiver.engine.statistics.scorer_latency import Pace, Span
from quiver.errors import BadData, BadSpec
from quiver.types import Item, Query

#: A judge of numbers that takes a known time for each pair: it likes the number one above what was said.
JUDGE = """
import os, time
import numpy as np
from quiver.media import TextReader
from quiver.types import Space

PLANE, TRAIT = Space("plane", 2, "l2", "0"), Space("trait", 1, "dot", "0")


class Judge:
    name, holds, finds, reads, recalls, exact, device = "judge", ("text",), "text", (TRAIT,), {}, False, "abacus"

    def hold(self, asked):
        return {"x": np.float32([[float(each.media["text"][0])] for each in asked])}

    def terms(self, held, columns):
        values = columns[TRAIT][None, :, 0]
        time.sleep(float(os.environ.get("JUDGE_MS", 0)) * values.shape[1] * len(held["x"]) / 1e3)
        return {"near": -np.abs(values - held["x"] - 1)}

    def score(self, held, columns):
        return self.terms(held, columns)["near"]


class Numbers:
    keys, scorers, features = ("text",), (Judge(),), (TRAIT,)

    def spaces(self, key):
        return (PLANE, TRAIT) if key == "text" else ()

    def reader(self, key):
        return TextReader()

    def embed(self, key, batch, space):
        return np.float32([[float(text), 0][: space.dim] for text in batch])


def load():
    return Numbers()
"""


@pytest.fixture
def collection(lab, tmp_path):
    """The numbers 0 to 599 as texts."""
    (lab / "abacus.py").write_text(JUDGE)
    made = quiver.open(tmp_path / "c")
    made.add(*(Item(f"i{n}", {"text": str(n)}, {"n": n}) for n in range(600)), encoder="lab.abacus", workers=1)
    return made


def ids(result):
    return [hit.id for hit in result]


def asked(text, **more):
    return Query({"text": text}, target="text", **more)


def alone(text, **more):
    """A question that names its scorer: an unfitted scorer then ranks alone."""
    return asked(text, scorer="judge", **more)


def reranks(made):
    return next((stage for stage in made.stages if isinstance(stage, Rerank)), None)


def test_the_best_candidates_are_put_in_order_and_their_terms_told(collection):
    found = collection.search(alone("100.2", k=3))
    assert ids(found) == ["i101", "i102", "i100"]
    assert [hit.score for hit in found] == pytest.approx([-0.2, -0.8, -1.2], abs=1e-4)
    assert found[0].trace["compose judge"]["near"] == pytest.approx(-0.2, abs=1e-4)
    assert found[0].trace["rerank judge"]["rank"] == 1 and not found.partial
    assert found.plan.notes == (
        "ranked by judge alone, as the query names it: its scores are not weighed against recall",
    )
    stage = reranks(found.plan)
    assert (stage.depth, stage.weights, stage.budget_ms) == (200, SCORER, None)


def test_what_a_budget_does_not_reach_keeps_its_order_and_the_answer_says_so(collection, monkeypatch):
    monkeypatch.setenv("JUDGE_MS", "2")
    session = collection._session()
    pace = session.pace(session.graph.compositions[0])
    pace.device, pace.spans = "abacus", {str(size): Span(2.1 * size, 0.0) for size in (1, 2, 4, 8, 16)}
    found = collection.search(alone("100.2", k=50, budget_ms=60))
    count = sum("compose judge" in hit.trace for hit in found)
    assert found.plan.notes[1:] == (f"reranked {count} of 50 within 60 ms",)
    assert count <= 30 and found.partial and found.to_dict()["partial"]
    nearest = sorted(range(600), key=lambda n: abs(n - 100.2))
    head = sorted(nearest[:count], key=lambda n: abs(n - 101.2))
    assert ids(found) == [f"i{n}" for n in (*head, *nearest[count:50])]
    scores = [hit.score for hit in found]
    assert scores == sorted(scores, reverse=True)


def test_groups_that_a_budget_leaves_no_time_to_look_for_make_an_answer_partial(collection):
    cut = collection.search(asked("100.2", k=50, group_by="n", depth=20, budget_ms=60_000))
    assert len(cut) == 20 and cut.partial
    assert cut.plan.notes[1:] == (
        "group n: there may be more groups, but the latency budget ended before a deeper search",
    )
    whole = collection.search(asked("100.2", k=50, group_by="n", depth=20))
    assert len(whole) == 50 and not whole.partial and len(whole.plan.notes) == 1


@dataclass
class Slow:
    """Queries whose pairs take two seconds each, on a clock of their own, and are scored by their row numbers."""

    now: float = 100.0

    def gather(self, rows):
        return rows, {"rows": rows}

    def terms_of(self, n, columns):
        self.now += 2.0 * len(columns["rows"])
        return {"row": columns["rows"][None].astype(np.float32)}


def test_queries_asked_together_share_what_time_is_left(monkeypatch, tmp_path):
    slow = Slow()
    monkeypatch.setattr(timed_rerank, "perf_counter", lambda: slow.now)
    pace = Pace(tmp_path / "p.json", "", {str(size): Span(2000.0 * size, 0.0) for size in (1, 2, 4, 8)})
    rows = np.arange(30).reshape(3, 10)[:, ::-1]
    given = Ranked("recall", -np.arange(30.0).reshape(3, 10), rows)
    found = timed_rerank.match(slow, given, depth=9, pace=pace, until=134.0)
    # 34 s for three: 11.3 s of it are 4 + 1 pairs, half of the other 24 are 4 + 2, and 12 are left for the last.
    assert [len(terms) for terms in found.terms] == [5, 6, 6] and found.late.all()
    assert found.scores[0, :5].tolist() == [9, 8, 7, 6, 5] and np.isnan(found.scores[0, 5:]).all()
    assert slow.now == 134.0
    everything = timed_rerank.match(slow, given, depth=9, pace=pace, until=float("inf"))
    assert [len(terms) for terms in everything.terms] == [9, 9, 9] and not everything.late.any()


def test_the_depth_is_what_the_budget_leaves_for_pairs(collection):
    query = asked("100.2", k=5)
    session = collection._session()
    facts = session.facts(query, {})
    (composition,) = facts.graph.compositions
    spans = {str(size): Span(size * 1.0 + 1, 0.0) for size in (1, 2, 4, 8, 16, 32, 64)}
    spans |= {"before": Span(8, 0), "after": Span(3, 0.5)}
    pace = Pace(collection._session().cache.root / "none", "abacus", spans)
    known = replace(facts, paces={composition: pace})
    # 100 - 8 - (3 + 2 * 0.5) leaves 88 ms: 64 (65), 16 (17), 4 (5), and 1 ms that nothing fits in.
    made = plan(replace(query, budget_ms=100), known)
    assert reranks(made).depth == 84
    assert "100 ms less 8 ms before and 4 ms after, 1.02 ms a pair on abacus as measured" in str(made)
    assert reranks(plan(replace(query, budget_ms=1000), known)).depth == 200
    assert reranks(plan(replace(query, budget_ms=16), known)).depth == 5  # 2 in time, 5 wanted
    late = plan(replace(query, budget_ms=14), known)
    assert reranks(late) is None and "candidates that the latency budget allows: 1;" in str(late)
    assert reranks(plan(replace(query, budget_ms=1000), facts)).depth == 200
    assert "not measured here yet" in str(plan(replace(query, budget_ms=1000), facts))


def test_nothing_is_reranked_where_everything_that_matches_is_returned(collection):
    few = collection.search(asked("100.2", k=5, where="n < 4"))
    assert reranks(few.plan) is None and ids(few) == ["i3", "i2", "i1", "i0"]
    assert any("4 rows match, and all of them are returned" in each.why for each in few.plan.refused)
    assert reranks(collection.explain(asked("100.2", k=5, where="n < 300"))) is not None


def test_items_that_lack_what_the_scorer_reads_come_after_those_it_scored(collection):
    table = collection._session().table
    name = next(column.name for column in table.columns if column.space.name == "trait")
    table.commit(lambda dataset: dataset.update({name: "NULL"}, where="id = 'i101'"))
    found = collection.search(alone("100.2", k=600, budget_ms=60_000))
    assert ids(found)[:3] == ["i102", "i100", "i103"] and ids(found)[-1] == "i101"


def test_a_running_mean_follows_and_forgets_one_wild_figure():
    span = Span(0.0, 0.0, first=True)
    span.note(10.0)
    assert (span.mean, span.off) == (10.0, 2.5)
    span.note(18.0)  # off 2.5 + (8 - 2.5) / 4, mean 10 + 8 / 8
    assert (span.mean, span.off, span.safe) == (11.0, 3.875, 18.75)
    span.note(1e6)
    assert span.mean == 11.0 + 33.0 / 8
    for _ in range(60):
        span.note(5.0)
    assert span.mean == pytest.approx(5.0, abs=0.01)


def test_the_largest_batch_that_ends_in_time_is_next(tmp_path):
    pace = Pace(tmp_path / "p.json")
    assert pace.fits(50, 100) == 4 and pace.fits(50, 3) == 2 and pace.fits(float("inf"), 300) == 256
    for size, ms in ((16, 20.0), (4, 8.0)):
        pace.note(size, 1000.0)  # the first time something may be loaded
        pace.note(size, ms)
        pace.spans[str(size)].off = 0
    assert pace.fits(20, 100) == 16 and pace.fits(20, 15) == 8 and pace.fits(12, 100) == 4
    assert pace.fits(7, 100) == 2  # half of what four take is taken as fixed: (1 + 2 / 4) / 2 * 8
    assert pace.fits(float("inf"), 100) == 64 and pace.fits(1, 100) == 0
    assert pace.pairs(20 + 20 + 8, 100) == 36 and pace.pair == 1.25
    pace.keep(now=True)
    assert {name: span["mean"] for name, span in json.loads(pace.path.read_text())["figures"]["spans"].items()} == {
        "16": 20.0,
        "4": 8.0,
    }
    assert not pace.on("cuda").known


def test_a_scorer_that_never_has_time_is_tried_again_after_a_while(tmp_path):
    pace = Pace(tmp_path / "p.json", "", {"4": Span(400, 0), "16": Span(800, 0)})
    assert pace.fits(50, 100) == 0
    pace._noted -= 61
    assert pace.fits(50, 100) == 4
    pace._seen.add("4")
    pace.note(4, 40)
    assert pace.spans["16"].mean == 80 and pace.fits(90, 100) == 16


def test_what_a_pair_costs_is_kept_for_the_next_process(collection, monkeypatch):
    monkeypatch.setenv("JUDGE_MS", "0.5")
    found = collection.measure([asked("5"), asked("6")])
    assert found.trials == () and found.ns == pytest.approx(0.5e6, rel=0.3)
    text = str(quiver.open(collection.uri).explain(asked("7", budget_ms=40)))
    assert "ms a pair on abacus as measured" in text


def test_scores_are_mixed_point_by_point():
    recall, match = np.array([3.0, 2.0, 1.0]), np.array([0.0, 30.0, 0.0])
    assert mix(recall, match, SCORER) is match
    assert mix(recall, match, RECALL).tolist() == recall.tolist()
    assert mix(recall, match, Weights(2.0, 0.1)).tolist() == [6.0, 7.0, 2.0]


def test_the_order_is_that_of_the_mixture_and_below_it_that_of_recall():
    given = Ranked("recall", np.array([[9.0, 8.0, 7.0, 5.0, -np.inf]]), np.array([[4, 7, 1, 3, -1]]))
    nan = np.nan
    matched = Matched(np.float32([[1, 5, nan, nan, nan]]), [{}], np.array([True]))
    ranked = order(given, matched, weights=SCORER, label="rerank")
    assert ranked.rows.tolist() == [[7, 4, 1, 3, -1]]
    assert ranked.scores.tolist() == [[5.0, 1.0, 0.0, -2.0, -np.inf]]
    recall_alone = order(given, matched, weights=RECALL, label="rerank")
    assert recall_alone.rows.tolist() == given.rows.tolist()
    nothing = order(given, replace(matched, scores=np.full((1, 5), nan, np.float32)), weights=SCORER, label="rerank")
    assert nothing.rows.tolist() == given.rows.tolist() and nothing.scores[0, :4].tolist() == [0, -1, -2, -4]


TOLD = (
    "judge is not fitted, so it counts only as far as it agrees with recall: `quiver fit COLLECTION QUESTIONS.csv"
    " --target text` learns its weight from a table with the columns text and answer"
)


@pytest.mark.parametrize(
    "more", [{}, {"index": "exact"}, {"where": "n < 150"}, {"budget_ms": 60_000}, {"recall": "routes"}]
)
def test_an_unfitted_scorer_that_agrees_with_recall_moves_hits_and_the_answer_says_what_is_missing(collection, more):
    found = collection.search(asked("100.2", k=3, **more))
    assert found[0].id == "i101" and reranks(found.plan).weights is None
    assert found.plan.notes[0] == TOLD and "not fitted: counts as far as it agrees with recall" in str(found.plan)


@pytest.mark.parametrize("order", ["random", "reversed", "constant", "of another question"])
@pytest.mark.parametrize("count", [2, 5, 30, 600])
def test_an_unfitted_scorer_that_does_not_agree_with_recall_never_outranks_it(lab, tmp_path, order, count):
    """``n * 7919 % 601`` is an order of 0 to 599 that is uncorrelated with their size."""
    said = {"random": "columns[TRAIT][:, 0] * 7919 % 601", "reversed": "columns[TRAIT][:, 0]"}
    said |= {"constant": "0 * columns[TRAIT][:, 0]", "of another question": "-abs(columns[TRAIT][:, 0] - 590)"}
    near = '-np.abs(values - held["x"] - 1)'
    assert near in JUDGE
    (lab / "dice.py").write_text(JUDGE.replace(near, f"({said[order]})[None].astype(np.float32)"))
    made = quiver.open(tmp_path / "c")
    made.add(*(Item(f"i{n}", {"text": str(n)}, {"n": n}) for n in range(count)), encoder="lab.dice", workers=0)
    found = made.search(asked("0.2", k=min(count, 10)))
    assert ids(found) == [f"i{n}" for n in range(min(count, 10))]
    assert ids(made.search(asked("0.2", k=10, index="exact"))) == ids(found)
    plain = made.search(asked("0.2", k=10, scorer="none"))
    assert [hit.score for hit in plain] == [hit.score for hit in found]  # nothing is added to scores either


def test_an_item_without_what_an_unfitted_scorer_reads_stays_beside_its_neighbours(collection):
    table = collection._session().table
    name = next(column.name for column in table.columns if column.space.name == "trait")
    table.commit(lambda dataset: dataset.update({name: "NULL"}, where="id = 'i100'"))
    assert "i100" in ids(collection.search(asked("100.2", k=10)))
    assert ids(collection.search(alone("100.2", k=600, recall="routes", depth=600)))[-1] == "i100"


def test_agreement_is_counted_beyond_chance():
    order = np.arange(101.0)
    assert agreement(order, order**3) == pytest.approx(1 - 0.1645)
    assert agreement(order, -order) == agreement(order, 0 * order) == agreement(order[:1], order[:1]) == 0
    rng = np.random.default_rng(0)
    drawn = [agreement(order, rng.standard_normal(101)) for _ in range(2000)]
    assert np.mean(np.array(drawn) > 0) == pytest.approx(0.05, abs=0.015)
    # By hand: ranks 0, 1.5, 1.5, 3 and 0, 1, 2, 3 have the correlation 4.5 / sqrt(4.5 * 5).
    assert agreement(np.array([1.0, 4, 4, 9]), np.array([1.0, 2, 3, 4])) == pytest.approx(
        max(0.0, 4.5 / np.sqrt(22.5) - 1.645 / np.sqrt(3))
    )


def test_the_safe_blend_adds_standardised_scores_by_hand():
    recall, match = np.array([4.0, 3, 2, 1, 0]), np.array([4.0, 3, 2, 1, 0]) * 1000
    # Correlation 1 less 1.645 / 2 is 0.1775, twice that is the weight; the quartiles are 1000 and 3000.
    by = 0.355 * np.sqrt(2) * 1.349 / 2
    assert blend_safely(recall, match) == pytest.approx(recall + by * (recall - 2))
    lacking = np.append(match, np.nan), np.append(recall, -1)
    # An item without a score lies on the line through the others.
    assert blend_safely(lacking[1], lacking[0])[5] == pytest.approx(-1 + by * -3)
    assert blend_safely(recall, np.array([9.0, np.nan, np.nan, np.nan, np.nan])).tolist() == recall.tolist()


def test_one_wild_score_of_an_unfitted_scorer_does_not_lead():
    recall = -np.arange(400.0)
    moved = blend_safely(recall, np.where(np.arange(400) == 200, 1e30, recall))
    assert moved.argmax() == 0 and 0 < np.flatnonzero(np.argsort(-moved) == 200) < 200


def questions(weight, noise, count=400, n=40):
    """Questions whose right candidate stands out by ``weight`` in the scorer, above noise in both."""
    rng = np.random.default_rng(0)
    right = np.zeros((count, n), bool)
    right[np.arange(count), rng.integers(0, n, count)] = True
    recall, match = (
        right + 0.7 * rng.standard_normal((count, n)),
        weight * right + noise * rng.standard_normal((count, n)),
    )
    order = np.argsort(-recall, axis=1)
    return [np.take_along_axis(each, order, 1) for each in (recall, match, right)]


def test_a_scorer_that_knows_nothing_counts_nothing():
    found = learn(*questions(0.0, 1.0), source="dice")
    assert found.weights == RECALL and found.after == found.before


def test_two_scorers_of_independent_errors_are_better_together_than_either():
    recall, match, right = questions(1.0, 0.7)
    found = learn(recall, match, right, source="made")
    alone = np.take_along_axis(right, np.argsort(-match, axis=1), 1)
    # Both have deviation 0.7 and the answer stands 1 above: log-odds of 1 / 0.49 a point.
    np.testing.assert_allclose(found.weights, 1 / 0.49, rtol=0.15)
    assert found.depth == 40
    assert found.after > max(found.before, (1 / (1 + alone.argmax(axis=1))).mean()) + 0.05
    again = learn(recall, match, right, source="made")
    assert replace(again, at="") == replace(found, at="")


def test_a_scorer_that_is_deceived_by_deep_candidates_looks_no_deeper_than_is_good():
    recall, match, right = questions(3.0, 0.3)
    match[:, 10:] += 10 * ~right[:, 10:]  # what recall has below ten looks wonderful to it
    assert learn(recall, match, right, source="made").depth == 10
    with pytest.raises(BadData, match="recall finds no answer"):
        learn(recall, match, np.zeros_like(right), source="made")


def test_what_is_learnt_here_is_used_from_then_on(collection, tmp_path):
    queries = [asked(f"{n}.2", k=5) for n in range(100, 130)]
    helpful = collection.fit(queries, [f"i{n}" for n in range(101, 131)], source="one above")
    assert helpful.after == 1.0 > helpful.before and helpful.questions == 30
    found = quiver.open(collection.uri).search(asked("200.2", k=1))
    assert ids(found) == ["i201"] and reranks(found.plan).weights == helpful.weights
    assert f"weight {helpful.weights.scorer:.3g} for scorer and" in str(found.plan)
    assert "30 questions of one above" in str(found.plan)
    useless = collection.fit(queries, [[f"i{n}"] for n in range(100, 130)], source="the nearest")
    assert (useless.weights, useless.before, useless.after) == (RECALL, 1.0, 1.0)
    plain = collection.search(asked("200.2", k=1))
    assert ids(plain) == ["i200"] and reranks(plain.plan) is None
    assert any("weight 0 for scorer and" in each.why for each in plain.plan.refused)
    named = collection.search(asked("200.2", k=1, scorer="judge"))
    assert ids(named) == ["i200"] and reranks(named.plan).weights == RECALL


def test_what_was_learnt_of_other_candidates_is_not_used(collection):
    query = asked("100.2", k=5)
    facts = collection._session().facts(query, {})
    (composition,) = facts.graph.compositions
    other = Blend(Weights(1.0, 0.5), 20, 0.1, 0.2, 9, "elsewhere", "2026-11-27", ("recall by something else",))
    made = plan(query, replace(facts, blends={composition: other}))
    assert reranks(made).weights is None
    assert made.notes[0].startswith("judge was fitted on other candidate lists, so it counts only as far as it agrees")


def test_questions_and_answers_go_together(collection):
    with pytest.raises(BadSpec, match="2 queries have 1 answers"):
        collection.fit([asked("1"), asked("2")], ["i1"])
    with pytest.raises(BadData, match="recall finds no answer"):
        collection.fit([asked("1")], ["nobody"])


def test_a_budget_is_a_positive_number(collection):
    with pytest.raises(BadSpec, match="budget_ms must be a positive number of milliseconds, not 0"):
        asked("1", budget_ms=0)
    arguments = ["search", collection.uri, "--text", "100.2", "--target", "text", "-k", "2", "--budget-ms", "500"]
    done = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    answer = json.loads(done.stdout)
    assert [hit["id"] for hit in answer["hits"]] == ["i101", "i102"]
    assert next(stage for stage in answer["plan"]["stages"] if stage["stage"] == "rerank")["budget_ms"] == 500
