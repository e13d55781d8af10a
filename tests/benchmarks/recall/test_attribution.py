import numpy as np
import pytest

from quiver.benchmarks.metric import Judgements, Ragged, Ranking, evaluate
from quiver.benchmarks.recall.attribution import CAUSES, attribute
from quiver.errors import BadData, BadSpec


def judged(relevant, *, items=100, groups=None):
    lists = Ragged.of(relevant)
    n = len(relevant)
    return Judgements(
        [f"q{i}" for i in range(n)],
        lists,
        np.ones(len(lists.rows), np.int64),
        np.full(n, items, np.int64),
        groups or [""] * n,
    )


def lists(**rows):
    width = max(len(row) for table in rows.values() for row in table)
    return {
        stage: Ranking.listed(np.array([row + [-1] * (width - len(row)) for row in table], np.int64))
        for stage, table in rows.items()
    }


#: Every question asks for item 1; k is 2, and a reranker is given at most 4.
BY_HAND = lists(
    #         found      encoder    index      depth         moved out     not lifted    lifted
    oracle=[[1, 2, 3], [5, 6, 7], [1, 2, 3], [5, 6, 7, 1], [1, 2, 3, 4], [5, 6, 1, 8], [5, 6, 1, 8]],
    index=[[1, 2, 3], [5, 6, 7], [2, 3, 4], [5, 6, 7, 1], [1, 2, 3, 4], [5, 6, 1, 8], [5, 6, 1, 8]],
    recalled=[[1, 2, 3], [5, 6, 7], [2, 3, 4], [5, 6, 7], [1, 2, 3, 4], [5, 6, 1, 8], [5, 6, 1, 8]],
    final=[[1, 2, 3], [5, 6, 7], [2, 3, 4], [7, 6, 5], [4, 3, 2, 1], [8, 6, 5, 1], [1, 5, 6, 8]],
)


def test_each_loss_has_the_cause_that_was_written_into_the_lists():
    found = attribute(BY_HAND, judged([[1]] * 7), measure="Success@2", reach=4)
    assert found.counts == {"missing": 0, "encoder": 1, "index": 1, "depth": 1, "reranker": 2}
    assert (found.total, found.found, found.lost) == (7, 2, 5)
    assert found.moved_out == 1
    assert {cause: [e.question for e in some] for cause, some in found.examples.items() if some} == {
        "encoder": ["q1"],
        "index": ["q2"],
        "depth": ["q3"],
        "reranker": ["q4", "q5"],
    }
    assert found.examples["reranker"][0].ranks == {"oracle": 1, "index": 1, "recalled": 1, "final": 4}


def test_without_a_reranker_what_is_below_k_was_missed_by_the_encoder():
    found = attribute(BY_HAND, judged([[1]] * 7), measure="Success@2")
    assert found.counts == {"missing": 0, "encoder": 3, "index": 1, "depth": 0, "reranker": 1}
    # The last question's answer came up though exact search has it third.
    assert (found.lost, found.gained) == (5, 1)


def test_an_item_that_is_not_there_is_nobodys_fault_but_its_own():
    there = np.array([True, False, True, True, True, True, True])
    found = attribute(BY_HAND, judged([[1]] * 7), measure="Success@2", reach=4, there=there)
    assert (found.counts["missing"], found.counts["encoder"]) == (1, 0)


def test_recall_counts_right_answers_and_success_counts_questions():
    tables = lists(
        oracle=[[1, 2, 9], [9, 8, 7]],
        index=[[1, 9, 8], [9, 8, 7]],
        recalled=[[1, 9, 8], [9, 8, 7]],
        final=[[1, 9, 8], [9, 8, 7]],
    )
    judgements = judged([[1, 2, 3], [4]])
    answers = attribute(tables, judgements, measure="R@3")
    assert (answers.total, answers.found) == (4, 1)
    assert answers.counts == {"missing": 0, "encoder": 2, "index": 1, "depth": 0, "reranker": 0}
    # A right answer of the first question is worth a third of a half, that of the second a whole half.
    assert answers.points["encoder"] == pytest.approx(1 / 6 + 1 / 2)
    assert answers.points["index"] == pytest.approx(1 / 6)
    questions = attribute(tables, judgements, measure="Success@3")
    assert (questions.total, questions.counts["encoder"], questions.counts["index"]) == (2, 1, 0)


@pytest.mark.parametrize("measure", ["Success@5", "R@5"])
@pytest.mark.parametrize("reach", [5, 12])
def test_points_add_up_to_what_the_measure_lacks_also_with_groups_and_ties(measure, reach):
    rng = np.random.default_rng(3)
    relevant = [rng.choice(30, rng.integers(1, 5), replace=False).tolist() for _ in range(60)]
    judgements = judged(relevant, items=30, groups=["a"] * 13 + ["b"] * 47)

    def drawn(depth):
        rows = np.argsort(rng.random((60, 30)), axis=1)[:, :depth]
        rows = np.pad(rows, ((0, 0), (0, 12 - depth)), constant_values=-1)
        scores = -np.sort(rng.integers(0, 6, rows.shape), axis=1).astype(np.float32)  # many are equal
        return Ranking(rows, np.where(rows < 0, np.float32(-np.inf), scores))

    tables = {"oracle": drawn(12), "index": drawn(12), "recalled": drawn(8), "final": drawn(8)}
    found = attribute(tables, judgements, measure=measure, reach=reach)
    value = evaluate(tables["final"], judgements, [measure]).mean(measure)
    assert sum(found.points.values()) == pytest.approx(1 - value, abs=1e-12)
    assert sum(found.counts.values()) == found.total - found.found
    assert all(found.counts[cause] for cause in CAUSES[1:])


def test_what_cannot_be_attributed_is_refused():
    with pytest.raises(BadSpec, match="not those of RR"):
        attribute(BY_HAND, judged([[1]] * 7), measure="RR")
    with pytest.raises(BadSpec, match="needs the lists oracle, index, recalled, final"):
        attribute({"final": BY_HAND["final"]}, judged([[1]] * 7), measure="R@2")
    with pytest.raises(BadData, match="q1 has no right answer"):
        attribute(BY_HAND, judged([[1], [], *[[1]] * 5]), measure="R@2")
