"""Damaged media never end a training: another row takes their place, always the same one, and a note names them."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from quiver.encoders._train import damage
from quiver.encoders._train.damage import Damage, Decoder, readable, replaced
from quiver.errors import BadData, BadMedia
from quiver.types import Rows


@dataclass(frozen=True)
class Number:
    """Reads a number; those that end in 3 are damaged."""

    def __call__(self, source: str) -> int:
        if int(source) % 10 == 3:
            raise BadMedia(f"{source} is damaged")
        return int(source)


def decoder(folder: Path | None = None) -> Decoder:
    return Decoder(Number(), Damage("text", folder), threads=2)


def read(rows: Rows, rng: np.random.Generator, *, damaged: float = 0.0) -> list[int | None]:
    return [None if row % 100 < 100 * damaged else row for row in rows.tolist()]


def test_only_rows_that_cannot_be_read_are_replaced_and_always_by_the_same_ones():
    rows = np.array([7, 13, 23, 8])
    found = [
        replaced(rows, rng, lambda some: decoder()([str(row) for row in some]), count=100, damage="")
        for rng in (np.random.default_rng(5), np.random.default_rng(5))
    ]
    taken, read = found[0]
    assert taken.tolist() == read and taken[[0, 3]].tolist() == [7, 8] and rows.tolist() == [7, 13, 23, 8]
    assert not {3} & {row % 10 for row in read} and found[1][1] == read


def test_a_batch_comes_whole_where_nine_of_ten_are_damaged_and_a_set_without_a_good_one_is_refused():
    rows = np.arange(64)
    nine = replaced(rows, np.random.default_rng(0), lambda some: read(some, None, damaged=0.9), count=100, damage="")
    assert len(nine[1]) == 64 and min(row % 100 for row in nine[1]) >= 90
    with pytest.raises(BadData, match=r"100 rows in a row cannot be read.*: see list"):
        replaced(rows, np.random.default_rng(0), lambda some: [None] * len(some), count=100, damage=": see list")


def test_what_can_be_read_draws_nothing_so_that_runs_without_damage_are_as_before():
    one, other = np.random.default_rng(1), np.random.default_rng(1)
    replaced(np.arange(4), one, lambda rows: rows.tolist(), count=9, damage="")
    assert one.random() == other.random()


def test_each_reference_is_named_once_with_the_count_and_listed_once_over_processes(tmp_path, capsys):
    for _ in range(2):  # a process, and one that resumes
        decode = decoder(tmp_path)
        assert decode(["1", "3", "13"]) == [1, None, None]
        decode(["3"])
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == [
        f"note: 3 is left out: 3 is damaged (1 text reference so far: see {tmp_path}/quarantine.jsonl)",
        f"note: 13 is left out: 13 is damaged (2 text references so far: see {tmp_path}/quarantine.jsonl)",
    ]
    assert len(said) == 4  # each process says it once
    lines = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert lines == [{"ref": ref, "key": "text", "reason": f"{ref} is damaged"} for ref in ("3", "13")]


def test_many_are_counted_and_not_named(capsys):
    decoder()([f"{n}3" for n in range(150)])
    said = capsys.readouterr().err.splitlines()
    assert len(said) == damage.NAMED + 2
    assert [line.partition(" references")[0] for line in said[-2:]] == ["note: 10 text", "note: 100 text"]


def test_a_check_is_kept_and_the_same_for_all(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(damage, "BLOCK", 4)
    refs = [str(n) for n in range(10)]
    first = readable(Number(), "text", refs, folder=tmp_path)
    assert np.flatnonzero(~first).tolist() == [3]
    assert capsys.readouterr().err == f"note: 1 of 10 text references cannot be read: see {tmp_path}/quarantine.jsonl\n"
    monkeypatch.setattr(Number, "__call__", None)  # a rank that finds all done reads nothing
    assert np.array_equal(readable(Number(), "text", refs, folder=tmp_path), first)
    assert len((tmp_path / "quarantine.jsonl").read_text().splitlines()) == 1
