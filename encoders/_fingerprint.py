"""Revisions: other weights or other preprocessing make another space.

Each function returns the hexadecimal SHA-256 of what it is given. ``parts`` are strings that describe, in a
fixed order, whatever else changes the vectors: model, preprocessing, pooling, version of the encoder's code.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def of_parts(*parts: str) -> str:
    """Hash strings; ("ab", "c") and ("a", "bc") differ."""
    return _start(parts).hexdigest()


def of_state(state: "Mapping[str, Tensor]", *parts: str) -> str:
    """Hash a state dict: names, types, shapes and bytes, whatever the order of its entries or their device.

    Args:
        state: tensors by name, such as ``model.state_dict()``; one at a time is copied to the CPU.
        parts: what else changes the vectors.
    """
    import torch

    digest = _start(parts)
    for name in sorted(state):
        tensor = state[name].detach()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def of_file(path: Path, *parts: str) -> str:
    """Hash the bytes of a file, wherever it lies and whatever it is called."""
    digest = _start(parts)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _start(parts: tuple[str, ...]) -> "hashlib._Hash":
    digest = hashlib.sha256()
    for part in (str(len(parts)), *parts):
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest
