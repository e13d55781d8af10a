"""Shared: models with the weights of the golden files, small models of both routes, and made change pairs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.encoders.clip4idc.golden import golden, weights
from tests.encoders.clip4idc.pairs import small, write

from quiver.encoders._pieces import Pieces
from quiver.encoders.clip4idc.config import Config, Text, Vision
from quiver.encoders.clip4idc.model import Clip4Idc, translate
from quiver.encoders.clip4idc.train import train
from quiver.encoders.clip4idc.words import Learnt


@pytest.fixture(scope="session")
def official() -> tuple[Clip4Idc, dict[str, np.ndarray]]:
    """The reference's model of stage one with small random weights, and what the reference computed with them."""
    held = golden("clip4idc_retrieval")
    vision = Vision(size=56, patch=8, rows=7, columns=7, width=128, layers=3, intra=2, heads=2)
    text = Text(vocabulary=50, clip=False, begin=48, end=49, length=12, width=128, layers=2, heads=2)
    model = Clip4Idc(Config(dim=32, vision=vision, text=text)).eval()
    model.load_state_dict(translate(weights(held, "w/clip."), length=12))
    return model, held


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The made pairs, the outcome of a training on them, and its folder."""
    folder = tmp_path_factory.mktemp("trained")
    squares = write(folder / "squares")
    settings = {"loop.steps": 240, "loop.batch": 48, "loop.rate": 2e-3}
    return squares, train(squares, squares, folder / "run", recipe=small(**settings)), folder / "run"


@pytest.fixture
def tiny() -> Clip4Idc:
    """A model of pixels with weights large enough for every input to matter, in eval mode."""
    pieces = Pieces.train(["the red ball turned blue", "a ball has appeared", "nothing has changed"], size=60)
    config = Config.tiny()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Clip4Idc(replace(config, text=replace(config.text, vocabulary=len(pieces)))).eval()
        for parameter in model.parameters():
            if parameter.ndim == 2:
                torch.nn.init.normal_(parameter, std=0.4)
    model.words = Learnt(pieces)
    return model
