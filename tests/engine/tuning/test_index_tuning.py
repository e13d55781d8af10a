"""What an index is said to keep is what fresh queries find."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

import quiver
from quiver.cli import app
from quiver.engine.statistics import recall_curves
from quiver.engine.statistics.recall_curves import BUCKETS
from quiver.engine.tuning.index_build import renew
from quiver.engine.tuning.index_tuning import Want
from quiver.errors import BadSpec
from quiver.types import Item, Query

ROWS, DIM, ASKED = 6000, 32, 300


def points(rng, count):
    centres = np.random.default_rng(0).normal(size=(60, DIM))
    return (centres[rng.integers(0, 60, count)] + rng.normal(size=(count, DIM))).astype(np.float32)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A collection of clusters with an IVF index that promises 0.9, and 300 queries that had no part in it."""
    folder = tmp_path_factory.mktemp("tune")
    rng = np.random.default_rng(5)
    np.save(folder / "base.npy", points(rng, ROWS))
    np.save(folder / "asked.npy", points(rng, ASKED))
    collection = quiver.open(folder / "c")
    collection.add_vectors(folder / "base.npy", space="made", progress=False)
    collection.update_meta({f"base#{n}": {"n": n} for n in range(ROWS)})
    (built,) = collection.index("faiss factory=IVF64,PQ16x4fs,RFlat", recall=0.9, queries=folder / "asked.npy")
    return collection, points(rng, ASKED), built, folder


def promised(collection):
    """The one promise of a collection, and its file."""
    session = collection._session()
    (column,) = session.graph.columns
    ((kind, kept),) = session.promises(column).items()
    return kept, session.cache.promise(column, kind)


def found(collection, queries, **ask):
    results = collection.search_batch([Query(vectors={"made": query}, **ask) for query in queries])
    return [{hit.id for hit in result} for result in results]


@pytest.mark.parametrize("share", [*BUCKETS, 0.03, 0.0005])
@pytest.mark.parametrize("k", [10, 50])
def test_fresh_queries_find_what_was_promised_at_every_selectivity(made, share, k):
    collection, fresh, _, _ = made
    where = None if share == 1 else f"(n * 7919) % {ROWS} < {round(share * ROWS)}"
    ours = found(collection, fresh, k=k, where=where)
    truth = found(collection, fresh, k=k, where=where, index="exact")
    shares = np.array([len(a & b) / len(b) for a, b in zip(ours, truth, strict=True)])
    assert all(len(a) == len(b) for a, b in zip(ours, truth, strict=True)), "k hits, or all there are, come back"
    error = shares.std() / np.sqrt(len(shares))
    assert shares.mean() + 3 * error >= 0.9


def test_the_index_itself_keeps_it_where_a_plan_would_rather_scan(made):
    collection, fresh, _, _ = made
    kept, _ = promised(collection)
    session = collection._session()
    resident = session.resident(session.graph.columns[0])
    rng = np.random.default_rng(11)
    for curve in kept.curves:
        offer = kept.offer(curve.depth, curve.selectivity)
        assert offer is not None, f"a setting that keeps 0.9 at depth {curve.depth} of {curve.selectivity}"
        count = round(curve.selectivity * ROWS)
        allow = None if count == ROWS else np.sort(rng.choice(resident.rows(), count, replace=False))
        ours = resident.search("faiss", fresh, curve.depth, allow=allow, spend=offer.spend)[1]
        truth = resident.search("exact", fresh, curve.depth, allow=allow)[1]
        shares = np.array([np.isin(b, a).mean() for a, b in zip(ours, truth, strict=True)])
        assert shares.mean() + 3 * shares.std() / np.sqrt(len(shares)) >= 0.9


def test_what_is_promised_rests_on_queries_that_had_no_part_in_tuning(made):
    collection, _, built, _ = made
    kept, _ = promised(collection)
    assert kept.source == "300 queries (asked.npy)" and kept.asked == 300
    assert built["promise"]["state"] == kept.state()
    for curve in kept.curves:
        # Both halves are samples of one kind of query, so what they say differs by chance only.
        assert any(point.floor < point.recall for point in curve.points) or curve.points[-1].recall == 1
        assert sorted(point.recall for point in curve.points)[-1] > 0.9


