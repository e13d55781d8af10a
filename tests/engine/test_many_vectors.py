"""Models with many vectors of an item, in a collection: whole scans, recalled candidates, and MaxSim in float64."""

import numpy as np
import pytest
from PIL import Image
from tests.encoders import families
from typer.testing import CliRunner

import quiver
from quiver import registry
from quiver.cli import app
from quiver.engine.execution.stages.recall import Recall
from quiver.engine.execution.stages.rescore import Rescore
from quiver.engine.execution.stages.score import Score
from quiver.errors import BadSpec, NoRoute
from quiver.types import Query

PAGES = 30
TEXT = "red balls"


def picture(n, folder):
    rng = np.random.default_rng(n)
    pixels = np.kron(rng.integers(0, 256, (6, 6, 3)), np.ones((8, 8, 1)))
    path = folder / f"page{n:02}.png"
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    return f"multi_vector model='{families.colqwen2(tmp_path_factory.mktemp('colqwen2'))}' device=cpu"


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    return [picture(n, folder) for n in range(PAGES)]


@pytest.fixture
def collection(tmp_path, pages, spec):
    made = quiver.open(tmp_path / "scans")
    made.add([{"id": path.stem, "image": str(path)} for path in pages], encoder=spec)
    return made


def exhaustive(spec, paths, text=TEXT):
    """Return ids from best to worst, and their scores: MaxSim of every page in float64."""
    encoder = registry.load("encoders", spec)
    read = encoder.reader("image")
    (query,) = encoder.encode("text", [text], query=True)
    query = query.astype(np.float64)
    scores = {}
    for path in paths:
        (page,) = encoder.encode("image", [read(str(path))])
        scores[path.stem] = float((query @ page.astype(np.float64).T).max(axis=1).sum())
    order = sorted(scores, key=lambda id: -scores[id])
    return order, scores


def ids(hits):
    return [hit.id for hit in hits]


def encodings(spec):
    """Return the name of the space of encodings, as a user reads it in the error of ``index``."""
    return registry.load("encoders", spec).bridges[0].target.name


def stages(found):
    return [type(stage) for stage in found.plan.stages]


def agree(found, truth, scores):
    assert ids(found) == truth[: len(found)]
    np.testing.assert_allclose([hit.score for hit in found], [scores[id] for id in ids(found)], rtol=1e-5)


def test_a_small_collection_is_ranked_whole(collection, spec, pages):
    truth, scores = exhaustive(spec, pages)
    found = collection.search(text=TEXT, k=10)
    assert Score in stages(found) and Recall not in stages(found)
    agree(found, truth, scores)


@pytest.mark.parametrize("index", [None, "exact", "faiss"])
def test_recalled_candidates_are_ranked_by_maxsim_itself(index, collection, spec, pages):
    if index == "faiss":
        collection.index("faiss factory=HNSW16 ef=64", spaces=[encodings(spec)])
    truth, scores = exhaustive(spec, pages)
    found = collection.search(text=TEXT, k=10, recall="muvera", depth=PAGES, index=index)
    assert Recall in stages(found) and Rescore in stages(found) and Score not in stages(found)
    agree(found, truth, scores)
    few = collection.search(text=TEXT, k=5, recall="muvera", depth=12, index=index)
    kept = [id for id in truth if id in ids(few)]
    assert ids(few) == kept  # of the candidates the best, in the order of MaxSim


def test_pages_added_and_deleted_after_the_index_are_followed(collection, spec, pages, tmp_path):
    collection.index("faiss factory=Flat", spaces=[encodings(spec)])
    later = [picture(n, tmp_path) for n in range(PAGES, PAGES + 6)]
    collection.add([{"id": path.stem, "image": str(path)} for path in later], encoder=spec)
    gone = exhaustive(spec, pages)[0][0]
    collection.delete([gone])
    truth, scores = exhaustive(spec, [path for path in (*pages, *later) if path.stem != gone])
    agree(collection.search(text=TEXT, k=8, recall="muvera", depth=50, index="faiss"), truth, scores)
    among = collection.search(text=TEXT, k=8, recall="muvera", depth=50, where="id >= 'page30'")
    assert ids(among) == [id for id in truth if id >= "page30"]


def test_the_planner_uses_the_recipe_once_it_is_measured(collection):
    measured = collection.measure(
        [Query({"text": text}, target="image") for text in ("red", "a ball", "two dogs")], k=3
    )
    assert {trial.recipe for trial in measured.trials} <= {"muvera"}
    assert "recall by multi_vector muvera" in str(collection.explain(text=TEXT))
    with pytest.raises(BadSpec, match="the scorer multi_vector has no recall 'tokens'; choose from muvera, routes"):
        collection.search(text=TEXT, recall="tokens")


def test_another_encoder_can_find_the_candidates(collection, spec, pages, tmp_path):
    collection.add([{"id": path.stem, "image": str(path)} for path in pages], encoder="classic")
    truth, scores = exhaustive(spec, pages)
    found = collection.search(text=TEXT, k=5)
    agree(found, truth, scores)  # classic embeds no text that finds pictures


def test_an_index_needs_the_name_of_the_space(collection):
    with pytest.raises(BadSpec, match=r"there are no vectors to index; .* recall by the computed space .*muvera"):
        collection.index("faiss factory=Flat")


def test_recall_targets_of_a_computed_space_are_checked_without_its_name(collection, spec):
    assert collection.check() == []
    (muvera,) = [each.space.name for each in collection._session().graph.derived if each.space.name.endswith("muvera")]
    collection.index("faiss factory=Flat", spaces=[muvera], recall=0.9)
    assert [each.kind for each in collection.check()] == [each.kind for each in collection.check(spaces=[muvera])] != []


def test_what_the_only_scorer_cannot_search_is_refused_with_its_name(collection, pages):
    told = r"no vectors are stored here that image is compared with by itself: only multi_vector \(text -> image\)"
    with pytest.raises(NoRoute, match=told):
        collection.search(image=str(pages[0]), k=3)


def test_the_command_line_adds_and_finds_pages(tmp_path, pages, spec):
    run = CliRunner().invoke
    place = str(tmp_path / "scans")
    done = run(app, ["add", place, *map(str, pages[:5]), "--encoder", spec])
    assert done.exit_code == 0, done.output
    found = run(app, ["search", place, "--text", TEXT, "-k", "3"])
    assert found.exit_code == 0 and "page" in found.output
