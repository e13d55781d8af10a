from dataclasses import replace

import numpy as np
import pytest

from quiver.benchmarks.datasets.ann import Neighbours
from quiver.benchmarks.recall import vectors
from quiver.benchmarks.recall.outcome import Options
from quiver.benchmarks.recall.run import bench
from quiver.benchmarks.recall.setup import Setup
from quiver.benchmarks.speed import scale
from quiver.errors import BadSpec

ITEMS, QUESTIONS = 1500, 120
SPEC = f"quiver.benchmarks.speed.scale items={ITEMS} questions={QUESTIONS} dim=24"
SETUPS = [
    Setup(),
    Setup("faiss factory=IVF32,Flat nprobe=1"),
    Setup("faiss factory=IVF32,Flat nprobe=32"),
    Setup(depth=4),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    task = scale.task(items=ITEMS, questions=QUESTIONS)
    work = tmp_path_factory.mktemp("work")
    options = Options(work=work, resamples=200, progress=False, baselines=False)
    return bench(task, [SPEC], setups=SETUPS, options=options), work


def test_what_an_approximate_index_misses_is_laid_to_it_and_the_rest_to_the_encoder(found):
    exact, one, every, _ = (outcome.attribution for outcome in found[0].outcomes)
    assert exact.counts["encoder"] == exact.lost > 0
    assert one.counts["index"] > 0
    assert one.counts["encoder"] + one.counts["index"] == one.lost
    # What both miss is the encoder's; what the index finds beyond exact search is gained.
    assert one.counts["encoder"] + one.gained == exact.lost
    assert every.counts == exact.counts


def test_losses_below_the_recalled_depth_are_laid_to_the_depth(found):
    exact, short = found[0].outcomes[0], found[0].outcomes[3]
    lost = exact.scores.of("Success@10") - short.scores.of("Success@10")
    assert short.attribution.counts["depth"] == lost.sum() > 0
    assert short.attribution.counts["encoder"] == exact.attribution.lost
    assert (short.ranking.rows[:, 4:] == -1).all()


def test_settings_of_one_index_share_it(found):
    (note,) = found[1].rglob("built.json")
    assert '"options": {"factory": "IVF32,Flat"}' in note.read_text()
    assert [outcome.seconds["index"] > 0 for outcome in found[0].outcomes] == [False, True, False, False]


def test_all_are_tested_against_the_first_and_corrected_together(found):
    tests = found[0].comparisons
    assert [test.a for test in tests] == ["made | exact"] * 3
    by_name = {test.b: test for test in tests}
    assert by_name["made | faiss factory=IVF32,Flat nprobe=1"].effect.value < 0
    assert by_name["made | faiss factory=IVF32,Flat nprobe=32"].p == 1.0
    assert all(test.adjusted >= test.p for test in tests)


@pytest.fixture(scope="module")
def neighbours():
    rng = np.random.default_rng(5)
    base = rng.integers(0, 9, (800, 8)).astype(np.uint8)  # many rows are equally near
    queries = rng.integers(0, 9, (60, 8)).astype(np.uint8)
    gaps = ((queries[:, None].astype(np.int64) - base[None]) ** 2).sum(axis=2)
    rows = np.argsort(gaps, axis=1, kind="stable")[:, :20]
    return Neighbours("grid", "00", base, queries, rows, "l2", "made")


def test_exact_search_finds_every_true_neighbour_of_ready_made_vectors(neighbours):
    plans = [Setup("faiss factory=IVF16,Flat nprobe=1"), Setup(depth=3)]
    found = vectors.bench(neighbours, setups=plans, options=Options(resamples=100, progress=False))
    exact, one, short, random = found.outcomes
    assert exact.scores.mean("R@10") == exact.scores.mean("R@1") == 1.0
    assert exact.attribution.lost == 0
    assert one.attribution.counts["index"] == one.attribution.lost == round(600 * (1 - one.scores.mean("R@10")))
    assert short.attribution.counts["depth"] == 60 * 7
    assert short.scores.mean("R@10") == pytest.approx(0.3)
    assert random.scores.mean("R@10") == pytest.approx(10 / 800)


def test_vectors_have_no_other_measure_than_recall(neighbours):
    with pytest.raises(BadSpec, match="not by Success@10"):
        vectors.bench(neighbours, options=Options(measures=("Success@10",)))
    with pytest.raises(BadSpec, match="k up to 20, not by R@50"):
        vectors.bench(neighbours, options=Options(measures=("R@50",)))


def test_index_options_that_do_not_exist_are_named(neighbours, found):
    with pytest.raises(BadSpec, match="no option 'colour'"):
        vectors.bench(neighbours, setups=[Setup("faiss colour=red")], options=Options(progress=False))
    task = replace(scale.task(items=ITEMS, questions=QUESTIONS))
    with pytest.raises(BadSpec, match="no option 'colour'"):
        bench(task, [SPEC], setups=[Setup("faiss colour=red")], options=Options(work=found[1], progress=False))
