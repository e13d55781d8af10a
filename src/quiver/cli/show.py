"""Output of the command line: JSON or tab-separated lines for programs, aligned columns for people."""

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from quiver.engine.execution.plan import plain
from quiver.errors import BadSpec

#: Characters that would end a column or a line, and their escapes in a pipe.
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\v": "\\v", "\f": "\\f"}
_ESCAPES |= {letter: f"\\u{ord(letter):04x}" for letter in "\x1c\x1d\x1e\x85\u2028\u2029"}

#: Option ``--trust`` of commands that load encoders or files which a collection names.
Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Trust the encoders and files that the collection names, also those you never named; remembered.",
    ),
]


def write_json(value: Any) -> None:
    """Print a value as JSON; numbers that are not finite become null, as JSON has none."""
    indent = 2 if sys.stdout.isatty() else None
    print(json.dumps(plain(value), ensure_ascii=False, allow_nan=False, indent=indent))


def write_table(titles: Sequence[str], rows: Sequence[Sequence[Any]], *, header: bool = True) -> None:
    """Print rows under titles; in a pipe, one line per row with tabs between columns, and nothing is shortened.

    Args:
        titles: the titles of the columns.
        rows: values to print.
        header: whether the titles are the first line in a pipe too.
    """
    if not sys.stdout.isatty():
        for row in [titles, *rows] if header else rows:
            print("\t".join(escaped(value) for value in row))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*titles, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(str(value) for value in row))
    Console(highlight=False, markup=False).print(table)


def brief(meta: dict[str, Any], *, width: int | None = 60) -> str:
    """Format metadata on one line, cut to a width on a terminal; uncut in a pipe or if the width is None.

    >>> brief({"name": "red dress", "price": 20}, width=None)
    'name=red dress price=20'
    """
    line = " ".join(f"{name}={value}" for name, value in meta.items())
    if width is None or len(line) <= width or not sys.stdout.isatty():
        return line
    return line[: width - 1] + "…"


def escaped(value: Any) -> str:
    r"""Escape tabs, line ends and backslashes of a value as in JSON, so that it stays in its column and line.

    >>> print(escaped("two\nlines"))
    two\nlines
    """
    return "".join(_ESCAPES.get(letter, letter) for letter in str(value))


def warn(text: str) -> None:
    """Print a note for the user on standard error."""
    print(f"note: {text}", file=sys.stderr)


def params(given: Sequence[str] | None) -> dict[str, Any]:
    """Read parameters from ``name=value``; a repeated name makes a list.

    Values stay text; the type of the compared column decides how they are read.

    >>> params(["most=50", "id=a", "id=b"])
    {'most': '50', 'id': ['a', 'b']}

    Raises:
        BadSpec: a name is missing.
    """
    found: dict[str, list[str]] = {}
    for each in given or ():
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise BadSpec(f"--param {each}: give a name and a value, such as most=50 for :most")
        found.setdefault(name.removeprefix(":"), []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}
