"""Recipes whose weights are divided among two ranks end with the model of one process, which loads alone."""

from dataclasses import replace

import pytest
from safetensors.torch import load_file
from tests.encoders.clip4idc.pairs import small, write
from tests.encoders.train.forked import together
from tests.encoders.train.test_sharding import close
from tests.encoders.two_tower.shop import recipe_of, shop_task

from quiver import registry
from quiver.encoders.clip4idc import train as clip4idc
from quiver.encoders.two_tower import train as two_tower


def loop(ranks):
    return {"device": "cpu", "save_every": 0, "log_every": 1, "shard": ranks > 1, "eps": 1e-2, "batch": 8 // ranks}


def test_two_towers_are_those_of_one_process_and_load_alone(tmp_path):
    shop = shop_task(tmp_path / "shop")
    towers = {"text": "words + classic dim=64", "hidden": 32, "residual": True, "loss": "sigmoid", "decay": 0.1}

    def work(ranks):
        recipe = recipe_of(steps=3, validate_every=2, clip=0.5, ema=0.5, **towers, **loop(ranks))
        return dict(two_tower.train(shop, shop, tmp_path / str(ranks), recipe=recipe).losses)

    one, two = together(work, tmp_path)
    assert all(rank == pytest.approx(one, rel=1e-4) for rank in two)
    close(*(load_file(tmp_path / ranks / "model/model.safetensors") for ranks in ("2", "1")))
    encoder = registry.load("encoders", f"two_tower checkpoint={tmp_path / '2/model'} device=cpu")
    (space,) = encoder.spaces("text")
    assert encoder.embed("text", [encoder.reader("text")("small red square")], space).shape == (1, 16)


def test_a_transformer_and_its_generator_are_those_of_one_process(tmp_path):
    squares = write(tmp_path / "squares")
    squares = replace(squares, questions=list(squares.questions[::2]))  # one sentence each: ranks draw for themselves
    caption = {"caption.steps": 2, "caption.length": 24, "caption.generator": "clip4idc", "model.text.length": 24}
    stage = {"loop.steps": 2, "loop.validations": 0, "data.distractors": 0.0}

    def work(ranks):
        own = {f"loop.{name}": value for name, value in loop(ranks).items()} | {"caption.batch": 8 // ranks}
        recipe = small(**own, **caption, **stage)
        return dict(clip4idc.train(squares, None, tmp_path / str(ranks), recipe=recipe).losses)

    one, two = together(work, tmp_path)
    assert all(rank == pytest.approx(one, rel=1e-4) for rank in two)
    for model in ("model", "model/caption"):
        close(*(load_file(tmp_path / ranks / model / "model.safetensors") for ranks in ("2", "1")))
