"""``quiver index``: build an index of a collection's vectors, tuned to a recall target."""

from pathlib import Path
from typing import Annotated

import typer

from quiver.cli import place, show, table
from quiver.errors import BadSpec
from quiver.records import CheckedIndex, RecallTarget
from quiver.types import Query


def index(
    collection: place.Place,
    spec: Annotated[
        str | None,
        typer.Argument(
            help="Kind of index and options, such as 'faiss factory=IVF256,Flat'; chosen automatically by default."
        ),
    ] = None,
    space: Annotated[list[str] | None, typer.Option(help="Index only this vector space; may be repeated.")] = None,
    recall: Annotated[
        float | None,
        typer.Option(
            help="Recall target: fraction of the true top k that searches find; 0.95 by default if no kind is named."
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", "--k", help="k of the recall target.")] = 10,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Sample queries to tune on: vectors (npy), lines of text (txt), files, or a table of queries."
        ),
    ] = None,
    meta: table.Meta = None,
    key: table.Key = None,
    media: table.Media = None,
    text: table.Text = None,
    image: table.Image = None,
    id_column: table.IdColumn = None,
    path_column: table.PathColumn = None,
    memory: Annotated[str | None, typer.Option(help="Memory limit, such as 8GB.")] = None,
    updates: Annotated[str, typer.Option(help="How often the vectors change: rare or often.")] = "rare",
    check: Annotated[
        bool, typer.Option("--check", help="Do not build: measure again whether indexes reach their recall target.")
    ] = False,
    trust: show.Trust = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Build an index. Searches keep working meanwhile, and items added later are found too."""
    if updates not in ("rare", "often"):
        raise BadSpec(f"--updates is rare or often, not {updates!r}")
    columns = table.given(
        meta=meta, key=key, media=media, text=text, image=image, id_column=id_column, path_column=path_column
    )
    opened, spaces = place.opened(collection, command="index", others=[spec] if spec else (), trust=trust), space or ()
    if check:
        found = opened.check(spaces=spaces)
        show.write_json(found) if json else _print_checks(found)
        return
    built = opened.index(
        spec,
        spaces=spaces,
        recall=recall,
        k=k,
        queries=_sample(queries, columns),
        memory=memory,
        updates="often" if updates == "often" else "rare",
    )
    if json:
        show.write_json(built)
        return
    for each in built:
        what = " ".join([each.kind, *(f"{name}={value}" for name, value in each.options.items())])
        print(f"{what}: {each.vectors:,} vectors ({each.column}) in {each.seconds} s; {each.why}")
        if each.promise is not None:
            show_promise(each.promise)


def _sample(queries: Path | None, columns: dict[str, str | None]) -> Path | list[Query] | None:
    """Return sample queries as ``Collection.index`` takes them; those whose columns are named are read here."""
    if not columns:
        return queries
    if queries is None:
        raise BadSpec(f"--{next(iter(columns)).replace('_', '-')} is for the table of --queries: name it too")
    from quiver.engine.source import queries as tables
    from quiver.engine.tasks.own_files import columns as media

    named = {key: columns.get(key) for key in ("text", "image")}
    plain = {name: value for name, value in columns.items() if name not in (*named, "media")}
    asked = tables.read(queries, options={**plain, "media": media(columns.get("media"), named)})
    return [Query(**each.given) for each in asked.queries]


def show_promise(promise: RecallTarget) -> None:
    """Print a recall target and the settings that reach it, for each depth and selectivity."""
    print(f"  recall@{promise.k} {promise.recall}: {promise.state}; measured {promise.at} on {promise.source}")
    rows = [
        (
            each.k,
            f"{each.selectivity:.1%}",
            " ".join(f"{name}={value}" for name, value in each.spend.items()) if each.spend else "exact scan",
            f"{each.recall:.4f}" if each.spend else "1",
            f"{each.ms if each.spend else each.exact_ms:.2f}",
            f"{each.exact_ms:.2f}",
        )
        for each in promise.settings
    ]
    show.write_table(("k", "rows", "settings", "recall", "ms", "exact ms"), rows)


def _print_checks(found: list[CheckedIndex]) -> None:
    if not found:
        print("no index has a recall target: build one with `quiver index COLLECTION --recall 0.95`")
    for each in found:
        verdict = "reached" if each.kept else "missed; tuned again"
        lowest = min((point.recall for point in each.found), default=1.0)
        print(f"{each.kind} ({each.column}): target {each.recall}, lowest measured {lowest:.4f}: {verdict}")
        show_promise(each.promise)
