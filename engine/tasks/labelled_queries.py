"""Labelled queries from a table: columns of query media, and a column with the ids of right answers."""

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from quiver.engine.source.manifest import open_manifest
from quiver.engine.source.role import choose
from quiver.engine.source.table import open_table
from quiver.engine.tasks import own_files
from quiver.errors import BadData, BadSpec
from quiver.types import MEDIA

NONE: Mapping[str, str | None] = {}


class Questions(NamedTuple):
    """Labelled queries: questions with the ids of their right answers.

    Attributes:
        media: media of each question, by key.
        answers: ids of the right answers of each question.
        notes: remarks for the user.
    """

    media: list[dict[str, Any]]
    answers: list[list[str]]
    notes: tuple[str, ...]


def read(
    path: str | Path, *, answer: str = "answer", media: str | None = None, columns: Mapping[str, str | None] = NONE
) -> Questions:
    """Read labelled queries from a CSV, TSV, JSONL or Parquet file; rows with the same query are one question.

    Args:
        path: the file; its columns of media are found as in a manifest.
        answer: column with the id of the right answer.
        media: media to ask with, and columns of media, as ``add`` takes them.
        columns: columns by media key; a column that the file lacks is ignored.

    Raises:
        BadData: the file cannot be read, or no row is a valid query.
        BadSpec: the file has no such column.
    """
    place = str(Path(path).expanduser())
    names = open_table(os.path.abspath(place)).schema.names if any(columns.values()) else ()
    here = {key: name for key, name in columns.items() if name in names}
    table = open_manifest(place, choose(None, None, own_files.columns(media, here)))
    if answer not in table.schema.names:
        raise BadSpec(
            f"{path} has no column {answer!r} with the ids of answers: --answer names one of its columns, which are"
            f" {', '.join(table.schema.names) or 'none'} beside its media"
        )
    found: dict[tuple[tuple[str, str], ...], dict[str, None]] = defaultdict(dict)
    for batch in table.rows():
        for row in batch.to_pylist():
            held = tuple((key, row[key]) for key in MEDIA if row[key] is not None)
            if row[answer] not in (None, ""):
                found[held][str(row[answer])] = None
    if not found:
        raise BadData(f"{path} has no row with query media and an answer in column {answer!r}")
    problems = table.problems()
    lost = [f"{len(problems)} rows left out, such as {problems[0].id}: {problems[0].reason}"] if problems else []
    return Questions([dict(held) for held in found], [list(each) for each in found.values()], (*table.notes, *lost))
