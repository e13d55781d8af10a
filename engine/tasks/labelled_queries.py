"""Questions with known answers, as a table has them: media to ask with, and a column of ids."""

from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from quiver.engine import source
from quiver.errors import BadData, BadSpec
from quiver.types import MEDIA

_BATCH = 4096


class Questions(NamedTuple):
    """What is asked, and what answers it.

    Attributes:
        media: what each question holds, by key.
        answers: the ids that answer each.
        notes: what a user should be told.
    """

    media: list[dict[str, Any]]
    answers: list[list[str]]
    notes: tuple[str, ...]


def read(path: str | Path, *, answer: str = "answer") -> Questions:
    """Read questions from a CSV, TSV, JSON lines or Parquet file; rows that ask the same are one question.

    Args:
        path: the file; its columns of media are found as those of a manifest.
        answer: the column that names the item which answers a row.

    Raises:
        BadData: the file cannot be read, or no row can be asked.
        BadSpec: it has no such column.
    """
    stream = source.open([str(path)])
    if answer not in stream.schema.names:
        raise BadSpec(
            f"{path} has no column {answer!r} that names what answers: --answer takes one of its columns, which are"
            f" {', '.join(stream.schema.names) or 'none'} beside its media"
        )
    found: dict[tuple[tuple[str, str], ...], dict[str, None]] = defaultdict(dict)
    for batch in stream.batches(_BATCH):
        for row in batch.to_pylist():
            held = tuple((key, row[key]) for key in MEDIA if row[key] is not None)
            if row[answer] not in (None, ""):
                found[held][str(row[answer])] = None
    if not found:
        raise BadData(f"{path} holds no question that has an answer in column {answer!r}")
    problems = stream.problems()
    lost = [f"{len(problems)} rows left out, such as {problems[0].id}: {problems[0].reason}"] if problems else []
    return Questions([dict(held) for held in found], [list(each) for each in found.values()], (*stream.notes, *lost))
