"""What the reference code computed, and how to compare with it."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from quiver.encoders.mmv.weights import from_haiku

FOLDER = Path(__file__).parents[2] / "golden"


@cache
def load(name: str) -> Mapping[str, np.ndarray]:
    """Read a golden file once."""
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def under(file: Mapping[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Return the arrays whose names begin with the prefix, without it."""
    return {name.removeprefix(prefix): array for name, array in file.items() if name.startswith(prefix)}


def fill(module: nn.Module, file: Mapping[str, np.ndarray], block: str, *, root: str) -> Any:
    """Give a module the weights of a block, every one of them, and put it in eval mode."""
    weights = from_haiku(under(file, f"{block}/w/"), under(file, f"{block}/state/"), root=root)
    module.load_state_dict(weights)
    return module.eval()


def tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array)


def distance(ours: Tensor | np.ndarray, theirs: np.ndarray) -> float:
    """Return the largest absolute difference, relative to the largest absolute value of theirs."""
    ours = ours.detach().numpy() if isinstance(ours, Tensor) else ours
    assert ours.shape == theirs.shape
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())
