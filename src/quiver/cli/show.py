"""How the command line writes things: JSON or tab-separated lines for programs, aligned columns for people."""

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from quiver.engine.execution.plan import plain
from quiver.errors import BadSpec

#: What would end a column or a line, and how it is written in a pipe.
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\v": "\\v", "\f": "\\f"}
_ESCAPES |= {letter: f"\\u{ord(letter):04x}" for letter in "\x1c\x1d\x1e\x85\u2028\u2029"}

#: The option ``--trust`` of commands that load what a collection names.
Trust = Annotated[
    bool,
    typer.Option(
        "--trust", help="Load encoders and read files that the collection names and you have not; remembered."
    ),
]


def write_json(value: Any) -> None:
    """Print a value as JSON; numbers that are not finite, which JSON does not have, become null."""
    indent = 2 if sys.stdout.isatty() else None
    print(json.dumps(plain(value), ensure_ascii=False, allow_nan=False, indent=indent))


def write_table(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under titles; in a pipe, a line for each, with tabs between columns, and nothing is shortened."""
    if not sys.stdout.isatty():
        for row in rows:
            print("\t".join(escaped(value) for value in row))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*titles, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(str(value) for value in row))
    Console(highlight=False, markup=False).print(table)


def brief(meta: dict[str, Any], *, width: int | None = 60) -> str:
    """Write metadata on one line, cut to a width on a terminal; whole in a pipe, or where the width is None.

    >>> brief({"name": "red dress", "price": 20}, width=None)
    'name=red dress price=20'
    """
    line = " ".join(f"{name}={value}" for name, value in meta.items())
    if width is None or len(line) <= width or not sys.stdout.isatty():
        return line
    return line[: width - 1] + "…"


def escaped(value: Any) -> str:
    r"""Write a value so that it stays in its column and line: tabs, line ends and backslashes as in JSON.

    >>> print(escaped("two\nlines"))
    two\nlines
    """
    return "".join(_ESCAPES.get(letter, letter) for letter in str(value))


def warn(text: str) -> None:
    """Print what the user should know, beside the answer."""
    print(f"note: {text}", file=sys.stderr)


def params(given: Sequence[str] | None) -> dict[str, Any]:
    """Read the values of parameters from ``name=value``; what stands more than once is a list.

    Values stay text: the column that they are compared with says what they are.

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
