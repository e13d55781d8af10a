"""Training: a made shop of coloured squares is learnt, a stopped run goes on, and the model loads."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from quiver import registry
from quiver.encoders._settings import changed
from quiver.encoders.fashionbert import train as school
from quiver.encoders.fashionbert import validate
from quiver.encoders.fashionbert.data import gather
from quiver.encoders.fashionbert.train import PRESETS, _build, train
from quiver.errors import BadSpec
from quiver.task import Question, Task
from quiver.types import Item, Query

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "grey": (128, 128, 128)}
THINGS = {
    "dress": (slice(0, 8), slice(4, 12)),
    "belt": (slice(6, 10), slice(0, 16)),
    "hat": (slice(0, 5), slice(0, 16)),
}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Task:
    """Each of 12 products is one colour in one place, its pictures a little noisy."""
    folder, rng = tmp_path_factory.mktemp("shop"), np.random.default_rng(0)
    items, questions = [], []
    for colour, rgb in COLOURS.items():
        for thing, place in THINGS.items():
            picture = np.full((16, 16, 3), 255.0)
            picture[place] = rgb
            name = f"{colour}-{thing}"
            noisy = np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / f"{name}.png")
            items.append(Item(name, {"image": str(folder / f"{name}.png")}, {"category": thing}))
            questions.append(Question(name, Query({"text": f"a {colour} {thing}"}, target="image"), {name: 1}))
    return Task("shop", "0", items, questions, ("Success@1",), "image", "", "")


SMALL = changed(
    replace(PRESETS["paper"], bert=""),
    dict(
        features="pixels", side=4, rows=2, columns=2, layers=2, hidden=32, heads=4, inner=64, vocabulary=60,
        dropout=0.0, max_text=8, negatives="category+batch", steps=250, batch=12, learning_rate=3e-3, warmup=10,
        precision="fp32", device="cpu", every=5, word_rate=0.0, patch_rate=0.25, validate_every=125, validate_on=12,
        validate_among=3, save_every=0,
    ),
)  # fmt: skip


def test_a_made_shop_is_learnt_and_its_model_ranks_alike(shop, tmp_path, capsys):
    outcome = train(shop, shop, tmp_path, recipe=SMALL)
    assert outcome.figures["mrr"] > 0.9  # by chance 0.52
    assert outcome.figures["accuracy"] > 0.9
    assert "training on 12 pairs of 12 texts, sub-categories: category" in capsys.readouterr().out
    encoder = registry.load("encoders", f"fashionbert checkpoint='{tmp_path / 'model'}' device=cpu precision=fp32")
    assert encoder.spaces("image")[0].dim == 4 * 32
    assert encoder.spaces("text")[0].dim == 8


def test_alignment_and_ranking_learn_the_shop_and_are_kept(shop, tmp_path):
    settings = {"whole": "classic", "centre": True, "model.align": 16, "align.steps": 40, "align.batch": 12}
    settings |= {"loop.steps": 0, "rank.steps": 20, "rank.batch": 2, "rank.group": 4, "rank.rate": 3e-3}
    recipe = changed(SMALL, settings | {"hide": 0.0, "validate_every": 0})
    outcome = train(shop, shop, tmp_path, recipe=recipe)
    assert (outcome.step, outcome.figures["mrr"] > 0.9) == (20, True)
    encoder = registry.load("encoders", f"fashionbert checkpoint='{tmp_path / 'model'}' device=cpu precision=fp32")
    model = encoder.scorers[0].model
    assert encoder.spaces("image")[0].dim == (4 + 1) * 32
    assert model.patches.mean.abs().sum() > 0
    columns = {
        encoder.spaces(key)[0]: encoder.embed(
            key, [encoder.reader(key)(each) for each in things], encoder.spaces(key)[0]
        )
        for key, things in (
            ("text", [question.query.media["text"] for question in shop.questions]),
            ("image", [item.media["image"] for item in shop.items]),
        )
    }
    scores = encoder.scorers[0].score({"text": columns[encoder.spaces("text")[0]]}, columns)
    assert (scores.argmax(axis=1) == np.arange(12)).mean() > 0.8
    assert train(shop, shop, tmp_path, recipe=recipe).resumed == 20  # both phases are known to be done


def test_a_recipe_may_align_and_do_no_more(shop, tmp_path):
    settings = {"whole": "classic", "centre": True, "align": 16, "align_steps": 60, "align_batch": 12, "steps": 0}
    recipe = changed(SMALL, settings | {"hide": 0.0, "validate_every": 0})
    outcome = train(shop, shop, tmp_path, recipe=recipe)
    assert (outcome.step, outcome.figures["mrr"] > 0.8) == (60, True)  # by chance 0.52
    with pytest.raises(BadSpec, match="one of them above it"):
        changed(recipe, {"model.align": 0})


def test_a_stopped_run_ends_as_one_that_was_not(shop, tmp_path, monkeypatch):
    short = changed(SMALL, {"steps": 8, "word_rate": 0.3, "dropout": 0.1})
    train(shop, None, tmp_path / "whole", recipe=short)
    own, asked = school._loss, []

    def stopping(pupil, recipe):
        def loss(model, batch):
            asked.append(1)
            if len(asked) == 6:  # after the second measurement of gradients would have been
                raise KeyboardInterrupt
            return own(pupil, recipe)(model, batch)

        return loss

    monkeypatch.setattr(school, "_loss", stopping)
    with pytest.raises(KeyboardInterrupt):
        train(shop, None, tmp_path / "stopped", recipe=short)
    assert train(shop, None, tmp_path / "stopped", recipe=short).resumed == 5
    ours, theirs = (load_file(tmp_path / run / "model/model.safetensors") for run in ("whole", "stopped"))
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())


def test_random_weights_are_wide_enough_for_attention_to_tell(shop):
    class Source:
        width = 48

    model = _build(gather(shop), SMALL, Source())
    weight = model.encoder.blocks[0].query.weight
    assert weight.std().item() == pytest.approx(32**-0.5, rel=0.1)
    twin = _build(gather(shop), SMALL, Source())
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True))


def test_exam_has_one_answer_and_rivals_of_its_category_that_are_wrong(shop, pieces):
    pairs = gather(shop)
    questions = validate.draw(pairs, np.zeros((12, 4, 3), np.float16), pieces, limit=8, size=(5, 3), seed=0)
    for way, changing in (("text_to_image", 1), ("image_to_text", 0)):
        found = questions.pairs[way]
        assert found.shape == (5, 4, 2)
        assert (found[:, :, 1 - changing] == found[:, :1, 1 - changing]).all()
        assert all(len(set(row)) == 4 for row in found[:, :, changing].tolist())
        # Items and texts stand in one order here, three things to a colour.
        kind = found[:, :, changing] % 3
        assert (kind == kind[:, :1]).all()


def test_rank_counts_ties_as_half(shop):
    scores = np.array([[1.0, 2.0, 3.0, 0.0], [1.0, 1.0, 1.0, 1.0]], np.float32)
    assert validate.ranks(scores).tolist() == [3.0, 2.5]


def test_recipes_are_checked():
    assert set(PRESETS) == {"paper", "cpu"}
    wrong = [("rivals", 0), ("word_rate", 1.0), ("group", 1), ("guard", "hope"), ("align_steps", -1)]
    for name, value in wrong:
        with pytest.raises(BadSpec, match=name.rpartition("_")[2] if name == "align_steps" else name):
            changed(SMALL, {name: value})
    with pytest.raises(BadSpec, match="one of them above it"):
        changed(SMALL, {"steps": 0})
