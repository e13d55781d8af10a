"""A scorer that can only rerank: what it moves, which losses are its own, how much it counts, how far it comes."""

from dataclasses import replace

import pytest

from quiver.benchmarks.recall import scorer_cache
from quiver.benchmarks.recall.attribution import CAUSES
from quiver.benchmarks.recall.outcome import Options
from quiver.benchmarks.recall.run import bench
from quiver.benchmarks.recall.setup import Setup
from quiver.errors import BadSpec, NoRoute
from quiver.task import Question, Task
from quiver.types import Item, Query

QUICK = Options(resamples=100, progress=False, baselines=False)

JUDGE = '''
"""Numbers, and a judge that likes the number one above what was said."""

import numpy as np

from quiver.media import TextReader
from quiver.errors import BadMedia, BadSpec
from quiver.types import Space

SPACE = Space("numbers", 2, "l2", "0")
SEEN = []


class Judge:
    name, holds, finds, reads, recalls, exact = "judge", ("text",), "text", (SPACE,), {}, False

    def hold(self, asked):
        if any(each.weights for each in asked):
            raise BadSpec("judge cannot weigh what is held")
        values = [each.media["text"][0] for each in asked]
        if any("?" in value for value in values):
            raise BadMedia("a number, please")
        SEEN.extend(values)
        return {"x": np.array([[float(value)] for value in values], np.float32)}

    def terms(self, held, columns):
        return {"near": self.score(held, columns)}

    def score(self, held, columns):
        return -np.abs(columns[SPACE][None, :, 0] - held["x"] - 1)


class Numbers:
    keys, scorers = ("text",), (Judge(),)

    def spaces(self, key):
        return (SPACE,) if key == "text" else ()

    def reader(self, key):
        return TextReader()

    def embed(self, key, batch, space):
        values = [float(text.replace("?", "")) for text in batch]
        return np.array([[value, 0] for value in values], np.float32)


def load():
    return Numbers()
'''
#: Of 0 ... 299. Asked with 10.2, recall has 10, 11, 9, 12 first and the judge 11, 12, 10.
ASKED = {
    "in": ("10.2", "i11"),
    "out": ("20.2", "i20"),
    "shallow": ("30.2", "i70"),
    "far": ("40.2", "i299"),
    "below": ("50.2", "i49"),
    "bad": ("6?0.2", "i61"),
}


@pytest.fixture
def numbers(lab):
    (lab / "judge.py").write_text(JUDGE)
    items = [Item(f"i{n}", {"text": str(n)}) for n in range(300)]
    questions = [Question(name, Query({"text": text}), {answer: 1}) for name, (text, answer) in ASKED.items()]
    return Task("numbers", "1", items, questions, ("Success@1",), "text", "one above", "made")


@pytest.mark.parametrize("setup", [Setup("auto", depth=20), Setup(recall="routes", depth=20)])
def test_a_reranker_moves_answers_in_and_out_and_each_loss_has_its_cause(numbers, tmp_path, setup):
    exact, found = bench(
        numbers, ["lab.judge"], setups=[Setup(), setup], options=replace(QUICK, work=tmp_path)
    ).outcomes
    assert [stage["stage"] for stage in found.plan["stages"]] == ["compose", "encode", "recall", "rerank", "cut"]
    assert found.scores.of("Success@1").tolist() == [1, 0, 0, 0, 0, 0]
    assert found.attribution.counts == {"missing": 1, "encoder": 1, "index": 0, "depth": 1, "reranker": 2}
    assert (found.attribution.moved_in, found.attribution.moved_out) == (1, 1)
    lost = {cause: [each.question for each in some] for cause, some in found.attribution.examples.items() if some}
    assert lost == {"missing": ["bad"], "encoder": ["far"], "depth": ["shallow"], "reranker": ["out", "below"]}
    # The judge has it third, and lists are two long.
    assert found.attribution.examples["reranker"][0].ranks == {"oracle": 1, "index": 1, "recalled": 1, "final": 0}
    # The exact scan is another system: what it does not put first is its own loss.
    assert exact.attribution.counts == dict.fromkeys(CAUSES, 0) | {"missing": 1, "encoder": 4}


def test_what_a_scorer_holds_is_made_once_for_all_that_is_asked(numbers, lab, tmp_path, monkeypatch):
    monkeypatch.setattr(scorer_cache, "CHUNK", 2)
    (lab / "counted.py").write_text(JUDGE)
    setups = [Setup(), Setup(depth=3), Setup("auto"), *(Setup(recall="routes", depth=depth) for depth in (5, 10))]
    bench(numbers, ["lab.counted"], setups=setups, options=replace(QUICK, work=tmp_path))
    from lab.counted import SEEN

    assert sorted(SEEN) == sorted(text for name, (text, _) in ASKED.items() if name != "bad")


