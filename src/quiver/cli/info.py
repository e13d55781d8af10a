"""``quiver info``: describe a collection."""

from typing import Annotated, Any

import typer

from quiver.cli import place, show
from quiver.cli.index import show_promise


def info(
    collection: place.Place,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show item counts, spaces, encoders, metadata, indexes with recall targets, and quarantined items with reasons."""
    found = place.opened(collection).info()
    if json:
        show.write_json(found)
        return
    media = ", ".join(f"{count:,} {name}" for name, count in found["media"].items())
    print(f"collection: {found['uri']}\nversion: {found['version']}")
    print(f"items: {found['items']:,} ({media or 'vectors only'})\n")
    rows = [_column(column) for column in found["columns"]]
    show.write_table(("embeds", "space", "dim", "metric", "revision", "indexes", "encoder"), rows)
    for column in found["columns"]:
        for kind, promise in column["promises"].items():
            print(f"\n{kind} index of {column['key']} in {column['space']}")
            show_promise(promise)
    print("\nmetadata: " + (", ".join(f"{name} ({kind})" for name, kind in found["meta"].items()) or "none"))
    print(f"quarantine: {len(found['quarantine'])} items")
    for row in found["quarantine"]:
        print(f"  {row['id']}: {row['reason']}")


def _column(column: dict[str, Any]) -> tuple[Any, ...]:
    plain = (column["key"], column["space"], column["dim"], column["metric"], column["revision"][:8])
    late = {
        kind: f" ({state['share']:.0%} behind: {state['tail']:,} vectors are scanned beside it)"
        for kind, state in column["behind"].items()
        if state["share"]
    }
    indexes = ", ".join(kind + late.get(kind, "") for kind in column["indexes"])
    return (*plain, indexes, column["encoder"] or "ready-made")
