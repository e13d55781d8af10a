import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quiver.benchmarks.metric import judge
from quiver.benchmarks.study import composers
from quiver.encoders.artemis import train
from quiver.encoders.artemis.model import Model
from quiver.encoders.artemis.validate import Validation


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> argparse.Namespace:
    out = tmp_path_factory.mktemp("runs")
    return argparse.Namespace(out=out, image="classic + classic dim=64", words="classic dim=64", seeds=[0, 1], data="x")


SMALL = "dim=32 embedding=16 hidden=0 epochs=8 batch=24 warmup=0 validations=1"


@pytest.fixture
def part(shelf) -> composers.Part:
    return composers.Part(shelf, judge(shelf))


def only(given: argparse.Namespace, *variants: str) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(given), "variants": variants})


def test_a_model_is_asked_as_its_training_examines_it(shelf, part, given):
    (line,) = composers.measure(only(given, f"artemis {SMALL}"), (shelf, shelf), part)
    assert len(line.runs) == 2 and line.runs[0].mean("Success@1") > 0.5
    folder = next(Path(given.out).glob("artemis*-0"))
    model = Model.open(folder / "model")
    figures = Validation.of(shelf, model, cache=given.out / "features").measure(model)
    assert [line.runs[0].mean(f"Success@{k}") for k in (1, 10)] == pytest.approx([figures["R@1"], figures["R@10"]])
    shares = {name: share.mean() for name, share in line.kept.items()}
    assert shares["single@50"] == shares["union@50"] == shares["lifted@50"] == 1  # the gallery holds 24
    assert shares["single@10"] <= min(shares["union@10"], shares["single@20"])
    assert line.kept["single@10"].shape == (2, len(shelf.questions))


def test_a_run_that_is_done_is_only_asked_again(shelf, part, given, monkeypatch):
    given = only(given, f"tirg {SMALL}")
    (first,) = composers.measure(given, (shelf, shelf), part)
    monkeypatch.setattr(train, "train", lambda *_, **__: pytest.fail("it was trained again"))
    (again,) = composers.measure(given, (shelf, shelf), part)
    assert [run.mean("AP@50") for run in again.runs] == [run.mean("AP@50") for run in first.runs]
    assert not again.kept  # one product, which recall keeps whole


def test_what_needs_no_training_stands_beside_it_and_the_mean_is_over_seeds(shelf, part, given):
    given = argparse.Namespace(**{**vars(given), "image": "classic + classic"})
    lines = composers.baselines(given, shelf, part, part)
    fused = "untuned late fusion"
    names = [line.name.partition(",")[0] for line in lines]
    assert names == ["random", "classic", "first encoder", fused, fused]
    told = composers.describe(lines[1])["figures"]
    both = [told[change]["R@10"]["value"] for change in ("colour", "shape")]
    assert told["mean"]["R@10"]["value"] == pytest.approx(np.mean(both))
    two = replace(lines[1], runs=[lines[1].runs[0], lines[0].runs[0]])
    expected = (lines[1].runs[0].mean("AP@50") + lines[0].runs[0].mean("AP@50")) / 2
    assert two.mean.mean("AP@50") == pytest.approx(expected)
    assert [each["b"] for each in composers.compared([two, lines[0], lines[2]])] == [lines[2].name]
    written = composers.table([composers.describe(line) for line in (two, *lines[2:])])
    assert "colour, " in written and "±" in written
