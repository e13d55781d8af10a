"""The CPU route's own additions: patches relative to both pictures, and the change past the blocks."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.encoders.clip4idc.pairs import small, write

from quiver import registry
from quiver.encoders._settings import changed
from quiver.encoders._train import write_recipe
from quiver.encoders.clip4idc.config import Config, Vision
from quiver.encoders.clip4idc.encoder import revision
from quiver.encoders.clip4idc.model import Clip4Idc
from quiver.encoders.clip4idc.recipe import PRESETS
from quiver.encoders.clip4idc.start import from_clip
from quiver.encoders.clip4idc.train import train
from quiver.encoders.clip4idc.vision import Pairs
from quiver.errors import BadSpec

PLAIN = Vision(patch=0, feature=6, rows=2, columns=2, width=16, layers=2, intra=0, heads=2)
OWN = replace(PLAIN, change=12, relative=True)


def made(config, *, gain=0.0):
    """Return an encoder of pairs in eval mode whose weights are large enough for every input to matter."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pairs = Pairs(config, 5).eval()
        for parameter in pairs.parameters():
            if parameter.ndim == 2:
                torch.nn.init.normal_(parameter, std=0.4)
    pairs.measure(features(50).flatten(0, 1))
    if pairs.change is not None:
        pairs.change.gain.data.fill_(gain)
    return pairs


def features(count):
    return 3 + 2 * torch.randn(count, 2, 4, 6, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_at_first_the_vector_is_that_of_the_difference_of_pooled_features():
    pairs, shown, known = made(OWN), features(3), features(50).flatten(0, 1)
    spread = torch.cat([known.mean(dim=1).std(0, correction=0), known.amax(dim=1).std(0, correction=0)])
    scaled = torch.cat([shown.mean(dim=2), shown.amax(dim=2)], dim=2) / spread
    expected = pairs.change.layers(scaled[:, 1] - scaled[:, 0])
    np.testing.assert_allclose(pairs.pool(pairs(shown)), expected, atol=1e-5)
    elsewhere = torch.stack([shown[:, 0].roll(1, dims=1), shown[:, 1]], dim=1)  # where things are does not matter
    np.testing.assert_allclose(pairs.pool(pairs(elsewhere)), expected, atol=1e-5)
    assert (pairs.pool(pairs(shown.flip(1))) - expected).abs().max() > 0.1


@torch.no_grad()
def test_the_change_is_added_to_the_class_tokens_alone():
    shown = features(3)
    added, plain = made(replace(PLAIN, change=12), gain=1.0), made(PLAIN)
    plain.load_state_dict({name: each for name, each in added.state_dict().items() if not name.startswith("change.")})
    gap = added(shown) - plain(shown)
    assert gap[:, 0].abs().max() > 0.1
    np.testing.assert_allclose(gap[:, 0], gap[:, 5], atol=1e-4)
    assert not gap[:, 1:5].any() and not gap[:, 6:].any()


@torch.no_grad()
def test_equal_pictures_are_alike_whatever_they_show():
    same = features(4)[:, [0, 0]]
    own, plain = (made(config, gain=0.7)(same) for config in (OWN, PLAIN))
    np.testing.assert_allclose(own, own[:1].expand_as(own), atol=1e-4)
    assert (plain - plain[:1]).abs().max() > 0.1


@torch.no_grad()
def test_relative_patches_hold_the_order_and_the_place_of_a_change():
    pairs, shown = made(OWN, gain=1.0), features(1)
    vectors = [
        pairs.pool(pairs(each))[0] for each in (shown, shown.flip(1), shown.roll(1, dims=2))
    ]  # as it is, backwards, and with everything one cell on
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (vectors[one] - vectors[other]).abs().max() > 0.01


def test_it_is_the_cpu_preset_s_alone():
    assert [(PRESETS[name].model.vision.change, PRESETS[name].model.vision.relative) for name in PRESETS] == [
        (512, True) if name == "cpu" else (0, False) for name in PRESETS
    ]


def test_a_model_that_starts_from_a_clip_has_none_of_it(tmp_path, write_open_clip):
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "patch_size": 16, "layers": 2, "width": 32, "head_width": 16},
        "text_cfg": {"layers": 1, "width": 32, "heads": 2},
    }
    folder = write_open_clip(tmp_path / "clip", config, preprocess={}, seed=1)
    model = from_clip(Config.cpu(), f"open_clip model='local-dir:{folder}'", seed=0)
    assert model.pairs.change is None
    assert not model.config.vision.relative


@pytest.mark.parametrize("own", [{"change": 8}, {"relative": True}])
def test_pixels_are_refused(own):
    with pytest.raises(BadSpec, match="for patches that are features"):
        Pairs(replace(Config.tiny().vision, **own), 8)


def test_hidden_units_are_not_negative():
    with pytest.raises(BadSpec, match=r"vision\.change must be at least 0, not -1"):
        replace(PLAIN, change=-1)


def test_a_run_that_was_begun_without_goes_on_without(tmp_path):
    """A stopped run of an older version, whose recipe.json does not have the settings."""
    recipe = PRESETS["cpu"]
    write_recipe(tmp_path, recipe, model="clip4idc")
    path = tmp_path / "recipe.json"
    told = json.loads(path.read_text())
    for name in ("change", "relative"):
        del told["recipe"]["model"]["vision"][name]
    path.write_text(json.dumps(told))
    (tmp_path / "resume").mkdir()
    with pytest.raises(BadSpec, match=r"was started with model\.vision\.change=0, not 512"):
        write_recipe(tmp_path, recipe, model="clip4idc")
    assert "change" not in json.loads(path.read_text())["recipe"]["model"]["vision"]
    off = {"model.vision.change": 0, "model.vision.relative": False}
    write_recipe(tmp_path, changed(recipe, off), model="clip4idc")
    assert json.loads(path.read_text())["recipe"]["model"]["vision"]["change"] == 0


def test_it_is_trained_saved_and_opened_again(tmp_path):
    squares = write(tmp_path / "squares")
    own = {"model.vision.change": 48, "model.vision.relative": True}
    recipe = small(**own, **{"loop.steps": 120, "loop.batch": 48, "loop.rate": 2e-3})
    outcome = train(squares, squares, tmp_path / "run", recipe=recipe)
    assert outcome.figures["recall"] > 0.8
    model = Clip4Idc.open(tmp_path / "run/model")
    assert model.pairs.change.gain.abs().max() > 0
    assert (model.pairs.change.spread != 1).all()
    encoder = registry.load("encoders", f"clip4idc checkpoint={tmp_path / 'run/model'} device=cpu")
    item, space = squares.items[0], encoder.spaces("pair")[0]
    read = encoder.reader("pair")((item.media["before"], item.media["after"]))
    vector = encoder.embed("pair", [read], space)[0]
    said = encoder.embed("text", ["the left square turned from red to green", "right: blue became white"], space)
    assert said[0] @ vector > said[1] @ vector
    absolute = Clip4Idc(replace(model.config, vision=replace(model.config.vision, relative=False)))
    absolute.load_state_dict(model.state_dict())
    absolute.words = model.words
    assert revision(absolute) != revision(model)  # the same weights give other vectors
