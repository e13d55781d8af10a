"""TREC files: what is written is what is read, and both give the same figures."""

from dataclasses import replace

import numpy as np
import pytest

from quiver.benchmarks.metric import (
    Judgements,
    Ragged,
    Ranking,
    evaluate,
    find,
    rank,
    read_qrels,
    read_run,
    write_qrels,
    write_run,
)
from quiver.benchmarks.metric.place import arrange
from quiver.errors import BadData

MEASURES = ["R@3", "Success@1", "RR", "AP", "nDCG@5", "APh@5", "MedR"]
ITEMS = [
    "plain",
    "with space",
    "50%",
    "%20",
    "tab\there",
    "line\nbreak",
    "ünï",
    "no\u00a0break",
    "a/b.jpg",
    "x",
    "y",
    "z",
]


def made(dtype=np.float32):
    rng = np.random.default_rng(0)
    scores = np.round(rng.standard_normal((40, len(ITEMS))), 1).astype(dtype) / dtype(3)
    ranking = rank(scores, depth=7)
    rows = ranking.rows.copy()
    rows[[4, 11]] = -1
    rows[7, 3:] = -1
    judgements = Judgements(
        ids=[f"query {number}" for number in range(40)],
        relevant=Ragged.of([rng.choice(len(ITEMS), 2, replace=False).tolist() for _ in range(40)]),
        grades=rng.integers(1, 4, 80),
        competing=np.full(40, len(ITEMS)),
        groups=["a", "b"] * 20,
    )
    return Ranking(rows, np.where(rows < 0, -np.inf, ranking.scores).astype(dtype)), judgements


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_run_and_qrels_read_back_are_the_same_and_give_the_same_figures(tmp_path, dtype):
    ranking, judgements = made(dtype)
    write_run(tmp_path / "run", ranking, queries=judgements.ids, items=ITEMS, tag="quiver exact")
    write_qrels(tmp_path / "qrels", judgements, items=ITEMS)
    names = {"queries": judgements.ids, "items": ITEMS}
    run = read_run(tmp_path / "run", **names)
    np.testing.assert_array_equal(run.rows, ranking.rows)
    np.testing.assert_array_equal(run.scores.astype(dtype), ranking.scores)
    qrels = replace(read_qrels(tmp_path / "qrels", **names), groups=judgements.groups)
    for tie in ("pessimistic", "optimistic", "stable"):
        before = evaluate(ranking, judgements, MEASURES, tie=tie)
        after = evaluate(run, qrels, MEASURES, tie=tie)
        assert (after.ties, after.cut, after.missing) == (before.ties, before.cut, before.missing)
        for measure in MEASURES:
            np.testing.assert_array_equal(after.of(measure), before.of(measure))
            assert after.mean(measure) == before.mean(measure)
    assert before.ties > 0


def test_files_have_the_columns_of_the_format(tmp_path):
    ranking = Ranking(np.array([[1, 0]]), np.array([[0.1, 0.1]], np.float32))
    judgements = Judgements(["q 1"], Ragged.of([[0]]), np.array([2]), np.array([2]), [""])
    write_run(tmp_path / "run", ranking, queries=["q 1"], items=["a b", "c%"], tag="t")
    write_qrels(tmp_path / "qrels", judgements, items=["a b", "c%"])
    assert (tmp_path / "run").read_text() == "q%201 Q0 c%25 1 0.1 t\nq%201 Q0 a%20b 2 0.1 t\n"
    assert (tmp_path / "qrels").read_text() == "q%201 0 a%20b 2\n"


def test_ir_measures_reads_our_files_and_comes_to_our_figures(tmp_path):
    import ir_measures

    ranking, judgements = made()
    order = arrange(ranking, find(ranking, judgements), judgements, "pessimistic")
    write_run(tmp_path / "run", order, queries=judgements.ids, items=ITEMS, tag="t")
    write_qrels(tmp_path / "qrels", judgements, items=ITEMS)
    theirs = ir_measures.calc_aggregate(
        [ir_measures.parse_measure(name) for name in MEASURES[:5]],
        list(ir_measures.read_trec_qrels((tmp_path / "qrels").read_text(encoding="utf-8"))),
        list(ir_measures.read_trec_run((tmp_path / "run").read_text(encoding="utf-8"))),
    )
    ours = evaluate(ranking, judgements, MEASURES[:5])
    assert {str(key): value for key, value in theirs.items()} == pytest.approx(
        {name: ours.of(name).mean() for name in MEASURES[:5]}
    )


