"""Golden numbers of the official programs, and the formulas written the slow way."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

GOLDEN = Path(__file__).parents[2] / "golden"
Numbers = Mapping[str, Tensor]


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Numbers]:
    def read(name: str) -> Numbers:
        with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
            return {key: torch.from_numpy(file[key]) for key in file.files}

    return read


@pytest.fixture(scope="session")
def close() -> Callable[..., None]:
    """Compare with what the official program gave, within the fp32 rounding of either."""

    def check(ours: Tensor, theirs: Tensor, *, atol: float = 2e-5) -> None:
        torch.testing.assert_close(ours.detach(), theirs.reshape(ours.shape), atol=atol, rtol=2e-5)

    return check


@pytest.fixture(scope="session")
def broadcast() -> Callable[..., Tensor]:
    """The formulas of ARTEMIS with every (query, target, feature) written out, and 0 / 0 where the official has it."""

    def unit(x: Tensor) -> Tensor:
        return x / x.square().sum(dim=-1, keepdim=True).sqrt()

    def score(p: Tensor, a: Tensor, r: Tensor, b: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        explicit = (p[:, None] * unit(a[:, None] * t)).sum(dim=2)
        implicit = (unit(b * r)[:, None] * unit(b[:, None] * t)).sum(dim=2)
        return explicit, implicit

    return score
