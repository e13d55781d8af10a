"""How the command line writes things: JSON for programs, aligned columns for people."""

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from quiver.engine.execution.plan import plain

#: The option ``--trust`` of commands that load what a collection names.
Trust = Annotated[
    bool,
    typer.Option(
        "--trust", help="Load encoders and read files that the collection names and you have not; remembered."
    ),
]


def write_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(plain(value), ensure_ascii=False, indent=None if not sys.stdout.isatty() else 2))


def write_table(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under titles; in a pipe, columns are parted by tabs and nothing is shortened."""
    if not sys.stdout.isatty():
        for row in rows:
            print("\t".join(map(str, row)))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*titles, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(str(value) for value in row))
    Console(highlight=False, markup=False).print(table)


def brief(meta: dict[str, Any], *, width: int = 60) -> str:
    """Write metadata on one line.

    >>> brief({"name": "red dress", "price": 20})
    'name=red dress price=20'
    """
    line = " ".join(f"{name}={value}" for name, value in meta.items())
    return line if len(line) <= width else line[: width - 1] + "…"


def warn(text: str) -> None:
    """Print what the user should know, beside the answer."""
    print(f"note: {text}", file=sys.stderr)
