import hashlib
from pathlib import Path

import torch

from quiver.encoders import _fingerprint

STATE = {"a": torch.tensor(1), "b": torch.ones(2, 3, dtype=torch.bfloat16)}


def test_border_between_parts_counts() -> None:
    assert _fingerprint.of_parts("ab", "c") != _fingerprint.of_parts("a", "bc")
    assert _fingerprint.of_parts("a") != _fingerprint.of_parts("a", "")


def test_order_and_memory_layout_of_tensors_do_not_matter() -> None:
    turned = {"b": torch.ones(3, 2, dtype=torch.bfloat16).T, "a": STATE["a"]}
    assert _fingerprint.of_state(turned, "x") == _fingerprint.of_state(STATE, "x")


def test_names_types_shapes_values_and_parts_matter() -> None:
    others = [
        {**STATE, "a": torch.tensor(2)},
        {**STATE, "a": torch.tensor(1.0)},
        {**STATE, "b": STATE["b"].T},
        {"A": STATE["a"], "b": STATE["b"]},
        {"a": STATE["a"]},
    ]
    hashes = {_fingerprint.of_state(state, "x") for state in [STATE, *others]}
    assert len(hashes | {_fingerprint.of_state(STATE, "y")}) == 7


def test_file_is_its_bytes_and_not_its_name(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in "abc")
    first.write_bytes(b"x" * 2_000_000)
    second.write_bytes(b"x" * 2_000_000)
    third.write_bytes(b"x" * 1_999_999 + b"y")
    assert _fingerprint.of_file(first, "p") == _fingerprint.of_file(second, "p")
    assert _fingerprint.of_file(first, "p") != _fingerprint.of_file(third, "p")
    assert _fingerprint.of_file(first, "p") != _fingerprint.of_file(first, "q")


def test_no_parts_hash_as_a_count_of_zero() -> None:
    expected = hashlib.sha256((1).to_bytes(8, "little") + b"0").hexdigest()
    assert _fingerprint.of_parts() == expected
