"""Weights of a folder as ``save_pretrained`` of transformers writes it, read without that library."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from quiver.errors import MissingWeights

if TYPE_CHECKING:
    from torch import Tensor


def read(folder: Path) -> "Mapping[str, Tensor]":
    """Return all tensors by name, on the CPU.

    Raises:
        MissingWeights: the folder has neither model.safetensors nor pytorch_model.bin.
    """
    import torch
    from safetensors.torch import load_file

    safe, old = folder / "model.safetensors", folder / "pytorch_model.bin"
    if safe.is_file():
        return load_file(safe)
    if not old.is_file():
        raise MissingWeights(f"{folder} has neither {safe.name} nor {old.name}")
    weights: Mapping[str, Tensor] = torch.load(old, map_location="cpu", weights_only=True)
    return weights
