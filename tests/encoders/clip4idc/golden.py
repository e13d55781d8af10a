"""What the reference computed."""

from pathlib import Path

import numpy as np
import torch

GOLDEN = Path(__file__).parents[2] / "golden"


def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as held:
        return {key: held[key] for key in held.files}


def weights(held: dict[str, np.ndarray], prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): torch.from_numpy(each) for key, each in held.items() if key.startswith(prefix)}
