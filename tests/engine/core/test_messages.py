"""Messages of plain values: what is sent arrives exactly, and what is no message does nothing."""

import io
import json
import os
import pickle
import struct
import threading
from contextlib import suppress

import numpy as np
import pytest

from quiver.engine.core.messages import HEAD, BadMessage, NotPlain, packed, receive, send

PLAIN = {
    "none": None,
    "numbers": [0, -1, 1 << 80, 0.1, -0.0, 1e300, float("inf"), True, False],
    "text": "é 🙂 \n\0 \ud800 half",
    "bytes": b"\x00\xff",
    "no bytes": b"",
    "nested": [(), [], {}, ([(1,)], {"a": {"b": [b"c"]}, 7: None})],
    "picture": np.arange(60, dtype=np.uint8).reshape(4, 5, 3),
    "clip": np.arange(240, dtype=np.uint8).reshape(2, 2, 4, 5, 3),
    "sound": np.linspace(-1, 1, 1001, dtype=np.float32),
    "pair": (np.zeros((3, 2, 3), np.uint8), np.ones((1, 9, 3), np.uint8)),
    "windows": ([np.ones((2, 3), np.float32), np.zeros((0, 3), np.float32)], [0.5, None]),
    "words": np.array([3, 2, 0, 0], np.int64),
    "not finite": np.array([np.nan, np.inf, -0.0]),
    "order of columns": np.arange(24.0).reshape(2, 3, 4).T,
    "part of an array": np.arange(24.0).reshape(4, 6)[::2, 1::3],
    "no axes": np.array(5, np.int16),
    "scalar": np.float32(0.1),
    "double": np.float64(0.1),
    "bit": np.bool_(True),
    "other byte order": np.arange(3, dtype=">f4"),
    "empty": np.zeros((2, 0, 3), np.float16),
    **{
        dtype: np.array([0, 1, 0, 1]).astype(dtype)
        for dtype in ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16"]
    },
}


def same(one, other):
    """Compare two values with their types, bit by bit."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one), list(other)) and same(list(one.values()), list(other.values()))
    if isinstance(one, np.ndarray | np.generic):
        order = one.flags.f_contiguous == other.flags.f_contiguous or not one.flags.forc
        return (
            one.dtype.str == other.dtype.str and one.shape == other.shape and one.tobytes() == other.tobytes() and order
        )
    return repr(one) == repr(other)


def piped(data):
    """Return the reading end of a pipe into which somebody wrote bytes, and then closed it."""
    there, here = os.pipe()

    def write():
        with suppress(BrokenPipeError), open(here, "wb") as stream:
            stream.write(data)

    threading.Thread(target=write).start()
    return open(there, "rb")


def message(head, body=b"", *, sizes=None):
    head = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack(">QQ", *(sizes or (len(head), len(body)))) + head + body


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_value_arrives_as_it_was_sent(name):
    with piped(b"".join(packed(PLAIN[name])) + b"".join(packed("next"))) as stream:
        found = receive(stream, most=1 << 20)
        assert same(found, PLAIN[name])
        assert receive(stream, most=0) == "next"
    for array in (each for each in [found] if isinstance(each, np.ndarray)):
        assert array.flags.writeable and array.flags.aligned


def test_a_large_array_comes_through_a_pipe_whole():
    array = np.random.default_rng(1).integers(0, 255, 3_000_001, dtype=np.uint8)
    with piped(b"".join(packed({"a": [array, "b"]}))) as stream:
        assert same(receive(stream, most=array.nbytes), {"a": [array, "b"]})


class Evil:
    """Runs a command where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("framed", [False, True])
def test_a_pickle_is_no_message_and_nothing_in_it_runs(tmp_path, protocol, framed):
    mark = tmp_path / "mark"
    data = pickle.dumps(Evil(mark), protocol)
    with piped(message(data) if framed else data + bytes(1 << 16)) as stream, pytest.raises(BadMessage):
        receive(stream, most=1 << 30)
    assert not mark.exists()
    pickle.loads(data)
    assert mark.exists()  # so it would have been seen


