"""Composed queries, by a scorer of a third party: two terms, one for what changes and one for what stays.

The pictures of this third party are vectors in .npy files; a wish is a text that seeds its vectors.
Shapes: q queries, n candidates, d = 16.
"""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

import quiver
from quiver.cli import app
from quiver.engine.execution.executor import execute
from quiver.engine.execution.stages.recall import Recall
from quiver.engine.execution.stages.score import Score
from quiver.engine.planning.planner import plan
from quiver.engine.statistics.scorer_recall import Measured, RecipeRecall
from quiver.errors import BadMedia, BadSpec, SpaceMismatch
from quiver.types import Item, Query

N, D = 300, 16
MODULE = '''
"""A third party's model: s = w_text <p, N(a t)> + w_image <N(b r), N(b t)>, r the mean of the references."""

import zlib
from dataclasses import dataclass

import numpy as np

from quiver.errors import BadMedia
from quiver.types import Probe, Space

D = 16
SPACE = Space("duo/image", D, "cosine", "0" * 16)
LIFTED = Space("duo/lifted", 2 * D, "dot", "0" * 16)


def unit(rows):
    return (rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)).astype(np.float32)


def wish(text):
    rng = np.random.default_rng(zlib.crc32(text.encode()))
    return unit(rng.standard_normal(D)), np.exp(0.6 * rng.standard_normal(D)), np.exp(0.6 * rng.standard_normal(D))


@dataclass
class Picture:
    def __call__(self, source):
        try:
            return np.load(source)
        except (OSError, ValueError) as error:
            raise BadMedia(f"{source} is no picture of ours: {error}") from error


@dataclass
class Words:
    def __call__(self, source):
        return str(source)


class Lift:
    source, target = SPACE, LIFTED

    def map(self, vectors):
        return np.hstack([vectors, np.square(vectors)])


class Duo:
    name, holds, finds, reads, exact = "duo", ("image", "text"), "image", (SPACE,), False
    recalls = {"plain": (SPACE,), "apart": (SPACE, SPACE), "lifted": (LIFTED,)}

    def hold(self, asked):
        rows = []
        for each in asked:
            seen = [unit(Picture()(source)) for source in each.media.get("image", ())]
            seen += list(each.examples.get(SPACE, ()))
            said = [wish(text) for text in each.media["text"]]
            p, a, b = (np.mean([terms[i] for terms in said], axis=0) for i in range(3))
            weight = [each.weights.get("text", 1.0), each.weights.get("image", 1.0)]
            rows.append((p, a, b, np.mean(seen, axis=0), weight))
        names = ("p", "a", "b", "r", "w")
        return {name: np.array([row[i] for row in rows], np.float32) for i, name in enumerate(names)}

    def terms(self, held, columns):
        t, u = columns[SPACE], unit(held["b"] * held["r"])
        squares = np.square(t).T
        change = (held["a"] * held["p"]) @ t.T / np.sqrt(np.square(held["a"]) @ squares)
        keep = (held["b"] * u) @ t.T / np.sqrt(np.square(held["b"]) @ squares)
        return {"change": held["w"][:, :1] * change, "keep": held["w"][:, 1:] * keep}

    def score(self, held, columns):
        return sum(self.terms(held, columns).values())

    def probes(self, held, recall, moments):
        u = unit(held["b"] * held["r"])
        over = {name: np.sqrt(np.square(held[name]) @ moments[SPACE])[:, None] for name in "ab"}
        change = held["w"][:, :1] * held["a"] * held["p"] / over["a"]
        keep = held["w"][:, 1:] * held["b"] * u / over["b"]
        if recall == "plain":
            return (Probe(SPACE, (change + keep)[:, None]),)
        if recall == "apart":
            return tuple(Probe(SPACE, each[:, None]) for each in (change, keep))
        bend = sum(0.5 * np.square(held[name] / over[name]) for name in "ab")
        return (Probe(LIFTED, np.hstack([change + keep, -0.4 * bend]).astype(np.float32)[:, None]),)


class Late(Duo):
    """<N(w_text p + w_image r), t>: one dot product."""

    name, exact = "late", True
    recalls = {"sum": (SPACE,)}

    def hold(self, asked):
        held = super().hold(asked)
        return {"f": unit(held["w"][:, :1] * held["p"] + held["w"][:, 1:] * held["r"])}

    def terms(self, held, columns):
        return {"sum": held["f"] @ columns[SPACE].T}

    def probes(self, held, recall, moments):
        return (Probe(SPACE, held["f"][:, None]),)


class Judge(Duo):
    """It has no way to recall anything, and takes stored originals."""

    name, recalls = "judge", {}


class Liar(Duo):
    name, recalls = "liar", {"plain": (LIFTED,)}


class Model:
    keys, bridges, scorers = ("text", "image"), (Lift(),), (Duo(), Late(), Judge(), Liar())

    def spaces(self, key):
        return (SPACE,) if key in self.keys else ()

    def reader(self, key):
        return {"text": Words(), "image": Picture()}[key]

    def embed(self, key, batch, space):
        return np.stack([wish(each)[0] if key == "text" else unit(each) for each in batch]).astype(np.float32)


def load():
    return Model()
'''


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A collection of 300 pictures with the third party's vectors, and the folder it is in."""
    folder = tmp_path_factory.mktemp("compose")
    (folder / "site" / "atelier").mkdir(parents=True)
    (folder / "site" / "atelier" / "__init__.py").touch()
    (folder / "site" / "atelier" / "duo.py").write_text(MODULE)
    sys.path.insert(0, str(folder / "site"))
    save(folder, "p", N, seed=1)
    collection = quiver.open(folder / "c")
    collection.add(*items(folder, "p", N), encoder="atelier.duo", workers=1)
    yield folder
    sys.path.remove(str(folder / "site"))
    for name in [name for name in sys.modules if name.split(".")[0] == "atelier"]:
        del sys.modules[name]


