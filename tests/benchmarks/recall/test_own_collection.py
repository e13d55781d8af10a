"""A collection is measured as it is, on the user's own queries and judgements, and nothing in it changes."""

import io
import json
from dataclasses import replace

import ir_measures
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

import quiver
from quiver.benchmarks.recall import measure
from quiver.benchmarks.recall.outcome import Options
from quiver.benchmarks.recall.own_questions import Own
from quiver.cli import app
from quiver.errors import BadData, BadSpec, NoRoute
from quiver.types import Query

QUICK = Options(resamples=200, progress=False)
#: Two vectors in the plane; grades fall with the angle.
ANGLES = np.linspace(0, np.pi / 2, 40)


def points(angles):
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)


@pytest.fixture
def circle(tmp_path):
    """Forty points of a quarter circle, with their number as metadata; four queries, with graded judgements."""
    shop = quiver.open(tmp_path / "circle", catch_up=False)
    ids = [f"p{n}" for n in range(40)]
    shop.add_vectors(points(ANGLES), space="plane", ids=ids, meta={"n": list(range(40))})
    np.save(tmp_path / "q.npy", points(ANGLES[[0, 13, 25, 39]] + 0.001))
    lines = [f"{q} 0 p{abs(at + step) % 40} {grade}" for q, at in enumerate((0, 13, 25, 37))
             for step, grade in ((0, 3), (2, 1), (30, 0))]  # fmt: skip
    (tmp_path / "qrels.txt").write_text("\n".join([*lines, "1 0 p_none 2"]) + "\n")
    return tmp_path


