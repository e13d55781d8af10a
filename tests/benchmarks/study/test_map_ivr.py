"""The comparison of MAP-IVR: its figures follow from its scores."""

import argparse
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.encoders.map_ivr.test_validate import exam

from quiver.benchmarks.study import map_ivr
from quiver.encoders.map_ivr.config import Config
from quiver.encoders.map_ivr.model import MapIvr


@pytest.fixture(scope="module")
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MapIvr(Config.tiny()).eval()


def test_cosines_are_those_of_validation_and_the_mean_is_below_the_largest(model):
    it = exam()
    appearance, largest = map_ivr.cosines(model, it, "max")
    with torch.no_grad():
        expected = it.cosines(model)
    np.testing.assert_allclose(appearance, expected[0], atol=1e-6)
    np.testing.assert_allclose(largest, expected[1], atol=1e-6)
    _, mean = map_ivr.cosines(model, it, "mean")
    assert (mean < largest).all()


def test_lambda_is_chosen_on_validation_and_applied_to_the_test_part(model):
    held, part = exam(), exam(seed=1)
    scores, best = map_ivr.chosen(model, held, part, map_ivr.GRID)
    appearance, moving = map_ivr.cosines(model, held, "max")
    tried = [held.precisions((1 - at) * appearance + at * moving)[0] for at in map_ivr.GRID]
    assert held.precisions((1 - best) * appearance + best * moving)[0] == max(tried)
    appearance, moving = map_ivr.cosines(model, part, "max")
    np.testing.assert_array_equal(scores, (1 - best) * appearance + best * moving)


def test_every_variant_is_a_recipe():
    from quiver.encoders._settings import changed, parse

    preset = map_ivr.train.PRESETS["cpu"]
    for settings in map_ivr.VARIANTS.values():
        recipe = changed(preset, parse(preset, settings, model="map_ivr"))
        assert (recipe != preset) == bool(settings)


def test_a_small_comparison_runs_to_its_tables(tmp_path: Path, monkeypatch, capsys):
    words = [
        "--out",
        tmp_path,
        "--data",
        f"world track=image_gesture count=24 size=32 folder={tmp_path}/world",
        "--seeds",
        0,
    ]
    words += ["--image", "classic", "--video", "motion frames=4", "--preset", "tiny", "--set", "loop.epochs=2"]
    words += ["--plain", "classic", "--frames", 2, "--variants", "map_ivr", "classify + triplet", "--probe", "shape"]
    monkeypatch.setattr(sys, "argv", ["study", *map(str, words)])
    map_ivr.main()
    said = capsys.readouterr().out
    for name in (
        "map_ivr",
        "S_A alone",
        "S_V alone",
        "mean over h",
        "classify + triplet",
        "plain features",
        "best frame",
        "random",
    ):
        assert f"| {name} |" in said
    assert "classify + triplet against map_ivr: mAP@100" in said
    assert "motion_shape" in said
    assert (tmp_path / "report.json").is_file()


def test_the_best_frame_is_the_largest_cosine_of_a_clip_with_the_still(tmp_path: Path):
    from quiver.benchmarks.datasets import load
    from quiver.benchmarks.metric import evaluate, rank
    from quiver.encoders._train import extract
    from quiver.encoders.map_ivr.window import uniform

    spec = f"world track=image_gesture count=10 size=32 folder={tmp_path}/world split=test"
    given = argparse.Namespace(image="classic", plain="classic", single="", frames=3, cache=tmp_path / "features")
    part = map_ivr.Part.of(spec, given)
    lines = {line.name: line for line in map_ivr.baselines(part, given)}
    task = load(spec)
    stills = extract("classic", "image", [each.query.media["image"] for each in task.questions], cache=None)[0]
    nearest = np.zeros((len(stills), len(task.items)))
    for column, item in enumerate(task.items):
        rows = extract("classic frames=1", "video", uniform(item.media["video"], 3), cache=None)[0]
        nearest[:, column] = (stills @ rows.T).max(axis=1)
    expected = evaluate(rank(nearest), part.judgements, ["APh@10"])
    assert lines["best frame"].mean.mean("APh@10") == pytest.approx(expected.mean("APh@10"))