def save(folder, stem, count, *, seed):
    centres = np.random.default_rng(0).standard_normal((12, D))
    rng = np.random.default_rng(seed)
    for n in range(count):
        np.save(folder / f"{stem}{n}.npy", centres[n % 12] + 0.7 * rng.standard_normal(D))


def items(folder, stem, count):
    return [Item(f"{stem}{n}", {"image": str(folder / f"{stem}{n}.npy")}, {"n": n}) for n in range(count)]


@pytest.fixture
def collection(shelf, tmp_path):
    """The same collection, to be changed."""
    shutil.copytree(shelf / "c", tmp_path / "c")
    return quiver.open(tmp_path / "c", trust=True)  # it came from another place


def unit(row):
    return row / np.linalg.norm(row)


def oracle(folder, ids, *, images, texts, w_text=1.0, w_image=1.0):
    """Score pictures one by one, in float64: id to (change, keep)."""
    from atelier.duo import wish

    p, a, b = (np.mean([wish(text)[i] for text in texts], axis=0, dtype=np.float64) for i in range(3))
    r = np.mean([unit(np.load(folder / f"{image}.npy")) for image in images], axis=0)
    found = {}
    for id in ids:
        t = np.load(folder / f"{id}.npy")
        found[id] = (w_text * p @ unit(a * t), w_image * unit(b * r) @ unit(b * t))
    return found


def best(scores, k, without=()):
    return sorted((id for id in scores if id not in without), key=lambda id: -sum(scores[id]))[:k]


def ids(result):
    return [hit.id for hit in result]


def pictures(count=N, stem="p"):
    return [f"{stem}{n}" for n in range(count)]


def facts_of(collection, query, **changes):
    session = collection._session()
    examples = session.table.examples(list(query.like)) if query.like else {}
    return replace(session.facts(query, examples), **changes)


def stage_names(made):
    return [type(stage).__name__ for stage in made.stages]


def test_an_exact_scan_gives_the_scores_of_the_formula(shelf):
    found = quiver.open(shelf / "c").search(like="p7", text="in red", scorer="duo", k=25)
    truth = oracle(shelf, pictures(), images=["p7"], texts=["in red"])
    assert ids(found) == best(truth, 25, without=["p7"])
    for hit in found:
        assert hit.score == pytest.approx(sum(truth[hit.id]), abs=1e-5)
        terms = hit.trace["compose duo"]
        assert (terms["change"], terms["keep"]) == pytest.approx(truth[hit.id], abs=1e-5)
        assert hit.trace["score duo"]["rank"] == ids(found).index(hit.id) + 1


