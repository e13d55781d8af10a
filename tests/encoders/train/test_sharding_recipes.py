"""Recipes whose weights are divided among two ranks end with the model of one process, which loads alone."""

import json
import runpy
import sys

import pytest
from PIL import Image
from safetensors.torch import load_file
from tests.encoders.clip4idc.pairs import write
from tests.encoders.clip4idc.test_ranks import start
from tests.encoders.train.test_sharding import close
from tests.encoders.two_tower.shop import shop_task

from quiver import registry

#: What every rank runs: two towers on words and features, then a transformer and its caption generator.
PROGRAM = """
import json, sys
from pathlib import Path
import torch
from PIL import Image
from tests.encoders.clip4idc.pairs import small, write
from tests.encoders.two_tower.shop import recipe_of, shop_task
from quiver.encoders._train import leave
from quiver.encoders._train.rank import share
from quiver.encoders.clip4idc import train as clip4idc
from quiver.encoders.two_tower import train as two_tower

torch.set_num_threads(1)
out, batch, shard, found = Path(sys.argv[1]), int(sys.argv[2]) // 2, share()[1] > 1, {}
Image.Image.save = lambda *_, **__: None  # the pictures are there; written anew, they would be others to the cache
loop = {"device": "cpu", "save_every": 0, "log_every": 1, "shard": shard, "eps": 1e-2}
shop = shop_task(out.parent / "shop")
towers = {"text": "words + classic dim=64", "hidden": 32, "residual": True, "loss": "sigmoid", "decay": 0.1, "ema": 0.5}
recipe = recipe_of(steps=3, batch=batch, validate_every=2, clip=0.5, **towers, **loop)
found["two_tower"] = dict(two_tower.train(shop, shop, out / "two_tower", recipe=recipe).losses)
caption = {"caption.steps": 2, "caption.batch": batch, "caption.length": 24, "caption.generator": "clip4idc"}
recipe = small(**{f"loop.{name}": value for name, value in loop.items()}, **caption, **{
    "loop.steps": 2, "loop.batch": batch, "loop.validations": 0, "data.distractors": 0.0, "model.text.length": 24})
squares = write(out.parent / "squares")
found["clip4idc"] = dict(clip4idc.train(squares, None, out / "clip4idc", recipe=recipe).losses)
print("FOUND" + json.dumps(found))
leave()
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    program = folder / "program.py"
    program.write_text(PROGRAM)
    write(folder / "squares")
    shop_task(folder / "shop")
    running = start(program, folder / "two", 2)
    with pytest.MonkeyPatch.context() as patch:  # one process is this one
        patch.setattr(sys, "argv", [str(program), str(folder / "one"), "16"])
        patch.setattr(Image.Image, "save", lambda *_, **__: None)
        one = runpy.run_path(str(program))["found"]
    ended = [each.communicate(timeout=240) for each in running]
    assert [each.returncode for each in running] == [0, 0], "\n".join(err for _, err in ended)
    return [one, *(json.loads(out.partition("FOUND")[2]) for out, _ in ended)], folder


@pytest.mark.parametrize("model", ["two_tower/model", "clip4idc/model", "clip4idc/model/caption"])
def test_models_trained_with_divided_weights_are_those_of_one_process(runs, model):
    (one, *two), folder = runs
    first, second = (load_file(folder / name / model / "model.safetensors") for name in ("one", "two"))
    close(second, first)
    recipe = model.partition("/")[0]
    for rank in two:
        assert rank[recipe] == pytest.approx(one[recipe], rel=1e-4)


def test_a_model_trained_with_divided_weights_loads_alone(runs):
    _, folder = runs
    encoder = registry.load("encoders", f"two_tower checkpoint={folder / 'two/two_tower/model'} device=cpu")
    (space,) = encoder.spaces("text")
    assert encoder.embed("text", [encoder.reader("text")("small red square")], space).shape == (1, 16)
