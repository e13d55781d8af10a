"""Shared: a corpus, its word pieces, and a small model that sees four patches."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from quiver.encoders._pieces import SPECIAL, Pieces
from quiver.encoders.fashionbert.config import Config
from quiver.encoders.fashionbert.model import FashionBert

COLOURS, THINGS = ("red", "blue", "green", "black"), ("dress", "jeans", "belts", "sleeveless shirt")


@pytest.fixture(scope="session")
def corpus() -> list[str]:
    return [f"a {colour} {thing}" for colour in COLOURS for thing in THINGS]


@pytest.fixture(scope="session")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Pieces:
    """Whole words but for sleeve-less, jean-s, belt-s and gr-ee-n."""
    folder = tmp_path_factory.mktemp("vocabulary")
    words = "a red blue black dress shirt with and sleeve ##less jean belt ##s gr ##ee ##n"
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *words.split()]))
    return Pieces.open(folder)


@pytest.fixture
def model(pieces: Pieces) -> FashionBert:
    """Weights large enough for every input to matter, in eval mode."""
    torch.manual_seed(0)
    made = FashionBert(replace(Config.tiny(), vocabulary=len(pieces))).eval()
    for parameter in made.parameters():
        if parameter.ndim == 2:
            torch.nn.init.normal_(parameter, std=0.3)
    return made


@pytest.fixture
def text(pieces: Pieces) -> torch.Tensor:
    """(5, 12), padded to different lengths."""
    texts = ["a red dress", "blue", "green jeans", "red red red red red", "a black belts"]
    found = pieces.encode(texts, limit=12)
    return torch.from_numpy(np.pad(found, ((0, 0), (0, 12 - found.shape[1]))))


@pytest.fixture
def features() -> torch.Tensor:
    """(5, 4, 16)."""
    return torch.from_numpy(np.random.default_rng(1).standard_normal((5, 4, 16), np.float32))