@pytest.mark.parametrize(
    ("head", "body"),
    [
        ({"array": ["|O", [1], "C"]}, bytes(8)), ({"array": ["<U1", [1], "C"]}, b"\xff" * 4),
        ({"array": ["|V8", [1], "C"]}, bytes(8)), ({"array": ["<M8[s]", [1], "C"]}, bytes(8)),
        ({"array": ["f4", [1], "C"]}, bytes(4)), ({"array": [["<f4"], [1], "C"]}, bytes(4)),
        ({"array": [None, [1], "C"]}, bytes(8)), ({"scalar": "|O"}, bytes(8)), ({"scalar": ["|u1"]}, b"a"),
        ({"array": ["|u1", [5], "C"]}, bytes(4)), ({"array": ["|u1", [3], "C"]}, bytes(4)),
        ({"array": ["|u1", [1 << 62], "C"]}, bytes(4)), ({"array": ["|u1", [10**30], "C"]}, bytes(4)),
        ({"array": ["|u1", [1 << 32, 1 << 32], "C"]}, bytes(4)), ({"array": ["|u1", [-1], "C"]}, bytes(4)),
        ({"array": ["|u1", [-2, -2], "C"]}, bytes(4)), ({"array": ["|u1", [0, 1 << 62, 1 << 62], "C"]}, b""),
        ({"array": ["|u1", [True, 4], "C"]}, bytes(4)), ({"array": ["|u1", [4.0], "C"]}, bytes(4)),
        ({"array": ["|u1", ["4"], "C"]}, bytes(4)), ({"array": ["|u1", 4, "C"]}, bytes(4)),
        ({"array": ["|u1", [1] * 33, "C"]}, bytes(1)), ({"array": ["|u1", [1], "A"]}, bytes(1)),
        ({"array": ["|u1", [1]]}, bytes(1)), ({"array": {"|u1": 1}}, bytes(1)), ({"array": ["|b1", [1], "C"]}, b"\2"),
        ({"bytes": -1}, b""), ({"bytes": 1.0}, b"a"), ({"bytes": 9}, b"a"), ({"bytes": [1]}, b"a"),
        ({"dict": [[[], 1]]}, b""), ({"dict": [[1.5, 1]]}, b""), ({"dict": [[{"tuple": []}, 1]]}, b""),
        ({"dict": [["a"]]}, b""), ({"dict": {"a": 1}}, b""), ({"tuple": "ab"}, b""), ({"tuple": {"a": 1}}, b""),
        ({"pickle": "gASVAAAA"}, b""), ({"tuple": [], "dict": []}, b""), ({}, b""), ([{"__class__": "a", "b": 1}], b""),
        (1, b"more"), (b"", b""), (b"{", b""), (b"[1", b""), (b"\xff", b""), (b'"\xc3\xa9"', b""), (b"1 2", b""),
        (b"[" * 100_000 + b"]" * 100_000, b""), (b'{"tuple":[' * 40 + b"]}" * 40, b""), (b"1" * 10_000, b""),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_a_crafted_message_is_refused(head, body):
    with piped(message(head, body)) as stream, pytest.raises(BadMessage):
        receive(stream, most=1 << 60)


@pytest.mark.parametrize("sizes", [(HEAD + 1, 0), (2**64 - 1, 0), (4, 1001), (4, 2**64 - 1)])
def test_a_message_that_is_too_large_is_refused_before_it_is_read(sizes):
    with piped(message("ab", sizes=sizes)) as stream, pytest.raises(BadMessage, match="too large"):
        receive(stream, most=1000)


@pytest.mark.parametrize("kept", [0, 1, 15, 16, 17, 40, -1])
def test_a_message_without_its_end_is_the_end_of_the_pipe(kept):
    whole = b"".join(packed([np.arange(100), b"abc"]))
    with piped(whole[:kept]) as stream, pytest.raises(EOFError):
        receive(stream, most=1 << 20)


class Text(str):
    """A text of another class."""


@pytest.mark.parametrize(
    "value",
    [
        {1, 2}, object(), Evil("x"), Text("a"), bytearray(b"a"), 1j, np.array(["a"]), np.array([None]), np.str_("a"),
        np.array([1], "M8[s]"), np.ma.masked_array([1], [True]), {(1,): 2}, {None: 1}, len, int, 10**5000,
        np.zeros(2, [("a", "f4")]), ValueError("a"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_is_not_plain_is_not_sent_at_all(value):
    stream = io.BytesIO()
    with pytest.raises(NotPlain):
        send(stream, [np.arange(3), {"a": (value,)}])
    assert stream.getvalue() == b""


def test_a_value_that_contains_itself_or_is_too_long_is_not_sent():
    loop = []
    loop.append(loop)
    with pytest.raises(NotPlain, match="nested more than 16 deep"):
        packed(loop)
    with pytest.raises(NotPlain, match="more than 16,777,216"):
        packed("a" * (HEAD + 1))
