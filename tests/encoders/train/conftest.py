import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from quiver.encoders._train import Loop, Outcome, fit


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="package")
def quick_collections() -> Iterator[None]:
    """Keep the libraries' million objects out of the collection of garbage at the end of every run."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


class Bench:
    """A small network with everything that has a state of its own: dropout, batch normalisation, noise in fetching."""

    def __init__(self) -> None:
        torch.manual_seed(3)
        self.model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))
        self.x = torch.randn(50, 4)
        self.y = self.x.sum(1, keepdim=True)
        self.steps = 0

    def fetch(self, rows, rng):
        noise = torch.from_numpy(rng.normal(size=(len(rows), 4))).float()
        return {"x": self.x[rows] + noise / 100, "y": self.y[rows]}

    def loss(self, model, batch):
        self.steps += 1
        gap = (model(batch["x"]) - batch["y"]).square().mean()
        return {"loss": gap, "half": gap / 2}

    def validate(self, model):
        return {"fit": -(model(self.x) - self.y).square().mean().item()}

    def fit(self, out: Path, **settings: Any) -> Outcome:
        phase = settings.pop("phase", "")
        given = {"loss": self.loss, "fetch": self.fetch, "validate": self.validate, "count": 50}
        given |= {name: settings.pop(name) for name in list(settings) if name in given}
        usual = {"steps": 20, "batch": 16, "rate": 0.01, "warmup": 3, "decay": 0.1, "clip": 1.0, "log_every": 5}
        loop = Loop(**{**usual, "validate_every": 5, "device": "cpu", **settings})
        loss = given.pop("loss")
        return fit(self.model, loss, out=out, loop=loop, phase=phase, **given)

    def state(self) -> list[torch.Tensor]:
        return list(self.model.state_dict().values())


@pytest.fixture
def bench() -> Callable[[], Bench]:
    return Bench
