"""Weights that are a pure function of their official name, so that golden files of large nets need not hold them."""

import zlib
from collections.abc import Sequence

import numpy as np


def hashed(name: str, shape: Sequence[int]) -> np.ndarray:
    """Make the array called ``name``: 32-bit hashing of element number and name, rounded to float16."""
    state = np.arange(int(np.prod(shape)), dtype=np.uint32) * np.uint32(0x9E3779B9) + np.uint32(
        zlib.crc32(name.encode())
    )
    state = (state ^ (state >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    state = (state ^ (state >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    state ^= state >> np.uint32(16)
    low, high = _range(name, shape)
    values = low + (high - low) * (state / 2.0**32)
    return values.astype(np.float16).astype(np.float32).reshape(shape)


def hashed_tree(names: Sequence[str], shapes: Sequence[str]) -> dict[str, np.ndarray]:
    """Make all arrays of a golden file's ``meta``, whose shapes read ``1x3x3x64``; row 0 of a word table is 0."""
    tree = {}
    for name, shape in zip(map(str, names), shapes, strict=True):
        sizes = [int(size) for size in str(shape).split("x")]
        if name.endswith("/embeddings"):
            tree[name] = hashed("word_embedding_matrix/embeddings", sizes)
            tree[name][0] = 0
        else:
            tree[name] = hashed(name, sizes)
    return tree


def _range(name: str, shape: Sequence[int]) -> tuple[float, float]:
    if name.endswith("/w"):
        bound = float(np.sqrt(6 / np.prod(shape[:-1])))
        return -bound, bound
    ends = {
        "/embeddings": (-1.0, 1.0),
        "/b": (-0.1, 0.1),
        "/scale": (0.75, 1.25),
        "/offset": (-0.2, 0.2),
        "mean_ema/average": (-0.1, 0.1),
        "var_ema/average": (0.6, 1.4),
    }
    return next(limits for end, limits in ends.items() if name.endswith(end))
