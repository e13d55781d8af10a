"""``quiver drop``: remove an encoder with its vectors."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from quiver.cli import show
from quiver.errors import BadSpec


def drop(
    collection: Annotated[str, typer.Argument(help="Folder or object-store URI of the collection.")],
    name: Annotated[str, typer.Argument(help="Encoder, or one of its spaces, as `quiver info` shows them.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Drop without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed, and remove nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Drop an encoder, or a space of ready-made vectors, with its vectors, indexes and scorers.

    Items, media, metadata and all other vectors stay. Earlier versions keep the vectors until `quiver prune`.
    """
    import quiver

    opened = quiver.open(collection)
    if not yes or dry_run:
        planned = opened.drop(name, dry_run=True)
        if dry_run:
            show.write_json(asdict(planned)) if json else print(planned)
            return
        if not sys.stdin.isatty():
            raise BadSpec(f"this would drop {'; '.join(str(planned).splitlines())}: add --yes to drop it")
        print(planned, file=sys.stderr)
        if not typer.confirm("Drop it?", err=True):
            print("nothing is dropped")
            return
    dropped = opened.drop(name)
    show.write_json(asdict(dropped)) if json else print(f"dropped:\n{dropped}")
