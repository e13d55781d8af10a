import json
import re
from dataclasses import replace

import pytest

from quiver.benchmarks.metric import evaluate, read_qrels, read_run
from quiver.benchmarks.recall import page, plot
from quiver.benchmarks.recall.compare import compare
from quiver.benchmarks.recall.outcome import Options
from quiver.benchmarks.recall.report import describe, markdown, read_json, remarks, table, write_json, write_trec
from quiver.benchmarks.recall.run import bench
from quiver.benchmarks.recall.setup import Setup
from quiver.errors import BadData, BadSpec


@pytest.fixture(scope="module")
def report(measured):
    return describe(measured, command="quiver bench recall swatches")


def test_json_holds_what_a_reviewer_asks_for(report, measured, task, tmp_path):
    path = tmp_path / "deep" / "a.json"
    write_json(path, report)
    read = read_json(path)
    assert read == json.loads(json.dumps(report))
    assert {"commit", "machine", "versions", "seed", "ties", "command", "significance", "refused"} <= set(read)
    assert read["dataset"]["revision"] == task.revision and read["dataset"]["protocol"] == task.protocol
    classic, random = read["systems"]
    assert classic["per_query"]["Success@1"] == measured.outcomes[0].scores.of("Success@1").tolist()
    assert classic["attribution"]["examples"]["missing"][0]["question"] == "q-red4"
    assert classic["plan"]["stages"][0]["stage"] == "encode"
    assert classic["spaces"][0].startswith("classic/image@")
    assert random["role"] == "random" and random["latency_ms"] is None


def test_the_table_is_the_same_from_a_file_of_long_ago(report, tmp_path):
    write_json(tmp_path / "a.json", report)
    assert table(read_json(tmp_path / "a.json")) == table(report)


def test_the_table_names_what_is_missing_and_gives_the_headline_its_interval(report, measured):
    titles, (classic, random) = table(report)
    assert titles == ["system", "Success@1 [95%]", "R@4", "RR", "n", "ties", "missing", "ms"]
    found = measured.outcomes[0].intervals["Success@1"]
    assert classic[1] == f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
    assert classic[4:7] == ["20", "0", "1 items, 1 questions"]
    assert random[0] == "random" and random[-1] == "-"
    said = "\n".join(remarks(report))
    assert "1 items are missing (red4:" in said and "5 questions therefore lack a right answer, 1 lack all" in said
    assert re.search(r"classic: Success@1 loses \d+ of 20: missing 1, encoder \d+", said)


def test_markdown_has_a_cell_for_every_title(report):
    lines = [line for line in markdown(report).splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {9}


def test_a_trec_file_read_back_gives_the_same_figures(measured, tmp_path):
    qrels, run = write_trec(tmp_path, measured)
    queries, items = measured.judgements.ids, [item.id for item in measured.task.items]
    judgements = read_qrels(qrels, queries=queries, items=items)
    # How many compete has no place in the format.
    judgements = replace(judgements, competing=measured.judgements.competing)
    ranking = read_run(run, queries=queries, items=items, depth=measured.depth)
    again = evaluate(ranking, judgements, measured.task.measures)
    for name in measured.task.measures:
        assert again.of(name).tolist() == measured.outcomes[0].scores.of(name).tolist()


def test_plots_show_every_system_that_searched(report, tmp_path):
    paths = plot.draw(report, tmp_path)
    assert [path.name for path in paths] == ["latency.svg", "depth.svg", "attribution.svg"]
    assert all("classic" in path.read_text() for path in paths)
    assert plot.rendered(report) == plot.rendered(report)
    assert plot.draw(report, tmp_path, format="png")[0].read_bytes().startswith(b"\x89PNG")
    with pytest.raises(BadSpec, match="not gif"):
        plot.draw(report, tmp_path, format="gif")


def test_the_page_shows_drawn_worst_and_best_questions_with_what_was_wanted(measured, report, task, work, tmp_path):
    found = bench(task, ["classic"], options=Options(work=work, resamples=50, progress=False))
    page.write(tmp_path / "a.html", found, report)
    text = (tmp_path / "a.html").read_text()
    drawn, worst, best = (text.index(f"classic: {part}") for part in ("drawn at random", "worst", "best"))
    assert text[drawn:worst].count("<h2>") == page.DRAWN
    assert worst < text.index("could not be searched", worst) < best
    assert "class=expected" in text[worst:best] and "question q-red4: Success@1 0; none of 4" in text
    said = f"An image was given, and images were searched. Right answers are green: {task.protocol}."
    assert text.count(f"<p class=asked>{said}</p>") == text.count("<h2>") and "class=right" in text[best:]
    assert "class=right" in text[best:]
    assert text.count("<svg") == 3 and "<td>classic<td>" in text
    assert "src='data:image/jpeg;base64," in text


def test_a_report_against_itself_differs_nowhere(report):
    found = compare(report, report)
    assert found["questions"] == 20 and found["only"] == [0, 0]
    assert {test["measure"] for test in found["tests"]} == {"Success@1", "R@4", "RR"}
    assert all(test["effect"]["value"] == 0 and test["adjusted"] == 1.0 for test in found["tests"])


def test_another_system_is_held_against_the_first_on_the_questions_they_share(report, task, work):
    fewer = replace(task, questions=task.questions[5:])
    setups = [Setup("faiss factory=HNSW8", name="hnsw")]
    options = Options(work=work, resamples=50, progress=False, baselines=False)
    other = describe(bench(fewer, ["classic"], setups=setups, options=options))
    found = compare(report, other)
    assert (found["questions"], found["only"]) == (15, [5, 0])
    first = found["tests"][0]
    assert (first["a"], first["b"], first["n"]) == ("classic", "classic | hnsw", 15)
    values = dict(zip(report["questions"], report["systems"][0]["per_query"]["Success@1"], strict=True))
    shared = [values[question.id] for question in fewer.questions]
    assert first["values"]["a"] == pytest.approx(sum(shared) / 15)


@pytest.mark.parametrize("what", ["revision", "protocol"])
def test_other_data_is_not_compared(report, what):
    other = {**report, "dataset": {**report["dataset"], what: "another"}}
    with pytest.raises(BadData, match=f"not comparable, the {what} differs"):
        compare(report, other)


def test_what_shares_nothing_is_not_compared(report):
    with pytest.raises(BadData, match="no question in common"):
        compare(report, {**report, "questions": [f"x{id}" for id in report["questions"]]})
    with pytest.raises(BadData, match="the tie rule differs"):
        compare(report, {**report, "ties": "optimistic"})


@pytest.mark.parametrize(
    ("text", "problem"),
    [("{", "cannot read"), ("[]", "is not a benchmark report"), ('{"systems": [], "format": 9}', "format 9")],
)
def test_a_file_that_is_no_benchmark_is_named(tmp_path, text, problem):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(BadData, match=problem) as stopped:
        read_json(path)
    assert "a.json" in str(stopped.value)