def test_neighbouring_numbers_stay_apart_and_in_order(tmp_path):
    first = np.float32(0.1)
    steps = [first]
    for _ in range(5):
        steps.append(np.nextafter(steps[-1], np.float32(-1), dtype=np.float32))
    ranking = Ranking(np.arange(6)[None], np.array([steps], np.float32))
    write_run(tmp_path / "run", ranking, queries=["q"], items=list("abcdef"), tag="t")
    back = read_run(tmp_path / "run", queries=["q"], items=list("abcdef"))
    np.testing.assert_array_equal(back.scores.astype(np.float32), ranking.scores)
    doubles = [float(line.split()[4]) for line in (tmp_path / "run").read_text().splitlines()]
    assert (np.diff(doubles) < 0).all()


def test_lines_in_any_order_are_ranked_by_score_and_depth_can_be_kept(tmp_path):
    (tmp_path / "run").write_text("q Q0 a 9 0.1 t\n\nq\tQ0\tb 9 0.5 t\nq Q0 c 1 0.1 t\n")
    back = read_run(tmp_path / "run", queries=["p", "q"], items=list("abc"), depth=4)
    assert back.rows.tolist() == [[-1, -1, -1, -1], [1, 0, 2, -1]]
    (tmp_path / "none").write_text("")
    assert read_run(tmp_path / "none", queries=["p"], items=["a"]).rows.tolist() == [[-1]]


def test_judged_as_not_relevant_is_not_relevant(tmp_path):
    (tmp_path / "qrels").write_text("q 0 a 0\nq 0 b 2\nq 0 c -1\n")
    back = read_qrels(tmp_path / "qrels", queries=["q"], items=list("abc"))
    assert (back.relevant.rows.tolist(), back.grades.tolist(), back.competing.tolist()) == ([1], [2], [3])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q Q0 a 1 0.5", "run:2: 5 columns, where there should be 6"),
        ("q Q0 z 1 0.5 t", "run:2: item 'z' is not known"),
        ("p Q0 a 1 0.5 t", "run:2: query 'p' is not known"),
        ("q Q0 a 1 nan t", "run:2: 'nan' is no finite number"),
        ("q Q0 a 1 high t", "run:2: 'high' is no finite number"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    (tmp_path / "run").write_text(f"q Q0 b 1 0.7 t\n{line}\n")
    with pytest.raises(BadData, match=message):
        read_run(tmp_path / "run", queries=["q"], items=list("ab"))


def test_what_would_not_read_back_is_refused(tmp_path):
    ranking = Ranking(np.array([[0]]), np.array([[1.0]]))
    with pytest.raises(BadData, match="empty id"):
        write_run(tmp_path / "run", ranking, queries=["q"], items=[""], tag="t")
    with pytest.raises(BadData, match="2 query ids for a ranking of 1"):
        write_run(tmp_path / "run", ranking, queries=["q", "p"], items=["a"], tag="t")
    (tmp_path / "qrels").write_text("q 0 a 1\nq 0 a 2\n")
    with pytest.raises(BadData, match="qrels:2: item 'a' is judged twice"):
        read_qrels(tmp_path / "qrels", queries=["q"], items=["a"])


@pytest.mark.parametrize("grade", ["0.5", "1e30", "nan", "inf", "one"])
def test_a_grade_that_is_no_whole_number_is_refused_with_its_line(tmp_path, grade):
    (tmp_path / "qrels").write_text(f"q 0 a 1\nq 0 b {grade}\n")
    with pytest.raises(BadData, match="qrels:2: "):
        read_qrels(tmp_path / "qrels", queries=["q"], items=["a", "b"])
    (tmp_path / "qrels").write_text("q 0 a 2.0\n")
    assert read_qrels(tmp_path / "qrels", queries=["q"], items=["a", "b"]).grades.tolist() == [2]
