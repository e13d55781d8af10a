"""Conditions written by the engine in Lance's SQL; conditions of users come from ``quiver.engine.core.condition``.

Only these two make an ``Sql``: the storage takes nothing else, so no text of a user reaches Lance unread.
"""

from collections.abc import Iterable, Sequence
from typing import NewType

from quiver.errors import BadSpec

#: A condition in Lance's dialect, whole and safe.
Sql = NewType("Sql", str)


def name(column: str) -> str:
    """Write the name of a column.

    Raises:
        BadSpec: the name has a backtick, which Lance's SQL cannot express.
    """
    if "`" in column:
        raise BadSpec(f"column {column!r} has a backtick in its name, so no condition can name it: rename it")
    return f"`{column}`"


def text(value: str) -> str:
    """Write a string.

    >>> text("it's")
    "'it''s'"

    Raises:
        BadSpec: the text has a lone surrogate, which UTF-8 cannot encode.
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        part = value[max(error.start - 20, 0) : error.end]
        raise BadSpec(f"{part!r} ends in half a character (a lone surrogate), which no stored text holds") from None
    return "'" + value.replace("'", "''") + "'"


def among(column: str, values: Iterable[str]) -> Sql:
    """Select the rows whose value is one of these strings; no rows if there are no strings.

    >>> among("id", ["a", "it's"])
    "`id` IN ('a', 'it''s')"
    """
    written = ", ".join(map(text, values))
    return Sql(f"{name(column)} IN ({written})" if written else "false")


def none_of(column: str, values: Iterable[str]) -> Sql:
    """Select the rows whose value is not one of these strings."""
    return Sql(f"{name(column)} NOT IN ({', '.join(map(text, values))})")


def numbered(rows: Sequence[int]) -> Sql:
    """Select rows by their row numbers."""
    return Sql(f"_rowid IN ({', '.join(str(int(row)) for row in rows)})" if len(rows) else "false")


def present(*columns: str) -> Sql:
    """Select the rows that have a value in all of these columns."""
    return Sql(" AND ".join(f"{name(column)} IS NOT NULL" for column in columns))


def absent(column: str) -> Sql:
    """Select the rows that have no value in a column."""
    return Sql(f"{name(column)} IS NULL")


def both(*conditions: Sql | None) -> Sql | None:
    """Join conditions by AND; None without conditions."""
    given = [condition for condition in conditions if condition is not None]
    return Sql(" AND ".join(f"({condition})" for condition in given)) if given else None


def either(*conditions: Sql) -> Sql:
    """Join conditions by OR."""
    return Sql(" OR ".join(f"({condition})" for condition in conditions))
