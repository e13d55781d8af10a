"""``quiver key``: the keys of the service."""

import datetime
from typing import Annotated

import typer

from quiver.cli import show

key = typer.Typer(
    help="Keys of `quiver serve`: who may search, write or administer which collections.", no_args_is_help=True
)


@key.command()
def add(
    name: Annotated[str, typer.Argument(help="Who will use the key.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="search, write or admin; a later one includes those before it.")
    ] = None,
    collection: Annotated[
        list[str] | None, typer.Option(help="Collections it reaches, such as 'shop*'; may be repeated; all by default.")
    ] = None,
    where: Annotated[
        str | None, typer.Option(help="Items exist for this key only if they match, such as \"tenant = 'a'\".")
    ] = None,
    days: Annotated[float | None, typer.Option(help="Days after which it expires.")] = None,
    rate: Annotated[float | None, typer.Option(help="Most requests per second.")] = None,
) -> None:
    """Make a key and print it; it is stored as a hash and cannot be shown again."""
    from quiver.engine.server.keys import Keys

    made = Keys().add(
        name, scopes=scope or ("search",), collections=collection or ("*",), where=where, days=days, rate=rate
    )
    print(made)


@key.command("list")
def listed() -> None:
    """List the keys, without their secrets."""
    from quiver.engine.server.keys import Keys

    rows = [
        (each.id, each.name, ",".join(each.scopes), ",".join(each.collections), each.where or "", _day(each.expires))
        for each in Keys().all()
    ]
    show.write_table(("id", "name", "scopes", "collections", "where", "expires"), rows)


@key.command()
def revoke(id: Annotated[str, typer.Argument(help="Id of a key, as `quiver key list` shows it.")]) -> None:
    """Remove a key; a running service refuses it within a second."""
    from quiver.engine.server.keys import Keys

    Keys().revoke(id)
    print(f"key {id} is revoked")


def _day(seconds: float | None) -> str:
    return "never" if seconds is None else datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()[:16]
