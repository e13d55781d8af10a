"""Shared by the tests of encoders: tiny ONNX files, written byte by byte since nothing here can export them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

WriteOnnx = Callable[[Path, str, np.ndarray], Path]


@pytest.fixture(scope="session")
def write_onnx() -> WriteOnnx:
    """Write a convolution as an ONNX file.

    The kind ``patches`` takes (samples,) and gives (patches, c); ``sounds`` takes (n, samples) and gives
    (n, patches, c); both step by the kernel's width w, which is (c, 1, w). ``pictures`` takes (n, 3, h, w) and gives
    feature maps (n, c, h', w'); ``one`` is the same with n = 1; the kernel is (c, 3, w, w) and steps by 1.
    """

    def write(path: Path, kind: str, kernel: np.ndarray) -> Path:
        path.write_bytes(_model(kind, kernel.astype(np.float32)))
        return path

    return write


def _model(kind: str, kernel: np.ndarray) -> bytes:
    width = kernel.shape[-1]
    if kind in {"pictures", "one"}:
        shape: Sequence[int | str] = ("n" if kind == "pictures" else 1, 3, "h", "w")
        nodes = [_node("Conv", ["x", "kernel"], "y")]
        rank = 4
    elif kind == "sounds":
        shape, rank = ("n", "samples"), 3
        nodes = [
            _node("Unsqueeze", ["x", "one"], "a"),
            _node("Conv", ["a", "kernel"], "b", strides=[width]),
            _node("Transpose", ["b"], "y", perm=[0, 2, 1]),
        ]
    else:
        shape, rank = ("samples",), 2
        nodes = [
            _node("Unsqueeze", ["x", "front"], "a"),
            _node("Conv", ["a", "kernel"], "b", strides=[width]),
            _node("Squeeze", ["b", "zero"], "c"),
            _node("Transpose", ["c"], "y", perm=[1, 0]),
        ]
    constants = {"kernel": kernel, "zero": np.array([0]), "one": np.array([1]), "front": np.array([0, 1])}
    graph = b"".join(_field(1, node) for node in nodes) + _field(2, b"tiny")
    graph += b"".join(_field(5, _tensor(name, value)) for name, value in constants.items())
    graph += _field(11, _value("x", shape)) + _field(12, _value("y", [f"d{axis}" for axis in range(rank)]))
    return _field(1, 8) + _field(7, graph) + _field(8, _field(2, 13))  # IR version, graph, opset 13


def _node(kind: str, inputs: Sequence[str], output: str, **attributes: Sequence[int]) -> bytes:
    body = b"".join(_field(1, name.encode()) for name in inputs) + _field(2, output.encode())
    body += _field(4, kind.encode())
    for name, numbers in attributes.items():
        listed = b"".join(_field(8, number) for number in numbers)
        body += _field(5, _field(1, name.encode()) + listed + _field(20, 7))  # 7 is INTS
    return body


def _tensor(name: str, value: np.ndarray) -> bytes:
    kind = 1 if value.dtype == np.float32 else 7  # FLOAT or INT64
    dims = b"".join(_field(1, side) for side in value.shape)
    return dims + _field(2, kind) + _field(8, name.encode()) + _field(9, value.tobytes())


def _value(name: str, shape: Sequence[int | str]) -> bytes:
    dims = b"".join(_field(1, _field(1, side) if isinstance(side, int) else _field(2, side.encode())) for side in shape)
    return _field(1, name.encode()) + _field(2, _field(1, _field(1, 1) + _field(2, dims)))


def _field(number: int, value: int | bytes) -> bytes:
    """Encode one field of a protocol buffer."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    low, rest = value & 0x7F, value >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
