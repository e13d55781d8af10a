"""Training: it learns made pairs by heart, resumes, starts from CLIPs, and says in one line what cannot be."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.encoders.clip4idc.pairs import SHORT, small, write

from quiver import registry
from quiver.encoders._settings import changed
from quiver.encoders._train.damage import Damage, Decoder
from quiver.encoders.clip4idc.caption_data import FetchTold, collect
from quiver.encoders.clip4idc.config import Config, Text
from quiver.encoders.clip4idc.data import Fetch, Pixels, Sentences, gather
from quiver.encoders.clip4idc.model import Clip4Idc
from quiver.encoders.clip4idc.start import from_clip
from quiver.encoders.clip4idc.train import PRESETS, build, loss, train
from quiver.errors import BadData, BadSpec
from quiver.media import ImageReader


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    return write(tmp_path_factory.mktemp("squares"))


def test_it_learns_a_few_pairs_by_heart_with_their_order(trained):
    squares, outcome, run = trained
    assert outcome.figures["R@1"] > 0.9
    assert outcome.figures["back_R@1"] > 0.9
    encoder = registry.load("encoders", f"clip4idc checkpoint={run / 'model'} device=cpu")
    item = next(each for each in squares.items if each.id == "left-red-blue")
    both = (item.media["before"], item.media["after"])
    shown = [encoder.reader("pair")(each) for each in (both, both[::-1])]
    said = ["the left square turned from red to blue", "the left square turned from blue to red"]
    space = encoder.spaces("pair")[0]
    scores = encoder.embed("text", said, space) @ encoder.embed("pair", shown, space).T
    assert (scores.argmax(axis=1) == [0, 1]).all()
    assert (scores.argmax(axis=0) == [0, 1]).all()


def test_a_stopped_run_ends_as_one_that_was_not(squares, tmp_path):
    whole = small(**{"loop.steps": 6, "loop.batch": 12, "model.vision.dropout": 0.2, "loop.schedule": "constant"})
    whole = changed(whole, {"loop.validate_every": 2})
    train(squares, None, tmp_path / "parts", recipe=changed(whole, {"loop.steps": 3}))
    train(squares, None, tmp_path / "parts", recipe=whole)
    train(squares, None, tmp_path / "once", recipe=whole)
    first, second = (Clip4Idc.open(tmp_path / name / "model").state_dict() for name in ("parts", "once"))
    for name, each in first.items():
        assert torch.equal(each, second[name]), name


def test_a_damaged_picture_is_left_out_with_its_reason(squares, tmp_path, capsys):
    shutil.copytree(Path(squares.items[0].media["before"]).parent, tmp_path / "copy")
    task = write(tmp_path / "copy")
    Path(task.items[0].media["after"]).write_bytes(b"no picture")
    train(task, None, tmp_path / "run", recipe=small(**{"loop.steps": 1}))
    lines = (tmp_path / "run/features/quarantine.jsonl").read_text().splitlines()
    assert [json.loads(each)["ref"] for each in lines] == [task.items[0].media["after"]]
    assert "46 sentences" in capsys.readouterr().out


@pytest.mark.parametrize("part", ["pairs", "captions"])
def test_a_picture_that_is_lost_while_training_gives_way_to_another_pair(squares, tmp_path, capsys, part):
    shutil.copytree(Path(squares.items[0].media["before"]).parent, tmp_path / "copy")
    task = write(tmp_path / "copy")
    captions = gather(task)
    pixels = Pixels(Decoder(ImageReader(16, fit="squash"), Damage("image", tmp_path)), captions.pictures)
    ids = np.tile(np.array([2, 5, 3]), (len(captions.texts), 1))
    if part == "pairs":
        fetch = Fetch(captions, Sentences(ids, 3), pixels)
        rows = np.arange(len(captions))
    else:
        told = collect(captions, task, pixels, encode=lambda texts: ids, end=3)
        fetch, rows = FetchTold(told), np.arange(len(told))
    whole = fetch(rows, np.random.default_rng(0))
    lost = task.items[0].media["after"]
    Path(lost).unlink()
    again, same = (fetch(rows, np.random.default_rng(0)) for _ in range(2))

    def pictures(batch):
        return batch["given"][1] if part == "pairs" else batch["pictures"]

    assert pictures(again).shape == pictures(whole).shape and torch.equal(pictures(again), pictures(same))
    changes = (pictures(again) != pictures(whole)).flatten(1).any(dim=1)
    assert changes.any() and changes.sum() <= 2  # the rows of one pair
    assert f"note: {lost} is left out: " in capsys.readouterr().err
    assert pixels(np.array([[0, 1]])).shape == (1, 2, 16, 16, 3)  # as validation asks; the lost one is black
    (place,) = (number for number, ref in enumerate(captions.pictures) if ref == lost)
    assert not pixels(np.array([place, place + 1]))[0].any()


@pytest.fixture
def clip(tmp_path, write_open_clip):
    """The spec of a small CLIP with random weights."""
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "patch_size": 16, "layers": 3, "width": 32, "head_width": 16},
        "text_cfg": {"layers": 2, "width": 32, "heads": 2},
    }
    return f"open_clip model='local-dir:{write_open_clip(tmp_path / 'clip', config, preprocess={}, seed=1)}'"


def open_clip_recipe(clip, **changes):
    return changed(PRESETS["paper"], SHORT | {"image": clip, "model.vision.intra": 2, "loop.batch": 4} | changes)


def test_a_model_that_starts_from_a_clip_reads_as_that_clip(clip):
    config = Config(vision=replace(Config().vision, intra=2))
    model = from_clip(config, clip, seed=0).eval()
    network, tokenizer = registry.load("encoders", clip, entry="network")
    texts = ["the red ball turned blue", "a ball"]
    ids = torch.from_numpy(model.words.encode(texts, length=32))
    with torch.no_grad():
        theirs = network.encode_text(tokenizer(texts))
        np.testing.assert_allclose(model.sentences(ids), theirs, atol=1e-5)
        pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        eye, tokens = network.visual, model.pairs.embed(torch.stack([pixels, pixels], dim=1))[:, 0]
        for block in model.pairs.blocks:
            tokens = block(tokens)
        own = (model.pairs.ln_post(tokens) @ model.pairs.proj)[:, 0]
        np.testing.assert_allclose(own, eye(pixels), atol=1e-5)
    assert model.scale.item() == pytest.approx(network.logit_scale.item())
    assert model.words.decode(ids[0].tolist()) == texts[0]


def test_from_a_clip_only_new_parameters_learn_at_the_full_rate(squares, clip, tmp_path):
    from quiver.encoders._train.optimiser import build as optimiser

    recipe = open_clip_recipe(clip, **{"loop.epochs": 0.2})
    model = build(recipe, gather(squares), None, name="x")
    made = optimiser(model, recipe.loop)
    names = {id(each): name for name, each in model.named_parameters()}
    full = {names[id(p)] for group in made.param_groups if group["scale"] == 1 for p in group["params"]}
    assert full == {"pairs.before", "pairs.after", "pairs.joint", "pairs.ln_mid.weight", "pairs.ln_mid.bias"}
    rest = {group["scale"] for group in made.param_groups} - {1.0}
    assert rest == {1e-3}
    frozen = {name for name, each in model.named_parameters() if not each.requires_grad}
    assert frozen == {
        "pairs.conv1.weight", "pairs.class_embedding", "pairs.positional_embedding", "pairs.ln_pre.weight",
        "pairs.ln_pre.bias", "sentences.token_embedding.weight",
    }  # fmt: skip
    train(squares, squares, tmp_path / "run", recipe=recipe)
    encoder = registry.load("encoders", f"clip4idc checkpoint={tmp_path / 'run/model'} device=cpu")
    assert encoder.spaces("pair")[0].dim == 16


@pytest.mark.parametrize(
    ("vision", "says"),
    [
        ({"layers": [1, 1, 1, 1], "width": 16}, "has no vision transformer with a class token"),
        ({"layers": 2, "width": 32, "patch_size": 16, "head_width": 16, "pool_type": "avg"}, "class token"),
        ({"layers": 2, "width": 32, "patch_size": 16, "head_width": 16, "attentional_pool": True}, "attention pooling"),
    ],
)
def test_a_clip_of_another_build_is_refused(tmp_path, write_open_clip, vision, says):
    text = {"layers": 2, "width": 32, "heads": 2}
    config = {"embed_dim": 16, "vision_cfg": {"image_size": 32, **vision}, "text_cfg": text}
    folder = write_open_clip(tmp_path / "clip", config, preprocess={}, seed=1)
    with pytest.raises(BadSpec, match=says):
        from_clip(Config(vision=replace(Config().vision, intra=1)), f"open_clip model='local-dir:{folder}'", seed=0)


def test_more_intra_blocks_than_the_clip_has_are_refused(clip):
    with pytest.raises(BadSpec, match="intra must be from 0 to below layers=3, not 9"):
        from_clip(Config(), clip, seed=0)


def test_sentences_may_be_read_by_a_frozen_encoder(squares, tmp_path):
    recipe = small(text="classic dim=64", **{"loop.steps": 2})
    train(squares, squares, tmp_path, recipe=recipe)
    model = Clip4Idc.open(tmp_path / "model")
    assert (model.words, model.config.text.feature) == (None, 64)
    encoder = registry.load("encoders", f"clip4idc checkpoint={tmp_path / 'model'} device=cpu")
    assert encoder.embed("text", [encoder.reader("text")("a ball")], encoder.spaces("text")[0]).shape == (1, 16)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"image": "classic"}, "neither an open_clip model with weights, nor tokens:NETWORK"),
        ({"data.distractors": 1.5}, r"data\.distractors must be from 0 to 1"),
        ({"model.vision.intra": 2}, "intra must be from 0 to below layers=2"),
        ({"model.vision.heads": 3}, r"vision\.width=16 is not a multiple of vision\.heads=3"),
        ({"model.temperature": 2.0}, "temperature must be from 0.01 to 1"),
        ({"model.text.length": 2}, r"text\.length must be at least 3"),
    ],
)
def test_settings_that_make_no_sense_are_named(settings, says):
    with pytest.raises(BadSpec, match=says):
        changed(PRESETS["tiny"], settings)


def test_the_scale_is_held_below_a_hundred(squares):
    model = build(small(), gather(squares), _source(), name="x").train()
    with torch.no_grad():
        model.scale.fill_(9.0)
    made = model((torch.tensor([[2, 5, 3]]), torch.zeros(1, 2, 4, 48)))
    assert made.scale.item() == pytest.approx(100, rel=1e-5)
    assert made.scale.requires_grad


def test_equal_sentences_of_a_batch_are_no_negatives_of_each_other(squares):
    first, *others = squares.questions
    twin = replace(others[1], id="twin", query=first.query)
    captions = gather(replace(squares, questions=[first, twin]))
    model = build(small(), captions, _source(), name="x").eval()
    pictures = torch.rand(2, 2, 4, 48, generator=torch.Generator().manual_seed(0))
    ids = torch.from_numpy(model.words.encode([first.query.media["text"]] * 2, length=16))
    batch = {"given": (ids, pictures), "rows": torch.tensor([[0, 0], [0, 1]])}
    assert float(loss(captions)(model, batch)["loss"].detach()) == pytest.approx(0, abs=1e-6)


def test_validation_without_pairs_is_refused(squares, tmp_path):
    with pytest.raises(BadData, match="no sentence about a pair"):
        train(squares, replace(squares, questions=[], items=squares.items[:1]), tmp_path, recipe=small())


def test_a_text_config_needs_the_width_of_frozen_vectors():
    with pytest.raises(BadSpec, match="needs the width of its vectors"):
        Text(spec="classic")


def _source():
    from quiver.encoders._patch.extract import open

    return open(small().extractor)