def test_the_reference_is_left_out_whether_it_is_given_by_id_or_by_its_path(shelf, monkeypatch):
    collection = quiver.open(shelf / "c")
    by_id = collection.search(like="p7", text="in red", k=N)
    assert len(by_id) == N - 1 and "p7" not in ids(by_id)
    assert ids(collection.search(image=shelf / "p7.npy", text="in red", k=N)) == ids(by_id)
    monkeypatch.chdir(shelf)
    found = collection.search(image="p7.npy", text="in red", k=5)
    assert ids(found) == ids(by_id)[:5] and "left out" in found.plan.notes[0]


def test_tiles_and_batches_change_nothing(shelf, monkeypatch):
    from quiver.engine.execution import scorer_batch

    collection = quiver.open(shelf / "c")
    queries = [Query({"image": str(shelf / f"p{n}.npy"), "text": f"wish {n}"}, k=8) for n in range(9)]
    queries.insert(3, Query({"text": "wish"}, like=("p9",), k=8))
    whole = collection.search_batch(queries)
    monkeypatch.setattr(scorer_batch, "_NUMBERS", 1)
    monkeypatch.setattr(scorer_batch, "_LEAST", 7)
    monkeypatch.setattr(scorer_batch, "_QUERIES", 4)
    for query, result in zip(queries, whole, strict=True):
        alone = collection.search(query)
        assert ids(alone) == ids(result)
        assert [h.score for h in alone] == pytest.approx([h.score for h in result], abs=1e-5)
    assert [ids(result) for result in collection.search_batch(queries)] == [ids(result) for result in whole]


def through(collection, query, recipe, depth, *, index="exact"):
    """Answer by a recall recipe that the query names."""
    return collection.search(replace(query, scorer="duo", recall=recipe, depth=depth, index=index))


@pytest.mark.parametrize("recipe", ["plain", "apart", "lifted"])
def test_candidates_as_many_as_there_are_give_the_exact_answer(shelf, recipe):
    collection = quiver.open(shelf / "c")
    query = Query({"text": "longer sleeves"}, like=("p3",), k=20)
    exact = collection.search(query)
    found = through(collection, query, recipe, N)
    assert stage_names(exact.plan)[1] == "Score" and ids(found) == ids(exact)
    assert [hit.score for hit in found] == pytest.approx([hit.score for hit in exact], abs=1e-6)
    fewer = through(collection, query, recipe, 60)
    assert 0.5 < len(set(ids(fewer)) & set(ids(exact))) / 20 <= 1


def test_a_condition_holds_for_composed_queries(shelf):
    collection = quiver.open(shelf / "c")
    found = collection.search(like="p7", text="in red", where="n % 5 = 2", k=100)
    truth = oracle(shelf, pictures(), images=["p7"], texts=["in red"])
    odd = {id: truth[id] for id in truth if int(id[1:]) % 5 == 2}
    assert ids(found) == best(odd, 100, without=["p7"])
    assert [each.label for each in found.actual] == ["compose duo", "filter", "score duo", "cut", "fetch"]


def test_what_was_added_rewritten_or_deleted_since_is_seen_at_once(collection, shelf):
    ask = {"like": "p7", "text": "in red", "k": 30}
    collection.search(**ask)  # vectors are in memory from here on
    save(shelf, "q", 40, seed=2)
    collection.add(*items(shelf, "q", 40), encoder="atelier.duo", workers=1)
    gone = ["p1", "q3", ids(collection.search(**ask))[0]]
    collection.delete(gone)
    moved = Item("p5", {"image": str(shelf / "q3.npy")}, {"n": 5})
    collection.add(moved, encoder="atelier.duo", workers=1)
    truth = oracle(shelf, [*pictures(), *pictures(40, "q")], images=["p7"], texts=["in red"])
    truth["p5"] = truth["q3"]
    expected = best(truth, 30, without=[*gone, "p7"])
    assert ids(collection.search(**ask)) == expected
    query = Query({"text": "in red"}, like=("p7",), k=30)
    for recipe in ("plain", "lifted"):
        assert ids(through(collection, query, recipe, 400)) == expected
        assert ids(through(quiver.open(collection.uri), query, recipe, 400)) == expected