def test_a_wrong_curve_is_found_out_and_put_right(made):
    collection, *_ = made
    kept, path = promised(collection)
    lies = tuple(
        replace(
            curve,
            points=tuple(
                replace(point, spend={"nprobe": 1, "refine": 1}, recall=0.99, floor=0.99) for point in curve.points[:1]
            ),
        )
        for curve in kept.curves
    )
    recall_curves.write(path, replace(kept, curves=lies))
    collection._session().forget()
    (report,) = json.loads(run("index", collection.uri, "--check", "--json"))
    assert not report["kept"]
    assert min(each["recall"] for each in report["found"]) < 0.85
    right, _ = promised(quiver.open(collection.uri))
    assert all(offer.spend != {"nprobe": 1, "refine": 1} for offer in [right.offer(10, 1.0)])
    assert right.offer(10, 1.0).recall >= 0.9 and right.source == "300 queries (queries.npy)"
    (again,) = collection.check()
    assert again["kept"]


def run(*arguments):
    done = CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_info_tells_the_promise_and_when_it_has_to_be_checked(made):
    collection, _, _, folder = made
    (column,) = json.loads(run("info", collection.uri, "--json"))["columns"]
    told = column["promises"]["faiss"]
    assert (told["recall"], told["k"], told["changed"]) == (0.9, 10, 0)
    assert told["state"].startswith("holds") and told["vectors"] == ROWS
    assert [each["selectivity"] for each in told["settings"]] == 2 * list(BUCKETS)
    assert "recall@10 0.9: holds" in run("info", collection.uri)

    np.save(folder / "more.npy", points(np.random.default_rng(9), ROWS // 5))
    before = collection.versions()[-1]["version"]
    collection.add_vectors(folder / "more.npy", space="made", progress=False)
    assert "of the rows changed since it was measured" in run("info", collection.uri)
    plan = str(collection.explain(vectors={"made": np.zeros(DIM)}, index="faiss"))
    assert "recall faiss" in plan or "best 10 by faiss" in plan
    assert "holds" in str(quiver.open(collection.uri).checkout(before).info()["columns"][0]["promises"])
    (checked,) = collection.check()
    assert checked["before"].startswith("stale, ") and checked["promise"]["changed"] == 0
    assert "of the rows changed" not in run("info", collection.uri)

    # An index that catches up is measured anew.
    (built,) = collection.index("faiss factory=IVF64,PQ16x4fs,RFlat")
    assert built["promise"]["recall"] == 0.9 and built["promise"]["vectors"] == ROWS + ROWS // 5
    # Another index has no part in it, unless it is told to.
    assert built["promise"]["source"] == "300 queries (queries.npy)"


def test_stored_vectors_stand_in_for_queries_and_the_promise_says_so(tmp_path):
    rng = np.random.default_rng(1)
    np.save(tmp_path / "base.npy", points(rng, 2000))
    collection = quiver.open(tmp_path / "c")
    collection.add_vectors(tmp_path / "base.npy", space="made", progress=False)
    (built,) = collection.index("faiss factory=HNSW8", recall=0.8)
    assert built["promise"]["source"] == "1,000 stored vectors, not queries"
    # A stored vector finds itself for nothing; left out, recall is that of its neighbours.
    assert all(each["recall"] <= 1 for each in built["promise"]["settings"])


def test_vectors_of_another_key_in_the_space_are_asked_before_the_column_itself(tmp_path):
    rng = np.random.default_rng(2)
    for key in ("image", "text"):
        np.save(tmp_path / f"{key}.npy", points(rng, 400))
    collection = quiver.open(tmp_path / "c")
    for key in ("image", "text"):
        collection.add_vectors(tmp_path / f"{key}.npy", space="made", key=key, progress=False)
    built = collection.index("faiss factory=Flat", recall=0.9)
    assert [each["promise"]["source"] for each in built] == [
        "400 stored text vectors, asked of image vectors",
        "400 stored image vectors, asked of text vectors",
    ]


def test_lance_promises_too_and_is_asked_with_what_was_tuned(tmp_path):
    rng = np.random.default_rng(3)
    np.save(tmp_path / "base.npy", points(rng, 4000))
    collection = quiver.open(tmp_path / "c")
    collection.add_vectors(tmp_path / "base.npy", space="made", progress=False)
    (built,) = collection.index("lance kind=IVF_PQ partitions=16", recall=0.9, queries=points(rng, 60))
    settings = {(each["k"], each["selectivity"]): each for each in built["promise"]["settings"]}
    assert settings[10, 1.0]["recall"] >= 0.9 and settings[10, 1.0]["spend"]["refine"] > 1
    stage = collection.explain(vectors={"made": np.ones(DIM)}, index="lance").stages[0]
    assert dict(stage.spend) == settings[10, 1.0]["spend"]
    fresh = points(rng, 100)
    ours, truth = (found(collection, fresh, k=10, index=kind) for kind in ("lance", "exact"))
    shares = np.array([len(a & b) / 10 for a, b in zip(ours, truth, strict=True)])
    assert shares.mean() + 3 * shares.std() / 10 >= 0.9


def test_what_memory_does_not_hold_is_measured_and_scanned_on_disk(tmp_path):
    rng = np.random.default_rng(4)
    data = points(rng, 3000)
    np.save(tmp_path / "base.npy", data)
    collection = quiver.open(tmp_path / "c")
    collection.add_vectors(tmp_path / "base.npy", space="made", progress=False)
    collection.update_meta({f"base#{n}": {"n": n} for n in range(3000)})
    collection.index("lance kind=IVF_FLAT partitions=8")
    session = collection._session()
    (column,) = session.graph.columns
    want = Want(0.9, 10, points(rng, 40))
    kept = renew(session, column, "lance", want, options={"kind": "IVF_FLAT"}, exact=False)
    assert not kept.resident and kept.offer(10, 1.0).recall >= 0.9

    (query,) = points(rng, 1)
    result = collection.search(vectors={"made": query}, where="n < 2", k=5)
    (stage,) = (stage for stage in result.plan.stages if hasattr(stage, "spend"))
    assert (stage.index, dict(stage.spend)) == ("lance", {"scan": 3000})
    assert {hit.id for hit in result} == {"base#0", "base#1"}
    scores = data @ query / np.linalg.norm(data, axis=1)
    best = {f"base#{n}" for n in np.argsort(-scores)[:10]}
    assert len({hit.id for hit in collection.search(vectors={"made": query}, k=10)} & best) >= 8
    assert not session.resident(column)._loaded, "no vectors in memory"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"recall": 1.2}, "above 0 and at most 1"),
        ({"recall": 0.9, "k": 0}, "k must be at least 1"),
        ({"recall": 0.9, "memory": "1 apple"}, "8GB or 500MiB"),
        ({"recall": 0.9, "queries": np.zeros((5, 3), np.float32)}, "has dimension 32, and the queries have 3"),
        ({"recall": 0.9, "queries": np.zeros((1, 32), np.float32)}, "needs at least two sample queries"),
        ({"spec": "faiss factory=HNSW32", "memory": "100kB"}, "takes about .* and 100 kB of memory are"),
    ],
)
def test_what_cannot_be_promised_is_said(made, options, problem):
    with pytest.raises(BadSpec, match=problem):
        made[0].index(options.pop("spec", "faiss factory=Flat"), **options)


