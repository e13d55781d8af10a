"""Messages of plain values through a pipe: the answers of a process that decodes untrusted files.

A plain value is None, a bool, a number, a text, bytes, a numpy array or scalar of numbers, or a list, tuple or dict
(its keys are texts or whole numbers) of plain values. It arrives exactly as it was sent. Nothing in a message names a
class or a function, nothing is unpickled, and each size is checked before memory is taken for it: a process that a
crafted file has taken over can send wrong numbers, but no code.

A message is the lengths of its head and its body (two unsigned 64-bit numbers, big-endian), the head in JSON, and the
body: the bytes of all arrays, in the order in which the head describes them. In the head, a list, a text, a number,
true, false and null stand for themselves; an object with one member stands for everything else: ``tuple``, ``dict``
(pairs), ``bytes`` (length), ``array`` (dtype, shape, order ``C`` or ``F``) and ``scalar`` (dtype).
"""

import json
import math
import struct
from collections.abc import Callable, Sequence
from io import BufferedReader
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from quiver.errors import QuiverError

#: Most bytes of a head, which holds the texts: 100,000 windows of a film with their hashes need 10 MB.
HEAD = 16 << 20
#: How deep lists, tuples and dicts may be nested, and the most dimensions of an array.
_DEPTH, _AXES = 16, 32
_LENGTHS = struct.Struct(">QQ")
_ENCODE, _DECODE = json.JSONEncoder(separators=(",", ":")).encode, json.JSONDecoder().decode
_LEAVES = frozenset([type(None), str, bool, int, float])
#: The dtypes that may be sent: booleans and numbers, in both byte orders.
_DTYPES = {
    name: np.dtype(name)
    for size in ("b1", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16")
    for name in ([f"|{size}"] if size.endswith("1") else [f"<{size}", f">{size}"])
}


class NotPlain(QuiverError):
    """A value cannot be sent: it has something in it that is not plain."""


class BadMessage(QuiverError):
    """A message does not have the form of a message, or it is larger than its reader allows."""


def send(stream: IO[bytes], value: Any) -> None:
    """Write a message, and flush the stream.

    Raises:
        NotPlain: the value is not plain; nothing has been written.
        OSError: the pipe is closed.
    """
    for part in packed(value):
        stream.write(part)
    stream.flush()


def packed(value: Any) -> list[bytes | memoryview]:
    """Return the parts of a message, in their order.

    Raises:
        NotPlain: the value is not plain, or has more than 16 MB of text.
    """
    body: list[memoryview] = []
    try:
        head = _ENCODE(_node(value, body, 0)).encode("ascii")
    except ValueError as error:  # a number of thousands of digits
        raise NotPlain(f"a number cannot be sent: {error}") from error
    if len(head) > HEAD:
        raise NotPlain(f"it has {len(head):,} bytes of text and numbers outside arrays, more than {HEAD:,}")
    return [_LENGTHS.pack(len(head), sum(part.nbytes for part in body)) + head, *body]


def receive(stream: IO[bytes], *, most: int) -> Any:
    """Read a message.

    Args:
        stream: a buffered stream.
        most: most bytes of arrays.

    Raises:
        EOFError: the stream ends before the end of the message.
        BadMessage: it is no message, or too large; nothing after it can be read.
    """
    head, body = _LENGTHS.unpack(_exactly(stream, _LENGTHS.size))
    if head > HEAD or body > most:
        raise BadMessage(f"a message of {head:,} and {body:,} bytes is too large")
    text = _exactly(stream, head)
    try:
        reader = _Body(stream, body)
        value = reader.value(_DECODE(text.decode("ascii")), 0)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadMessage(f"the head of a message is wrong: {type(error).__name__}") from error
    if reader.left:
        raise BadMessage(f"a message has {reader.left:,} bytes more than its arrays")
    return value


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError("the pipe ended within a message")
    return data


def _node(value: Any, body: list[memoryview], depth: int) -> Any:
    """Return the description of a value, and append its bytes to the body."""
    if type(value) in _LEAVES:
        return value
    if depth > _DEPTH:
        raise NotPlain(f"it is nested more than {_DEPTH} deep")
    pack = _PACKS.get(type(value))
    if pack is not None:
        return pack(value, body, depth + 1)
    if isinstance(value, np.generic):
        return {"scalar": _buffer(np.asarray(value), body)}
    raise NotPlain(f"a {type(value).__module__}.{type(value).__qualname__} is not plain")


def _pack_list(value: Sequence[Any], body: list[memoryview], depth: int) -> Any:
    return [each if type(each) in _LEAVES else _node(each, body, depth) for each in value]


def _pack_tuple(value: tuple[Any, ...], body: list[memoryview], depth: int) -> Any:
    return {"tuple": _pack_list(value, body, depth)}


def _pack_dict(value: dict[Any, Any], body: list[memoryview], depth: int) -> Any:
    for key in value:
        if type(key) not in (str, int):
            raise NotPlain(f"the key {key!r} of a dict is neither a text nor a whole number")
    return {"dict": [[key, _node(each, body, depth)] for key, each in value.items()]}


def _pack_bytes(value: bytes, body: list[memoryview], _: int) -> Any:
    body.append(memoryview(value))
    return {"bytes": len(value)}


def _pack_array(value: NDArray[Any], body: list[memoryview], _: int) -> Any:
    """Describe an array; its order in memory is kept, because sums in another order are rounded differently."""
    order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    return {"array": [_buffer(value.T if order == "F" else value, body), list(value.shape), order]}


def _buffer(array: NDArray[Any], body: list[memoryview]) -> str:
    """Append the bytes of an array to the body, and return its dtype."""
    if array.dtype.str not in _DTYPES:
        raise NotPlain(f"an array of {array.dtype} is not plain")
    if array.ndim > _AXES:
        raise NotPlain(f"an array of {array.ndim} dimensions has more than {_AXES}")
    if array.size:
        body.append(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return array.dtype.str


_PACKS: dict[type, Callable[[Any, list[memoryview], int], Any]] = {
    list: _pack_list,
    tuple: _pack_tuple,
    dict: _pack_dict,
    bytes: _pack_bytes,
    np.ndarray: _pack_array,
    np.memmap: _pack_array,
}


class _Body:
    """The body of a message, read in the order of its head."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream, self.left = stream, size

    def value(self, node: Any, depth: int) -> Any:
        if type(node) is list:
            return self._values(node, depth)
        if type(node) is not dict:
            return node
        ((name, held),) = node.items()
        found: Any
        match name:
            case "tuple":
                found = tuple(self._values(held, depth))
            case "dict":
                found = {_key(key): self.value(each, depth + 1) for key, each in _checked(held, depth)}
            case "bytes":
                found = _exactly(self._stream, self._take([held]))
            case "array":
                found = self._ordered(*held)
            case "scalar":
                found = self._array(_DTYPES[held], [])[()]
            case _:
                raise BadMessage("a message has a value of an unknown kind")
        return found

    def _values(self, nodes: Any, depth: int) -> list[Any]:
        nodes = _checked(nodes, depth)
        return [each if type(each) in _LEAVES else self.value(each, depth + 1) for each in nodes]

    def _ordered(self, dtype: str, shape: list[int], order: str) -> NDArray[Any]:
        if order == "C":
            return self._array(_DTYPES[dtype], shape)
        if order != "F":
            raise BadMessage("a message has an array of an unknown order")
        return self._array(_DTYPES[dtype], shape[::-1]).T

    def _array(self, dtype: np.dtype[Any], shape: list[int]) -> NDArray[Any]:
        data = np.empty(self._take(shape, dtype.itemsize), np.uint8)
        if cast(BufferedReader, self._stream).readinto(data.data) < len(data):  # a buffered stream fills it, or ends
            raise EOFError("the pipe ended within a message")
        # Numpy relies on booleans of 0 and 1, also where it counts them before it takes memory for them.
        if dtype.kind == "b" and len(data) and data.max() > 1:
            raise BadMessage("a message has a boolean that is neither true nor false")
        return data.view(dtype).reshape(shape)

    def _take(self, shape: list[int], itemsize: int = 1) -> int:
        """Return the bytes of an array, after they have been compared with the bytes that are left."""
        if type(shape) is not list or len(shape) > _AXES or any(type(side) is not int or side < 0 for side in shape):
            raise BadMessage("a message has an array of an impossible shape")
        size = math.prod(shape) * itemsize
        if size > self.left:
            raise BadMessage(f"a message has an array of {size:,} bytes, and {self.left:,} bytes are left")
        self.left -= size
        return size


def _checked(nodes: Any, depth: int) -> list[Any]:
    if type(nodes) is not list or depth > _DEPTH:
        raise BadMessage("a message is nested too deep, or has something else in the place of a list")
    return nodes


def _key(key: Any) -> str | int:
    if type(key) not in (str, int):
        raise BadMessage("a message has a dict with a key that is neither a text nor a whole number")
    found: str | int = key
    return found
