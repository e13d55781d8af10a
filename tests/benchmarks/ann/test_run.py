"""The machinery of ``quiver bench ann`` on a few thousand vectors, with the peers that are installed with `bench`."""

import json

import numpy as np
import pytest

from quiver.benchmarks import ann, peers
from quiver.benchmarks.ann import bed, clock, report, run, track
from quiver.benchmarks.datasets import clusters
from quiver.benchmarks.datasets._truth import nearest
from quiver.errors import BadData, BadSpec

SPEC = "clusters n=3000 dim=96 queries=300 clusters=50"


@pytest.mark.parametrize("metric", ["l2", "cosine", "dot"])
def test_the_truth_is_what_sorting_all_distances_gives(metric):
    rng = np.random.default_rng(3)
    base = rng.standard_normal((700, 9)).astype(np.float32) * rng.uniform(0.5, 2, (700, 1)).astype(np.float32)
    queries = rng.standard_normal((20, 9)).astype(np.float32)
    wide = base.astype(np.float64)
    if metric == "l2":
        far = ((queries[:, None].astype(np.float64) - wide) ** 2).sum(axis=2)
    else:
        far = -(queries.astype(np.float64) @ wide.T) / (np.linalg.norm(wide, axis=1) if metric == "cosine" else 1)
    assert (nearest(base, queries, metric, 12) == np.argsort(far, axis=1)[:, :12]).all()
    some = np.arange(1, 700, 7)
    assert (nearest(base, queries, metric, 5, rows=some) == some[np.argsort(far[:, some], axis=1)[:, :5]]).all()


def test_of_equally_near_rows_the_truth_names_the_lower_first_and_no_more_than_there_are():
    base = np.zeros((6, 2), np.float32)
    assert nearest(base, base[:1], "l2", 9).tolist() == [[0, 1, 2, 3, 4, 5]]


def test_fewer_made_rows_are_the_beginning_of_more(tmp_path):
    few, more = (clusters.neighbours(n=n, dim=96, queries=20, clusters=50, cache=tmp_path) for n in (500, 20_000))
    assert (few.base == more.base[:500]).all()
    assert (few.queries == more.queries).all()
    assert few.revision != more.revision
    assert np.allclose(np.linalg.norm(more.base, axis=1), 1, atol=1e-6)
    assert more.recall(more.rows, k=100).mean() == 1.0


def test_made_rows_lie_in_clusters_of_few_dimensions():
    model = clusters.Model(128, 50, 0.65, 0.3, 0)
    variance = np.linalg.svd(np.cov(model.rows(0, 4000).T), compute_uv=False)
    assert variance[:96].sum() > 0.9 * variance.sum()  # of 128 dimensions
    sizes = np.sort(np.diff(model.share, prepend=0))
    assert sizes[-1] > 8 * np.median(sizes)


@pytest.fixture(scope="module")
def laid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ann")
    task = clusters.neighbours(n=3000, dim=96, queries=300, clusters=50, cache=folder / "cache")
    return bed.lay(task, folder / "data", seed=0)


def test_a_filter_lets_exactly_its_share_pass_and_near_rows_are_those_around_one(laid):
    for column in bed.FILTERS:
        allowed = laid.allowed(column, 0.01)
        assert len(allowed.rows) == allowed.below == 30
    together, anywhere = (laid.base[laid.allowed(column, 0.01).rows] for column in ("near", "scattered"))
    assert (together @ together.T).mean() > (anywhere @ anywhere.T).mean() + 0.2


def test_true_neighbours_under_a_filter_pass_it(laid):
    allowed = laid.allowed("scattered", 0.001)
    truth = laid.truth("queries", 5, 10, allowed=allowed)
    assert truth.rows.shape == (5, 3)
    assert np.isin(truth.rows, allowed.rows).all()


def test_queries_beyond_are_further_from_everything(laid):
    own, other = (np.asarray(laid.base) @ np.asarray(each).T for each in (laid.queries, laid.beyond))
    assert other.max(axis=0).mean() < own.max(axis=0).mean() - 0.1


def test_answers_are_those_of_the_first_whole_batches():
    asked = []

    def search(queries):
        asked.append(len(queries))
        return np.repeat(queries[:, :1].astype(np.int64), 3, axis=1)

    queries = np.arange(600, dtype=np.float32)[:, None]
    timed = clock.time_search(search, queries, clock.Pace(seconds=0.0, alone=7))
    assert timed.rows[:, 0].tolist() == list(range(512))
    assert asked[:3] == [8, 256, 256]
    assert timed.figures["queries"] == 512
    assert timed.figures["alone"] == 5  # the fewest that are asked where time is up
    assert timed.figures["p50_ms"] <= timed.figures["p95_ms"] <= timed.figures["p99_ms"]


