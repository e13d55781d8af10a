"""Labelled queries: queries of a table with the right answers that the table or a file of judgements names."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from quiver.engine.source import queries as tables
from quiver.engine.source import relevance
from quiver.engine.source.queries import GivenQuery
from quiver.engine.source.table import is_table, open_table
from quiver.engine.tasks import own_files
from quiver.errors import BadData, BadSpec
from quiver.types import MEDIA, Query

NONE: Mapping[str, str | None] = {}


@dataclass(frozen=True, slots=True)
class LabelledQueries:
    """Queries with their right answers.

    Attributes:
        asked: the queries; their ``answers`` are the grades of all judged items, those that are not relevant too.
        notes: remarks for the user.
    """

    asked: Sequence[GivenQuery]
    notes: tuple[str, ...]

    @property
    def answers(self) -> list[list[str]]:
        """Ids of the right answers of each query."""
        return [[item for item, grade in each.answers.items() if grade > 0] for each in self.asked]

    def queries(self, **options: Any) -> list[Query]:
        """Return the queries with further arguments of ``Query``; what a query says itself takes precedence."""
        given = {name: value for name, value in options.items() if value is not None}
        return [Query(**{**given, **each.given}) for each in self.asked]


def read(
    path: str | Path,
    *,
    relevant: Sequence[str | Path] = (),
    answer: str = "answer",
    options: Mapping[str, str | None] = NONE,
    columns: Mapping[str, str | None] = NONE,
) -> LabelledQueries:
    """Read labelled queries.

    Args:
        path: the table of queries, or media files, see ``quiver.engine.source.queries``.
        relevant: files of judgements, see ``quiver.engine.source.relevance``; without any, the table has answers.
        answer: column with the id of a right answer.
        options: tables and columns, as ``add`` takes them: meta, key, media, text, image, id_column, path_column.
        columns: columns by media key; a column that the table lacks is ignored.

    Returns:
        The queries that have a right answer; notes count the others, and judgements of unknown queries.

    Raises:
        BadData: a file cannot be read, or no query has a right answer.
        BadSpec: there are no judgements, and the table has no column of answers.
    """
    place = str(Path(path).expanduser())
    names = open_table(os.path.abspath(place)).schema.names if any(columns.values()) and is_table(place) else ()
    here = {key: name for key, name in columns.items() if name in names}
    named = {key: options.get(key) or here.get(key) for key in MEDIA}
    plain = {name: value for name, value in options.items() if name not in (*MEDIA, "media")}
    media = own_files.columns(options.get("media"), named)
    table = tables.read(place, answer=answer, options={**plain, "media": media})
    if relevant:
        asked, notes = _judged(path, table, relevance.read(*relevant), relevant)
    elif table.answered:
        asked, notes = tables.numbered(table.queries), ()
    else:
        raise BadSpec(
            f"{path} has no column {answer!r} with the ids of answers: --answer names one of its columns, which are"
            f" {', '.join(table.columns) or 'none beside its vectors'}; or give a file of judgements with --relevant"
        )
    kept = [each for each in asked if any(grade > 0 for grade in each.answers.values())]
    if not kept:
        raise (
            BadData(f"{path} has no row with query media and an answer in column {answer!r}")
            if not relevant
            else (
                BadData(
                    f"no query of {path} has a right answer in {', '.join(map(str, relevant))}{_example(asked, notes)}"
                )
            )
        )
    right = {each.id for each in kept}
    if lost := [each.id for each in asked if each.id not in right]:
        notes = (*notes, f"left out: {len(lost)} of {len(asked)} queries without any right answer, such as {lost[0]!r}")
    return LabelledQueries(kept, (*table.notes, *notes))


def _judged(
    path: str | Path,
    table: tables.QueryTable,
    judged: Mapping[str, Mapping[str, int]],
    relevant: Sequence[str | Path],
) -> tuple[list[GivenQuery], tuple[str, ...]]:
    """Give queries their judgements, by id.

    Raises:
        BadSpec: the queries have no ids.
    """
    if not any(each.id for each in table.queries):
        raise BadSpec(
            f"{path} has no column of query ids, which --relevant refers to: call it id; its columns are"
            f" {', '.join(table.columns)}"
        )
    known = {each.id for each in table.queries}
    asked = [replace(each, answers=dict(judged.get(each.id, {}))) for each in tables.numbered(table.queries)]
    notes = [f"{path}: its answers are not used, since --relevant names files of judgements"] if table.answered else []
    if lost := [id for id in judged if id not in known]:
        count = sum(len(judged[id]) for id in lost)
        notes.append(
            f"left out: {count} judgements of {len(lost)} queries that {os.path.basename(str(path))} lacks, such as"
            f" {lost[0]!r} ({', '.join(os.path.basename(str(each)) for each in relevant)})"
        )
    return asked, tuple(notes)


def _example(asked: Sequence[GivenQuery], notes: Sequence[str]) -> str:
    """Show what the ids of queries look like, if no judgement names one of them."""
    return f": its ids look like {asked[0].id!r}; {notes[-1]}" if notes and asked else ""