def test_queries_may_be_lines_of_text_or_pictures(tmp_path, photos, lab):
    (lab / "words.py").write_text(
        "import numpy as np\nfrom quiver.types import Space\nfrom quiver.media import TextReader\n"
        "class Made:\n    keys = ('text',)\n"
        "    def spaces(self, key): return (Space('made', 4, 'cosine', 'one'),) if key == 'text' else ()\n"
        "    def reader(self, key): return TextReader()\n"
        "    def embed(self, key, batch, space):\n"
        "        return np.stack([np.eye(4, dtype=np.float32)[len(each) % 4] for each in batch])\n"
        "def load(): return Made()\n"
    )
    collection = quiver.open(tmp_path / "c")
    items = [Item(f"{n}", {"text": "a" * (n + 1)}) for n in range(40)]
    collection.add(*items, encoder="lab.words", workers=1, progress=False)
    (tmp_path / "asked.txt").write_text("one\n\nanother\nmore words\n")
    (built,) = collection.index("faiss factory=Flat", recall=0.9, queries=tmp_path / "asked.txt")
    assert built["promise"]["source"] == "3 queries (asked.txt)"
    # The table of queries that `bench recall`, `fit` and `threshold` read: one query in two rows is asked once.
    table = "id,query,answer,where\na,one,1,\na,one,2,\nb,another,3,id <> '9'\nc,more words,4,\n"
    (tmp_path / "asked.csv").write_text(table)
    (built,) = collection.index("faiss factory=Flat", recall=0.9, queries=tmp_path / "asked.csv")
    assert built["promise"]["source"] == "3 queries (asked.csv)"
    # Four directions, ten rows each: whichever of equal rows comes back counts.
    assert all(each["recall"] == 1 for each in built["promise"]["settings"])
    with pytest.raises(BadSpec, match="no encoder here embeds image into made"):
        collection.index("faiss factory=Flat", recall=0.9, queries=photos)