def run(*words):
    done = CliRunner().invoke(app, ["bench", "recall", *map(str, words)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_figures_of_a_collection_are_those_of_ir_measures_for_its_own_hits(circle):
    report = run("--queries", circle / "q.npy", "--relevant", circle / "qrels.txt", "--collection", circle / "circle",
                 "--work", circle / "work", "--json", "-", "--measure", "nDCG@10", "--measure", "R@10", "--measure",
                 "MRR@10", "--measure", "MAP@10")  # fmt: skip
    shop = quiver.open(circle / "circle")
    hits = shop.search_batch([Query(vector=row, target="image", k=10) for row in np.load(circle / "q.npy")])
    made = {str(n): {hit.id: hit.score for hit in found} for n, found in enumerate(hits)}
    qrels = ir_measures.read_trec_qrels(str(circle / "qrels.txt"))
    names = [ir_measures.parse_measure(name) for name in ("nDCG@10", "R@10", "RR@10", "AP@10")]
    expected = ir_measures.calc_aggregate(names, list(qrels), made)
    system, random = report["systems"]
    assert [system["name"], random["name"]] == ["circle", "random"]
    for name, value in expected.items():
        assert system["figures"][str(name)]["value"] == pytest.approx(value), name
    # The judged item that the collection lacks stays in the denominator.
    assert system["missing"]["items"] == {"p_none": "there is no such item"}
    assert any(
        "1 of 9 right answers name no item with image, such as 'p_none'" in n for n in report["dataset"]["notes"]
    )
    assert sum(system["attribution"]["counts"].values()) == system["attribution"]["lost"]
    assert any(each["name"] == "classic" for each in report["refused"])  # there are no files to embed


def test_the_default_measures_follow_the_judgements(circle, tmp_path):
    own = Own(collection=str(circle / "circle"), relevant=[str(circle / "qrels.txt")])
    options = replace(QUICK, work=tmp_path / "work", baselines=False)
    assert measure(str(circle / "q.npy"), own=own, options=options).task.measures[0] == "nDCG@10"
    (circle / "one.txt").write_text("".join(f"{q} 0 p{q} 1\n" for q in range(4)))
    found = measure(str(circle / "q.npy"), own=replace(own, relevant=[str(circle / "one.txt")]), options=options)
    assert found.task.measures == ("Success@1", "Success@5", "Success@10", "RR@10")


@pytest.fixture
def shop(tmp_path, photos, prices):
    collection = quiver.open(tmp_path / "shop", catch_up=False)
    collection.add(photos, encoder="classic", meta=prices)
    rows = [
        {"id": "picture", "image": "photos/red0.png"},
        {"id": "bounded", "image": "photos/red0.png", "where": "price < 20"},
        {"id": "example", "like": ["photos/blue0.png", "photos/blue1.png"], "unlike": "photos/red3.png"},
        {"id": "unreadable", "image": "photos/none.png"},
        {"id": "unknown", "like": "photos/none.png"},
        {"id": "wrong", "image": "photos/green0.png", "where": "nothing = 3"},
    ]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    qrels = ["query-id,corpus-id,score"]
    for row, colour in zip(rows, ("red", "red", "blue", "red", "red", "green"), strict=True):
        qrels += [f"{row['id']},photos/{colour}{n}.png,1" for n in range(8)]
    (tmp_path / "qrels.csv").write_text("\n".join(qrels) + "\n")
    return tmp_path


def test_texts_are_searched_by_full_text_where_a_search_does_so(tmp_path, photos):
    collection = quiver.open(tmp_path / "shop", catch_up=False)
    names = [(f"{colour}{n}", f"{colour} shirt {n}") for colour in ("red", "blue") for n in range(4)]
    rows = [{"id": id, "image": str(photos / f"{id}.png"), "name": name} for id, name in names]
    collection.add(rows, encoder="classic")  # which embeds no text that finds pictures
    (tmp_path / "q.csv").write_text("id,text\na,red\nb,blue shirt 2\n")
    (tmp_path / "qrels.csv").write_text("query-id,corpus-id,score\na,red1,1\nb,blue2,1\nb,blue3,1\n")
    options = replace(QUICK, work=tmp_path / "work", measures=("Success@1", "R@4"))
    (outcome, *_) = measure(str(tmp_path / "q.csv"), own=own(tmp_path), options=options).outcomes
    hits = collection.search_batch([Query({"text": text}, target="image", k=4) for text in ("red", "blue shirt 2")])
    rights = [{"red1"}, {"blue2", "blue3"}]
    shares = [len(right & {hit.id for hit in found}) / len(right) for right, found in zip(rights, hits, strict=True)]
    assert outcome.scores.values["R@4"].tolist() == shares and min(shares) > 0
    assert outcome.scores.values["Success@1"][1] == 1


def own(folder, **more):
    return Own(collection=str(folder / "shop"), relevant=[str(folder / "qrels.csv")], **more)


def test_every_kind_of_query_is_answered_as_a_search_answers_it_and_the_others_are_named(shop):
    options = replace(QUICK, work=shop / "work", measures=("Success@1", "R@5"))
    found = measure(str(shop / "q.jsonl"), own=own(shop), options=options)
    outcome = found.outcomes[0]
    collection = quiver.open(shop / "shop")
    asked = {
        "picture": {"image": str(shop / "photos" / "red0.png")},
        "bounded": {"image": str(shop / "photos" / "red0.png"), "where": "price < 20"},
        "example": {"like": ["photos/blue0.png", "photos/blue1.png"], "unlike": "photos/red3.png"},
    }
    for number, (id, query) in enumerate(asked.items()):
        hits = collection.search(**query, target="image", k=5)
        rows = outcome.ranking.rows[number, :5].tolist()
        assert [found.task.items[row].id for row in rows] == list(hits.ids), id
    # What a query itself shows or names does not compete, and is no right answer.
    relevant = found.judgements.relevant
    assert np.diff(relevant.starts).tolist() == [8, 8, 6, 8, 8, 8]
    assert set(outcome.missing.unread) == {"unreadable", "unknown", "wrong"}
    assert outcome.missing.unread["unknown"] == "its example photos/none.png is missing: there is no such item"
    assert "nothing" in outcome.missing.unread["wrong"]
    assert outcome.scores.n == 6 and outcome.scores.of("R@5")[3:].tolist() == [0, 0, 0]
    assert outcome.attribution.counts["missing"] >= 3


def test_a_collection_with_an_index_is_measured_with_it_and_not_changed(shop):
    collection = quiver.open(shop / "shop", catch_up=False)
    options = replace(QUICK, work=shop / "work", baselines=False)
    plan = shop / "plan.toml"
    plan.write_text('[[plan]]\nindex = "faiss"\n')
    with pytest.raises(NoRoute, match=r"shop has no faiss index: `quiver index .*shop faiss` builds it"):
        measure(str(shop / "q.jsonl"), own=own(shop), options=options, plan=plan)
    collection.index("faiss factory=Flat")
    before = [each["version"] for each in collection.versions()], collection.info()["columns"]
    plan.write_text('[[plan]]\nindex = ["exact", "faiss"]\n')
    found = measure(str(shop / "q.jsonl"), own=own(shop), options=options, plan=plan)
    exact, faiss = found.outcomes
    assert exact.name == "shop | exact" and faiss.plan["stages"][-2]["index"] == "faiss"
    assert np.array_equal(exact.ranking.rows[:3, :5], faiss.ranking.rows[:3, :5])
    again = quiver.open(shop / "shop", catch_up=False)
    assert ([each["version"] for each in again.versions()], again.info()["columns"]) == before


def test_encoders_are_measured_beside_the_collection_and_reports_are_comparable(shop):
    files = ["--relevant", shop / "qrels.csv", "--work", shop / "work", "--json"]
    queries = ["--queries", shop / "q.jsonl"]
    stored, embedded = shop / "stored.json", shop / "embedded.json"
    command = [*queries, "--collection", shop / "shop", *files, stored]
    done = CliRunner().invoke(app, ["bench", "recall", *map(str, command)], catch_exceptions=False)
    assert [line.split("\t")[0] for line in done.stdout.splitlines() if "\t" in line] == [
        "system", "shop", "classic", "random",
    ]  # fmt: skip
    command = [*queries, "--items", shop / "shop", "--encoder", "classic", *files, embedded]
    CliRunner().invoke(app, ["bench", "recall", *map(str, command)], catch_exceptions=False)
    compared = CliRunner().invoke(app, ["bench", "compare", str(stored), str(embedded), "--json"])
    assert json.loads(compared.stdout)["questions"] == 6


def test_a_toml_file_repeats_an_evaluation(shop, monkeypatch):
    (shop / "mine.toml").write_text(
        'queries = "q.jsonl"\nrelevant = "qrels.csv"\ncollection = "shop"\nmeasures = ["R@5"]\n'
        '[[plan]]\nname = "as it is"\nindex = "auto"\nblend = "safe"\n'
    )
    monkeypatch.chdir(shop.parent)
    report = run(shop / "mine.toml", "--work", shop / "work", "--json", "-", "--no-baselines")
    assert report["dataset"]["measures"] == ["R@5"] and report["systems"][0]["name"] == "shop | as it is"
    for text, says in (
        ('relevant = "qrels.csv"', 'names no queries: write queries = "queries.csv"'),
        ('queries = "q.jsonl"\nrelevent = "x"', "unknown key relevent: did you mean relevant?"),
        ('queries = "q.jsonl"\nitems = 3', "items is a text or a list of texts, not 3"),
        ("queries = ", "cannot read"),
    ):
        (shop / "bad.toml").write_text(text + "\n")
        with pytest.raises((BadSpec, BadData), match=says.replace("?", r"\?")):
            measure(str(shop / "bad.toml"))


def beir(folder, photos):
    """Write the same data in the layouts of BEIR and of MTEB."""
    texts = {"d1": "red shoes", "d2": "a blue hat", "d3": "green trousers"}
    (folder / "beir" / "qrels").mkdir(parents=True)
    rows = [{"_id": id, "title": "shop" if id == "d1" else "", "text": text} for id, text in texts.items()]
    (folder / "beir" / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = [{"_id": "a", "text": "red"}, {"_id": "b", "text": "hat"}]
    (folder / "beir" / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    (folder / "beir" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\na\td1\t1\nb\td2\t1\n")
    (folder / "beir" / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\na\td3\t1\n")
    names = [f"{colour}{n}.png" for colour in ("red", "blue") for n in range(2)]
    held = [{"bytes": (photos / name).read_bytes(), "path": None} for name in names]
    for name, table in {
        "corpus": {"id": names, "image": held},
        "queries": {"id": ["q"], "image": [{"bytes": (photos / "red2.png").read_bytes(), "path": None}]},
        "qrels": {"query-id": ["q", "q"], "corpus-id": ["red0.png", "red1.png"], "score": [1, 1]},
    }.items():
        (folder / "mteb" / name).mkdir(parents=True)
        pq.write_table(pa.table(table), folder / "mteb" / name / "test-00000-of-00001.parquet")


def test_folders_of_beir_and_mteb_are_measured(tmp_path, photos, monkeypatch):
    monkeypatch.setenv("QUIVER_CACHE", str(tmp_path / "cache"))
    beir(tmp_path, photos)
    options = replace(QUICK, work=tmp_path / "work", baselines=False)
    found = measure(str(tmp_path / "beir"), ["classic"], options=options)
    assert {item.id: item.media["text"] for item in found.task.items}["d1"] == "shop red shoes"
    assert found.outcomes[0].scores.of("Success@1").tolist() == [1, 1]
    dev = measure(f"{tmp_path / 'beir'} split=dev", ["classic"], options=options)
    assert [question.id for question in dev.task.questions] == ["a"]
    with pytest.raises(BadData, match="no judgements of split x: there are dev, test"):
        measure(f"{tmp_path / 'beir'} split=x", ["classic"], options=options)
    pictures = measure(str(tmp_path / "mteb"), ["classic"], options=replace(options, measures=("R@2",)))
    assert pictures.task.target == "image" and pictures.outcomes[0].scores.of("R@2").tolist() == [1]
    shown = next(item for item in pictures.task.items if item.id == "red0.png").media["image"]
    assert Image.open(shown).tobytes() == Image.open(io.BytesIO((photos / "red0.png").read_bytes())).tobytes()
    # The queries of a folder may search a collection.
    texts = quiver.open(tmp_path / "texts", catch_up=False)
    texts.add(*[quiver.Item(f"d{n}", {"text": text}) for n, text in ((1, "red shoes"), (2, "a blue hat"))])
    stored = measure(str(tmp_path / "beir"), own=Own(collection=str(tmp_path / "texts")), options=options)
    assert stored.outcomes[0].name == "texts" and stored.outcomes[0].scores.of("Success@1").tolist() == [1, 1]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"items": ["photos"]}, "give --collection, which is searched as it is, or --items"),
        ({"target": "audio"}, "--target audio: the items have image"),
        ({"columns": {"image": "imgae"}}, r"q\.jsonl has no column 'imgae': did you mean 'image'"),
        ({"columns": {"text": "words"}}, r"q\.jsonl has no column 'words'"),
    ],
)
def test_contradictions_and_misspelt_columns_are_one_line(shop, more, says):
    with pytest.raises((BadData, BadSpec), match=says):
        measure(str(shop / "q.jsonl"), own=own(shop, **more))


def test_two_targets_and_missing_places_are_one_line(shop):
    (shop / "two.csv").write_text("id,text,target\n1,red,image\n2,blue,text\n")
    (shop / "two.txt").write_text("1 0 photos/red0.png 1\n2 0 photos/red0.png 1\n")
    with pytest.raises(BadSpec, match="the questions search image and text: measure one medium at a time"):
        measure(str(shop / "two.csv"), own=Own(collection=str(shop / "shop"), relevant=[str(shop / "two.txt")]))
    with pytest.raises(quiver.QuiverError, match="no collection at"):
        measure(str(shop / "q.jsonl"), own=replace(own(shop), collection=str(shop / "none")))
    done = CliRunner().invoke(app, ["bench", "recall", "--encoder", "classic"])
    assert "name one data set, as in" in str(done.exception)


def test_somebody_elses_files_are_not_read(shop, monkeypatch, tmp_path):
    monkeypatch.setenv("QUIVER_CONFIG", str(tmp_path / "stranger"))
    options = replace(QUICK, work=shop / "work", measures=("R@5",))
    found = measure(str(shop / "q.jsonl"), own=own(shop), options=options)
    assert [each.name for each in found.refused] == ["classic"] and "is not read" in found.refused[0].why
    with pytest.raises(BadSpec, match=r"--encoder embeds the files of .*: .* is not read"):
        measure(str(shop / "q.jsonl"), ["classic"], own=own(shop), options=options)
    with pytest.raises(BadSpec, match=r"--items .*: .* is not read"):
        measure(str(shop / "q.jsonl"), ["classic"], own=replace(own(shop), collection=None, items=[str(shop / "shop")]))