def test_several_references_and_wishes_are_given_to_the_scorer_together(shelf):
    collection = quiver.open(shelf / "c")
    images, texts = ["p7", "p8", "p20"], ["in red", "with long sleeves"]
    found = collection.search(image=[shelf / "p7.npy", shelf / "p8.npy"], like="p20", text=texts, k=12)
    assert ids(found) == best(oracle(shelf, pictures(), images=images, texts=texts), 12, without=images)


@pytest.mark.parametrize(
    ("weights", "w_text", "w_image"), [({"text": 0}, 0, 1), ({"image": 0}, 1, 0), ({"text": 2.5}, 2.5, 1)]
)
def test_weights_make_terms_count_more_or_not_at_all(shelf, weights, w_text, w_image):
    found = quiver.open(shelf / "c").search(image=shelf / "p7.npy", text="in red", weights=weights, k=10)
    truth = oracle(shelf, pictures(), images=["p7"], texts=["in red"], w_text=w_text, w_image=w_image)
    assert ids(found) == best(truth, 10, without=["p7"])


def test_the_weight_of_an_example_is_that_of_what_it_stands_for(shelf):
    collection = quiver.open(shelf / "c")
    found = collection.search(like="p7", text="in red", weights={"like": 0.3}, k=10)
    truth = oracle(shelf, pictures(), images=["p7"], texts=["in red"], w_image=0.3)
    assert ids(found) == best(truth, 10, without=["p7"])


def test_a_scorer_that_is_one_dot_product_is_searched_like_any_vector(shelf):
    collection = quiver.open(shelf / "c")
    found = collection.search(like="p7", text="in red", scorer="late", k=10)
    assert stage_names(found.plan) == ["Compose", "Recall", "Cut"]
    from atelier.duo import wish

    asked = unit(wish("in red")[0] + unit(np.load(shelf / "p7.npy")))
    truth = {id: (asked @ unit(np.load(shelf / f"{id}.npy")),) for id in pictures()}
    assert ids(found) == best(truth, 10, without=["p7"])
    assert found[0].trace["compose late"]["sum"] == pytest.approx(found[0].score, abs=1e-6)


def test_a_scorer_without_recall_ranks_what_else_was_found(shelf):
    query = Query({"image": str(shelf / "p7.npy"), "text": "in red"}, scorer="judge", k=10)
    found = quiver.open(shelf / "c").search(query)
    names = ["Compose", "Encode", "Encode", "Recall", "Recall", "Fuse", "Rerank", "Cut"]
    assert stage_names(found.plan) == names and len(found) == 10
    truth = oracle(shelf, pictures(), images=["p7"], texts=["in red"])
    assert [hit.score for hit in found] == pytest.approx([sum(truth[id]) for id in ids(found)], abs=1e-5)


def test_without_a_scorer_lists_are_fused_by_rank_and_the_note_says_so(shelf):
    collection = quiver.open(shelf / "c")
    fused = collection.search(image=shelf / "p7.npy", text="in red", scorer="none", k=10)
    assert stage_names(fused.plan)[-2:] == ["Fuse", "Cut"]
    assert fused.plan.notes[0].startswith("no trained composer takes these inputs together")
    assert fused.plan.refused[0].what == "scorer duo (image + text -> image)"
    alone = collection.search(image=shelf / "p7.npy", text="in red", scorer="none", weights={"text": 0}, k=10)
    assert ids(alone) == ids(collection.search(image=shelf / "p7.npy", k=10))
    heavy = collection.search(image=shelf / "p7.npy", text="in red", scorer="none", weights={"text": 1e4}, k=10)
    assert ids(heavy)[0] == ids(collection.search(text="in red", k=1))[0]


def test_several_pictures_without_a_scorer_are_averaged(shelf):
    collection = quiver.open(shelf / "c")
    by_path = collection.search(image=[shelf / "p7.npy", shelf / "p20.npy"], k=12)
    by_id = collection.search(like=["p7", "p20"], k=10)
    assert [id for id in ids(by_path) if id not in ("p7", "p20")] == ids(by_id)[:10]


