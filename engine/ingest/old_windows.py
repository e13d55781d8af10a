"""Stored windows of films that are split again: which of them are outdated, and their removal.

A window is outdated if its film has other content now, and the film's new windows do not include its times. A window of
the same content from another split stays: several lengths of windows can stand side by side.
"""

import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from quiver.engine.core.sql import Sql, among, both, present
from quiver.engine.ingest.decode import content_hash, with_text
from quiver.engine.source.roots import real_file
from quiver.engine.storage.dataset import Table
from quiver.engine.storage.quarantine import Quarantine
from quiver.errors import QuiverError
from quiver.media import digests, locate, times
from quiver.types import MEDIA

_IDS = 10_000  # in one condition


@dataclass(frozen=True, slots=True)
class Film:
    """A film that was split.

    Attributes:
        id: its id.
        reference: its file.
        windows: ids of its windows.
    """

    id: str
    reference: str
    windows: pa.Array


class OldWindows:
    """The stored windows of the films of an add that are not among the windows it makes."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._films: list[str] = []
        self._outdated: dict[str, list[tuple[str, str]]] = {}
        self._others: dict[str, int] = {}
        self._wholes: list[str] = []

    def look_up(self, films: Sequence[Film]) -> None:
        """Find the stored windows of some films, and compare their hashes with the films' content now."""
        if not films:
            return
        self._films += [film.id for film in films]
        names = ["id", *MEDIA, "film", "sha256"]
        stored: dict[str, list[Mapping[str, str]]] = {}
        for row in self._table.read(names, where=among("film", [film.id for film in films])).to_pylist():
            stored.setdefault(row["film"], []).append(row)
        for film in films:
            made = set(film.windows.to_pylist())
            left = [row for row in stored.get(film.id, ()) if row["id"] not in made and _is_window(row, film)]
            self._compare(film, left)
        self._wholes += self._table.read(["id"], where=among("id", [film.id for film in films]))["id"].to_pylist()

    def _compare(self, film: Film, rows: Sequence[Mapping[str, str]]) -> None:
        if not rows:
            return
        try:
            now = _hashes(film, rows)
        except (QuiverError, OSError):  # gone meanwhile: nothing is known
            return
        old = [(row["id"], row["sha256"]) for row, each in zip(rows, now, strict=True) if row["sha256"] != each]
        if old:
            self._outdated[film.id] = old
        if len(old) < len(rows):
            self._others[film.id] = len(rows) - len(old)

    def settle(self, bad: Container[str], quarantine: Quarantine) -> list[str]:
        """Remove outdated windows of films that were added without a fault; returns notes for the user.

        Args:
            bad: ids of this add's quarantined items.
            quarantine: its entries for earlier windows of these films, and for the films, are removed.
        """
        films = set(self._films)
        listed = [row["id"] for row in quarantine.rows()]
        cured = [id for id in listed if (id in films or times(id)[0] in films) and id not in bad]
        if cured:
            quarantine.cure(cured)
        faulty = {times(row["id"])[0] for row in quarantine.rows()}
        notes = []
        for film, old in self._outdated.items():
            if film in faulty:
                notes.append(
                    f"{film} has changed: {len(old):,} windows of its former content stay, since some of the new ones"
                    " could not be read"
                )
                continue
            count = self._delete(old)
            notes.append(
                f"{film} has changed: {count:,} windows of its former content are deleted; earlier versions keep them"
            )
        return [*notes, *self._said(), *said_whole(self._wholes)]

    def _delete(self, rows: Sequence[tuple[str, str]]) -> int:
        """Delete windows that still have their former content; another process may have replaced one meanwhile."""
        count = 0
        for start in range(0, len(rows), _IDS):
            ids, hashes = zip(*rows[start : start + _IDS], strict=True)
            count += self._table.delete(both(among("id", ids), among("sha256", sorted(set(hashes)))) or Sql("false"))
        return count

    def _said(self) -> list[str]:
        notes = []
        for film, count in list(self._others.items())[:1]:
            more = f", and so have {len(self._others) - 1:,} other films" if len(self._others) > 1 else ""
            notes.append(f"{film} also has {count:,} windows of another split, which stay{more}")
        return notes


def said_whole(ids: Sequence[str]) -> list[str]:
    """Return a note for the user on films that are stored whole beside their windows."""
    if not ids:
        return []
    many = "1 film is" if len(ids) == 1 else f"{len(ids):,} films are"
    return [
        f"{many} stored whole beside the windows, such as {ids[0]}: delete what you do not want; --window splits films"
    ]


def also_whole(table: Table) -> list[str]:
    """Return the ids of films that are stored whole and as windows."""
    if not {"film", "start", "end"} <= set(table.meta):
        return []
    films = table.read(["film"], where=present("film", "start", "end"))["film"].unique().to_pylist()
    found: list[str] = []
    for start in range(0, len(films), _IDS):
        found += table.read(["id"], where=among("id", films[start : start + _IDS]))["id"].to_pylist()
    return found


def _hashes(film: Film, rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the content hash that each stored window would get now; those of the film alone take one pass over it."""
    held = [{name: row[name] for name in MEDIA if row[name] is not None} for row in rows]
    alone = [sum(name != "text" for name in media) == 1 for media in held]
    references = [media.get("video") or media["audio"] for media, one in zip(held, alone, strict=True) if one]
    spans = [(start, stop or 0.0) for _, start, stop in map(times, references)]
    made = iter(digests(times(film.reference)[0], spans) if spans else ())
    return [
        with_text(next(made), media.get("text")) if one else content_hash(media)
        for media, one in zip(held, alone, strict=True)
    ]


def _is_window(row: Mapping[str, str], film: Film) -> bool:
    """Whether a stored item is a window that an add made of this very file."""
    reference = row["video"] or row["audio"]
    if not reference or times(row["id"])[0] != film.id or "://" in reference:
        return False
    whole, _, stop = times(reference)
    place, other = locate(whole), locate(film.reference)
    same = place[1:] == other[1:] and real_file(place[0]) == real_file(os.path.abspath(other[0]))
    return stop is not None and same and row["sha256"] is not None