def test_a_scorer_that_cannot_weigh_refuses_the_plan_and_not_each_question(numbers, tmp_path):
    options = replace(QUICK, work=tmp_path)
    with pytest.raises(NoRoute, match="judge cannot weigh what is held"):
        bench(numbers, ["lab.judge"], setups=[Setup(weights=(("text", 2.0),))], options=options)
    other = "quiver.benchmarks.speed.scale items=300 questions=6"
    with pytest.raises(NoRoute, match="recall=routes is for a scorer, and none here composes"):
        bench(numbers, [other], setups=[Setup(recall="routes")], options=options)


def test_excluded_items_are_gone_before_a_reranker_sees_them(numbers, tmp_path):
    asked = [replace(numbers.questions[0], relevant={"i13": 1}, exclude=("i10", "i11", "i12"))]
    setups = [Setup(), Setup(recall="routes", depth=2), Setup("auto", depth=2)]
    options = replace(QUICK, work=tmp_path, measures=("R@3",))
    exact, *rest = bench(replace(numbers, questions=asked), ["lab.judge"], setups=setups, options=options).outcomes
    assert exact.ranking.rows[0, :3].tolist() == [13, 9, 14]
    # The two nearest that are left are 9 and 8; 13 is 2.8 away.
    assert [each.ranking.rows[0, :3].tolist() for each in rest] == [[9, 8, -1]] * 2


def test_candidates_of_a_question_are_recalled_and_reranked_among_themselves(numbers, tmp_path):
    asked = [replace(numbers.questions[0], candidates=("i9", "i11", "i13", "i90"), relevant={"i13": 1})]
    setups = [Setup(scorer="none"), Setup(), Setup(recall="routes", depth=2), Setup("auto", depth=2)]
    options = replace(QUICK, work=tmp_path, measures=("R@3",))
    found = bench(replace(numbers, questions=asked), ["lab.judge"], setups=setups, options=options).outcomes
    by_vectors, by_judge, first, planned = (
        [row for row in each.ranking.rows[0].tolist() if row >= 0] for each in found
    )
    assert by_vectors == [11, 9, 13, 90] and by_judge == [11, 13, 9, 90]
    assert first == [11, 9]  # the judge saw no more
    assert planned == by_judge[:2]  # all are scored


@pytest.fixture
def doubtful(lab):
    """A judge who is right about the number one above, next to a split whose answers he gives."""
    (lab / "judge.py").write_text(JUDGE)
    items = [Item(f"i{n}", {"text": str(n)}) for n in range(300)]

    def split(start, step):
        asked = [Question(f"q{n}", Query({"text": f"{n}.2"}), {f"i{n + step}": 1}) for n in range(start, start + 20)]
        return Task("numbers", str(start), items, asked, ("Success@1",), "text", "one above", "made")

    return split


@pytest.mark.parametrize(("step", "found"), [(1, 1.0), (0, 0.0)])
def test_how_much_a_reranker_counts_is_learnt_on_another_split(doubtful, tmp_path, step, found):
    setups = [Setup(recall="routes", depth=20, name="alone"), Setup(recall="routes", fuse="validation", name="learnt")]
    splits = {"validation": doubtful(100, step)}
    options = replace(QUICK, work=tmp_path)
    alone, learnt = bench(doubtful(10, 1), ["lab.judge"], setups=setups, splits=splits, options=options).outcomes
    assert alone.scores.mean("Success@1") == 1 and learnt.scores.mean("Success@1") == found
    rerank = next(stage for stage in learnt.plan["stages"] if stage["stage"] == "rerank")
    assert (rerank["weights"][1] > 0) == (step == 1) and rerank["depth"] <= 100
    assert any("learned on 20 questions of numbers" in note for note in learnt.notes)
    if step:
        assert learnt.attribution.moved_in == 20 and learnt.attribution.moved_out == 0


def test_a_benchmark_ranks_by_an_unfitted_reranker_alone_or_in_the_safe_blend_and_says_which(doubtful, tmp_path):
    setups = [Setup(recall="routes", depth=20, blend=blend) for blend in ("alone", "safe")]
    found = bench(doubtful(10, 1), ["lab.judge"], setups=setups, options=replace(QUICK, work=tmp_path)).outcomes
    stages = [next(stage for stage in each.plan["stages"] if stage["stage"] == "rerank") for each in found]
    assert [stage["weights"] for stage in stages] == [[0.0, 1.0], None]
    assert any("ranked by judge alone, as the query names it" in note for note in found[0].plan["notes"])
    assert any("judge is not fitted" in note for note in found[1].plan["notes"])


def test_a_budget_in_a_plan_says_how_far_the_reranker_came(doubtful, tmp_path):
    setups = [Setup("auto", depth=20, budget_ms=60_000.0)]
    (found,) = bench(doubtful(10, 1), ["lab.judge"], setups=setups, options=replace(QUICK, work=tmp_path)).outcomes
    assert "on average 20.0 candidates per question were reranked within 60000 ms" in found.notes
    with pytest.raises(BadSpec, match="fuse=validation needs a reranker"):
        Setup(fuse="validation")
