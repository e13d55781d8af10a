"""Stored figures come back as they were, or not at all."""

import json
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from quiver.engine.storage import json_store
from quiver.errors import CannotWrite


@dataclass(frozen=True, slots=True)
class Inner:
    name: str
    share: float


@dataclass(frozen=True, slots=True)
class Figures:
    count: int
    recall: float
    at: str | None
    parts: tuple[Inner, ...]
    weights: Mapping[str, float] = field(default_factory=dict)


def made() -> Figures:
    return Figures(3, 0.1 + 0.2, None, (Inner("ä", 1e-300), Inner("", 2.0)), {"a b": 0.25})


def test_figures_come_back_as_they_were(tmp_path):
    json_store.write(tmp_path / "new" / "f.json", made())
    assert json_store.read(tmp_path / "new" / "f.json", Figures) == made()
    json.loads((tmp_path / "new" / "f.json").read_text(encoding="utf-8"))


def test_a_missing_file_is_none_and_says_nothing(tmp_path, caplog):
    assert json_store.read(tmp_path / "none.json", Figures) is None
    assert not caplog.records


def test_no_damage_of_a_byte_gives_other_figures(tmp_path):
    path = tmp_path / "f.json"
    json_store.write(path, made())
    whole = path.read_bytes()
    chance = random.Random(0)
    for at in range(len(whole)):
        for damaged in (whole[:at], whole[:at] + bytes([chance.randrange(256)]) + whole[at + 1 :]):
            path.write_bytes(damaged)
            assert json_store.read(path, Figures) in (None, made())


@pytest.mark.parametrize(
    "text",
    ["", "null", "[]", "{}", '{"format": 1}', "\udcff", "[" * 10_000, '{"format": 1, "sha256": "", "figures": {}}'],
)
def test_what_is_no_file_of_ours_is_none_and_said_once(tmp_path, caplog, text):
    path = tmp_path / "f.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with caplog.at_level(logging.WARNING, "quiver"):
        assert json_store.read(path, Figures) is None
        assert json_store.read(path, Figures) is None
    assert [str(path) in record.getMessage() for record in caplog.records] == [True]


def test_figures_of_another_class_or_format_are_none(tmp_path):
    path = tmp_path / "f.json"
    json_store.write(path, Inner("a", 1.0))
    assert json_store.read(path, Figures) is None
    path.write_text(path.read_text().replace('"format": 1', '"format": 99'))
    assert json_store.read(path, Inner) is None


def test_a_folder_in_the_place_of_a_file_is_none(tmp_path):
    assert json_store.read(tmp_path, Figures) is None


def test_figures_that_cannot_be_written_are_an_error_or_a_line_in_the_log(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    place: Path = tmp_path / "file" / "f.json"
    with pytest.raises(CannotWrite, match=r"cannot write .*f\.json"):
        json_store.write(place, made())
    with caplog.at_level(logging.WARNING, "quiver"):
        json_store.keep(place, made())
    assert "f.json" in caplog.text
