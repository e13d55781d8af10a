"""Arrays of a safetensors file, mapped from disk: the library's own reader for numpy copies them into memory.

The format: eight bytes of length (little-endian), that many bytes of JSON, then the arrays, each at the offsets that
the JSON gives (https://github.com/huggingface/safetensors#format).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

_TYPES = {"F32": np.float32, "F64": np.float64, "I64": np.int64, "U8": np.uint8, "BOOL": np.bool_}


def read(path: Path) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    """Return the header's texts and the arrays, read-only.

    Raises:
        OSError, SafetensorError, ValueError, KeyError: it is no such file, it is damaged, or holds other types.
    """
    with safe_open(path, framework="np") as file:  # checks the whole layout
        texts = dict(file.metadata() or {})
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    return texts, {name: _array(path, 8 + size, held) for name, held in header.items()}


def _array(path: Path, start: int, held: dict[str, Any]) -> NDArray[Any]:
    kind, shape = _TYPES[held["dtype"]], tuple(held["shape"])
    if 0 in shape:  # nothing cannot be mapped
        return np.empty(shape, kind)
    return np.asarray(np.memmap(path, kind, "r", start + held["data_offsets"][0], shape))