def test_explain_says_what_was_chosen_and_what_was_not(shelf):
    text = str(quiver.open(shelf / "c").explain(like="p7", text="in red", weights={"text": 2}))
    assert "compose duo: atelier.duo composes text + stored image to find image, text with weight 2" in text
    assert "score duo: best 10 by exact scores of all rows: at most 300 rows, about 0.0096 ms (estimated)" in text
    assert "refused rank fusion: duo composes the inputs" in text
    assert "refused scorer late (image + text -> image): duo is used" in text
    assert "refused recall by duo lifted: an exact scan is cheap enough" in text


BIG = 50_000_000


def chosen(collection, facts, **ask):
    query = Query({"text": "in red"}, like=("p7",), **ask)
    return plan(query, facts)


def test_many_rows_are_recalled_and_scored_again(shelf):
    collection = quiver.open(shelf / "c")
    query = Query({"text": "in red"}, like=("p7",))
    made = plan(query, facts_of(collection, query, items=BIG))
    assert stage_names(made) == ["Compose", "Recall", "Rescore", "Cut"]
    assert made.stages[1].k == 200 and "recall is not measured here" in made.stages[2].reason
    assert plan(replace(query, k=50), facts_of(collection, query, items=BIG)).stages[1].k == 1000
    few = replace(query, where="n < 3")
    assert stage_names(plan(few, facts_of(collection, few, items=BIG)))[2] == "Score"
    exact = replace(query, index="exact")
    assert stage_names(plan(exact, facts_of(collection, exact, items=BIG)))[1] == "Score"


def measured(*trials, ns=1000.0, items=BIG, k=10):
    return Measured(
        version=1, items=items, queries=50, k=k, ns=ns, trials=tuple(RecipeRecall(*each) for each in trials)
    )


@pytest.mark.parametrize(
    ("trials", "labels", "depth"),
    [
        # the cheapest way that reaches 0.99, whatever its name
        ([("plain", "exact", 200, 0.95, 5.0), ("plain", "exact", 500, 0.995, 9.0)], ["duo plain"], 500),
        ([("plain", "exact", 500, 0.995, 9.0), ("lifted", "exact", 200, 0.99, 4.0)], ["duo lifted"], 200),
        ([("plain", "exact", 500, 0.9, 9.0), ("apart", "exact", 300, 1.0, 7.0)], ["duo apart 1", "duo apart 2"], 300),
        # an index that is not there any more does not count
        ([("plain", "faiss", 200, 1.0, 1.0), ("plain", "exact", 500, 0.995, 9.0)], ["duo plain"], 500),
        # nothing is good enough: everything is scored
        ([("plain", "exact", 500, 0.9, 9.0)], [], None),
    ],
)
def test_the_planner_goes_by_what_was_measured(shelf, trials, labels, depth):
    query = Query({"text": "in red"}, like=("p7",))
    facts = facts_of(quiver.open(shelf / "c"), query, items=BIG)
    duo = next(each for each in facts.graph.compositions if each.name == "duo")
    made = plan(query, replace(facts, measured={duo: measured(*trials)}))
    recalls = [stage for stage in made.stages if isinstance(stage, Recall)]
    assert [stage.route.origin for stage in recalls] == labels
    assert {stage.k for stage in recalls} == ({depth} if depth else set())
    assert any("recall@10 0.9" in each.why for each in made.refused) or "recall@10" in made.stages[-2].reason


def test_more_hits_than_were_measured_take_more_candidates_and_a_grown_collection_none_of_it(shelf):
    query = Query({"text": "in red"}, like=("p7",), k=25)
    facts = facts_of(quiver.open(shelf / "c"), query, items=BIG)
    duo = next(each for each in facts.graph.compositions if each.name == "duo")
    figures = measured(("lifted", "exact", 200, 1.0, 4.0))
    assert plan(query, replace(facts, measured={duo: figures})).stages[1].k == 500
    grown = plan(query, replace(facts, items=2 * BIG, measured={duo: figures}))
    assert grown.stages[1].route.origin == "duo plain" and "not measured" in grown.stages[2].reason