def test_the_cheapest_point_is_the_fastest_of_those_that_reach_the_recall():
    points = [
        {"recall": 0.90, "qps": 9, "qps_alone": 9},
        {"recall": 0.96, "qps": 5, "qps_alone": 2},
        {"recall": 0.97, "qps": 4, "qps_alone": 3},
    ]
    assert track.cheapest(points, 0.95)["recall"] == 0.96
    assert track.cheapest(points, 0.95, by="qps_alone")["recall"] == 0.97
    assert track.cheapest(points, 0.99) is None


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    only = ("sklearn:brute", "faiss:HNSW32", "lancedb:IVF_FLAT", "quiver:HNSW32", "quiver_index:exact")
    tracks = ("plain", "filter", "overhead")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QUIVER_CACHE", str(work / "cache"))
        options = run.Options(only=only, tracks=tracks, threads=1, work=work, pace=clock.Pace(0.02, 20, 5.0))
        if absent := [name for name in ("sklearn", "faiss", "lancedb") if peers.installed(name) is None]:
            pytest.skip(f"not installed: {', '.join(absent)}")
        return ann.measure(SPEC, options, command="quiver bench ann", say=lambda _: None), options


def _systems(measured):
    return {f"{each['peer']}:{each['index']}": each for each in measured[0]["systems"]}


def test_every_system_answers_in_its_own_process_and_finds_what_is_there(measured):
    found = _systems(measured)
    assert set(found) == set(measured[1].only)
    assert not [each["error"] for each in found.values() if "error" in each]
    for name in ("sklearn:brute", "quiver_index:exact"):
        assert found[name]["points"][0]["recall"] == 1.0
    for each in found.values():
        assert each["points"][-1]["recall"] > 0.9
        assert each["build"]["core_s"] > 0 < each["serve_mib"]
        assert each["build"]["disk_mib"] > 3000 * 96 * 4 / 2**20


def test_quiver_and_faiss_find_alike_with_the_same_graph_and_its_overhead_is_measured(measured):
    found = _systems(measured)
    recall = {name: [p["recall"] for p in found[name]["points"]] for name in ("faiss:HNSW32", "quiver:HNSW32")}
    assert recall["faiss:HNSW32"] == pytest.approx(recall["quiver:HNSW32"], abs=0.02)
    assert found["quiver:HNSW32"]["overhead"]["batch_raw_ms"] > 0
    assert found["faiss:HNSW32"]["overhead"] is None


def test_filters_are_measured_where_they_can_be(measured):
    found = _systems(measured)
    assert found["sklearn:brute"]["filter"] is None
    exact = found["quiver_index:exact"]["filter"]
    assert {(each["column"], each["rows"]) for each in exact} >= {("near", 3000), ("scattered", 30), ("near", 1)}
    assert all(each["recall"] == 1.0 for each in exact)


def test_what_was_built_is_not_built_again_and_reports_are_joined(measured, monkeypatch):
    old, options = measured
    monkeypatch.setenv("QUIVER_CACHE", str(options.work / "cache"))
    said = []
    again = run.Options(only=("faiss:HNSW32",), tracks=("beyond",), threads=1, work=options.work, pace=options.pace)
    new = ann.measure(SPEC, again, say=said.append)
    assert not [each for each in said if "building" in each]
    both = ann.merged(old, new)
    assert len(both["systems"]) == len(old["systems"])
    graph = _systems((both, None))["faiss:HNSW32"]
    assert graph["points"] and graph["beyond"]
    with pytest.raises(BadSpec, match="threads"):
        ann.merged(old, {**new, "threads": 9})


def test_a_report_is_read_back_and_shown(measured, tmp_path):
    ann.write(tmp_path / "r.json", measured[0])
    found = ann.read(tmp_path / "r.json")
    (tmp_path / "ann.md").write_text("# Title\n\nWhat stays.\n\n## old\n\nold table\n")
    ann.present([found], markdown=tmp_path / "ann.md", html=tmp_path / "ann.html")
    text = (tmp_path / "ann.md").read_text()
    assert text.startswith("# Title\n\nWhat stays.\n\n## clusters")
    assert "old table" not in text
    assert "cannot filter: sklearn brute" in text
    assert "<svg" in (tmp_path / "ann.html").read_text()
    (tmp_path / "r.json").write_text(json.dumps({"systems": []}))
    with pytest.raises(BadData, match="is no report"):
        ann.read(tmp_path / "r.json")


def test_a_peer_that_is_not_installed_is_listed(monkeypatch, tmp_path):
    monkeypatch.setenv("QUIVER_CACHE", str(tmp_path))
    monkeypatch.setattr(peers, "installed", lambda name: None)
    found = ann.measure(SPEC, run.Options(only=("usearch",), work=tmp_path), say=lambda _: None)
    assert found["absent"] == [{"peer": "usearch", "needs": "usearch"}]
    assert "not installed, left out: usearch (needs usearch)" in report.remarks(found)


def test_unknown_peers_and_tracks_are_refused():
    with pytest.raises(BadSpec, match="nothing"):
        run.Options(only=("nothing:here",))
    with pytest.raises(BadSpec, match="tracks must be among plain"):
        run.Options(tracks=("plane",))