def test_a_fast_scan_is_never_avoided(shelf):
    query = Query({"text": "in red"}, like=("p7",))
    facts = facts_of(quiver.open(shelf / "c"), query, items=BIG)
    duo = next(each for each in facts.graph.compositions if each.name == "duo")
    made = plan(query, replace(facts, measured={duo: measured(("plain", "exact", 200, 1.0, 1.0), ns=2.0)}))
    assert isinstance(made.stages[1], Score) and "100 ms (measured at version 1 on 50 queries" in made.stages[1].reason


def test_measuring_finds_the_recall_of_every_way_and_plans_rest_on_it(collection, shelf):
    collection.index("faiss factory=HNSW8")
    collection.index("faiss factory=Flat", spaces=["duo/lifted"])
    queries = [Query({"text": f"wish {n}"}, like=(f"p{n}",)) for n in range(0, 60, 3)]
    found = collection.measure(queries)
    assert {(trial.recipe, trial.index) for trial in found.trials} == {
        (recipe, index) for recipe in ("plain", "apart", "lifted") for index in ("exact", "faiss")
    }
    truth = {query.like: set(ids(collection.search(query))) for query in queries}
    for trial in found.trials:
        if trial.depth == 100:
            hits = [set(ids(through(collection, q, trial.recipe, 100, index=trial.index))) for q in queries]
            share = np.mean([len(theirs & truth[q.like]) / 10 for q, theirs in zip(queries, hits, strict=True)])
            assert trial.recall == pytest.approx(share, abs=1e-9)
    again = quiver.open(collection.uri)
    assert f"(measured at version {found.version} on 20 queries of 300 items)" in str(again.explain(queries[0]))


def test_an_index_asked_for_is_used_for_recall(collection, shelf):
    collection.index("faiss factory=Flat")
    query = Query({"text": "in red"}, like=("p7",), index="faiss", k=5)
    found = collection.search(query)
    assert found.plan.stages[1].index == "faiss"
    assert ids(found) == ids(collection.search(replace(query, index=None)))


def test_a_scorer_that_asks_elsewhere_than_it_said_is_found_out(shelf):
    query = Query({"text": "in red"}, like=("p7",), scorer="liar")
    collection = quiver.open(shelf / "c")
    made = plan(query, facts_of(collection, query, items=BIG))
    session = collection._session()
    with pytest.raises(
        SpaceMismatch, match="the scorer liar made probes in duo/image@00000000, but declared duo/lifted@00000000"
    ):
        execute(session, [query], made, examples=session.table.examples(["p7"]))


@pytest.mark.parametrize(
    ("ask", "problem"),
    [
        ({"scorer": "trio"}, "there is no scorer 'trio' here; scorers here: duo, judge, late, liar"),
        ({"scorer": "duo", "target": "text"}, r"the scorer duo \(image \+ text -> image\) needs image \+ text"),
        ({"scorer": "duo", "text": None}, "needs image . text and finds image"),
        (
            {"scorer": "duo", "spaces": ["duo/lifted"]},
            "it scores in the space duo/image, and the query names duo/lifted only",
        ),
        ({"weights": {"audio": 1}}, "there is a weight for 'audio', but the inputs of this query are: text, like"),
        ({"weights": {"text": -1}}, "the weight of text must be a number of at least 0, not -1"),
        ({"weights": {"text": 0, "like": 0}}, "every weight is 0"),
        ({"text": []}, "text is an empty list or contains None"),
    ],
)
def test_what_cannot_be_composed_is_said_in_one_line(shelf, ask, problem):
    with pytest.raises(BadSpec, match=problem) as raised:
        quiver.open(shelf / "c").search(**{"like": "p7", "text": "in red", **ask})
    assert "\n" not in str(raised.value)


def test_a_reference_that_cannot_be_read_is_named(shelf):
    (shelf / "bad.npy").write_bytes(b"nothing")
    with pytest.raises(BadMedia, match=r"bad\.npy is no picture of ours"):
        quiver.open(shelf / "c").search(image=shelf / "bad.npy", text="in red")


def test_the_manifest_describes_the_scorers(shelf):
    collection = quiver.open(shelf / "c")
    assert collection.info()["scorers"][0] == "duo (image + text -> image)"
    described = collection._session().table.encoders["atelier.duo"]["scorers"][0]
    assert (described["name"], described["holds"], described["finds"]) == ("duo", ["image", "text"], "image")
    assert [space["name"] for space in described["recalls"]["apart"]] == ["duo/image", "duo/image"]


def test_the_command_line_composes_and_gives_the_same_hits(shelf):
    arguments = ["search", shelf / "c", "--image", shelf / "p7.npy", "--image", shelf / "p8.npy", "--text", "in red"]
    arguments += ["--text", "longer", "--weight", "text=2", "--json", "-k", "7"]
    done = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    hits = json.loads(done.stdout)["hits"]
    images = [shelf / "p7.npy", shelf / "p8.npy"]
    found = quiver.open(shelf / "c").search(image=images, text=["in red", "longer"], weights={"text": 2}, k=7)
    assert [hit["id"] for hit in hits] == ids(found)
    assert set(hits[0]["trace"]["compose duo"]) == {"change", "keep"}
    fused = CliRunner().invoke(app, [str(each) for each in [*arguments, "--scorer", "none"]], catch_exceptions=False)
    assert "fuse" in json.loads(fused.stdout)["hits"][0]["trace"]


def test_a_page_shows_a_composed_query(shelf, tmp_path):
    from quiver.engine.contact_sheet import write

    collection = quiver.open(shelf / "c")
    query = Query({"text": ["in red", "longer"]}, like=("p7",), k=3)
    write(tmp_path / "page.html", [(query, collection.search(query))], collection=collection)
    text = (tmp_path / "page.html").read_text()
    assert "“in red” + “longer” + like p7" in text and "compose duo: change" in text


def test_a_query_names_the_recall_of_a_scorer_and_its_depth(shelf):
    collection = quiver.open(shelf / "c")
    query = Query({"text": "in red"}, like=("p7",), k=10, scorer="duo", recall="apart", depth=40)
    made = collection.explain(query)
    assert stage_names(made) == ["Compose", "Recall", "Recall", "Rescore", "Cut"]
    assert {stage.k for stage in made.stages if isinstance(stage, Recall)} == {40}
    assert stage_names(collection.explain(replace(query, recall=None))) == ["Compose", "Score", "Cut"]
    with pytest.raises(BadSpec, match="the scorer duo has no recall 'guess'; choose from plain, apart, lifted, routes"):
        collection.search(replace(query, recall="guess"))


def test_other_routes_recall_for_a_scorer_that_could_do_it_itself(shelf):
    collection = quiver.open(shelf / "c")
    query = Query({"text": "in red"}, like=("p7",), k=N, scorer="duo", recall="routes", depth=30)
    found = collection.search(query)
    names = stage_names(found.plan)
    assert names[0] == "Compose" and "Rerank" in names and "Score" not in names
    truth = oracle(shelf, pictures(), images=["p7"], texts=["in red"])
    reranked = [hit for hit in found if "compose duo" in hit.trace]
    assert len(reranked) == 30
    assert [hit.id for hit in reranked] == best({hit.id: truth[hit.id] for hit in reranked}, 30)
    assert ids(found)[:30] == [hit.id for hit in reranked]
    with pytest.raises(BadSpec, match="the scorer judge has no recall 'plain'; choose from routes"):
        collection.search(replace(query, scorer="judge", recall="plain"))


def test_excluded_items_are_gone_before_candidates_are_counted(shelf):
    collection = quiver.open(shelf / "c")
    truth = oracle(shelf, pictures(), images=["p7"], texts=["in red"])
    out = best(truth, 5, without=["p7"])
    query = Query({"text": "in red"}, like=("p7",), k=10, scorer="duo", exclude=tuple(out))
    assert ids(collection.search(query)) == best(truth, 10, without=[*out, "p7"])
    assert ids(through(collection, query, "lifted", N)) == best(truth, 10, without=[*out, "p7"])
    few = tuple(best(truth, 20, without=["p7"]))
    among = replace(query, candidates=few)
    assert ids(collection.search(among)) == [id for id in few if id not in out][:10]
    assert ids(through(collection, among, "plain", N)) == [id for id in few if id not in out][:10]
