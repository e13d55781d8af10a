"""``quiver add``: add items to a collection, or embed stored items with another encoder."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from quiver.cli import place, show, table
from quiver.types import Metric

if TYPE_CHECKING:
    from quiver.engine.collection import Collection
    from quiver.engine.ingest.report import Report

#: Number of printed ids of items whose files are gone; ``--json`` has them all.
_LISTED = 50


def add(
    context: typer.Context,
    collection: place.Place,
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Folders, files, globs, CSV/TSV/JSONL/Parquet manifests, webdataset tars, vectors."),
    ] = None,
    encoder: Annotated[
        list[str] | None, typer.Option(help="Encoder spec such as 'timm model=mobilenetv2_100'; may be repeated.")
    ] = None,
    meta: table.Meta = None,
    key: table.Key = None,
    media: table.Media = None,
    text: table.Text = None,
    image: table.Image = None,
    id_column: table.IdColumn = None,
    path_column: table.PathColumn = None,
    space: Annotated[
        str | None, typer.Option(help="Read the paths as ready-made vectors of a space with this name.")
    ] = None,
    of: Annotated[
        str | None,
        typer.Option(
            help="With --space: the embedded medium; by default image, or as a clip-retrieval folder names it."
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(help="With --space: the array of an npz, or the column of a Parquet file.", metavar="NAME"),
    ] = None,
    metric: Annotated[
        Metric, typer.Option(help="With --space: how vectors are compared: cosine, dot or l2.")
    ] = "cosine",
    window: Annotated[
        float | None,
        typer.Option(
            help="Split videos and sounds into windows of this many seconds; each is an item with film, start and end.",
            metavar="SECONDS",
        ),
    ] = None,
    stride: Annotated[
        float | None,
        typer.Option(
            help="With --window: seconds from one window to the next (default: the window).", metavar="SECONDS"
        ),
    ] = None,
    tell: Annotated[
        bool,
        typer.Option(
            "--tell", help="Describe the items in words by a model, and store the captions for full-text search."
        ),
    ] = False,
    teller: Annotated[
        str | None,
        typer.Option(
            help="Like --tell, by this model, such as 'transformers model=florence-community/Florence-2-base'; by"
            " default the model that wrote captions before.",
            metavar="SPEC",
        ),
    ] = None,
    caption_column: Annotated[
        str | None, typer.Option(help="With --tell: the metadata column of captions (default caption).", metavar="NAME")
    ] = None,
    beams: Annotated[
        int | None, typer.Option(help="With --tell: width of the beam search (default 1, greedy decoding).")
    ] = None,
    devices: Annotated[
        str | None,
        typer.Option(
            help="Devices that embed, each a part of every batch, such as cuda:0,cuda:1 (default: one).",
            metavar="NAMES",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Number of decoding processes; 0 decodes in this process, without limits.")
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(help="Longest time to decode one item, in seconds (default 120).")
    ] = None,
    max_memory: Annotated[
        str | None, typer.Option(help="Most memory to decode one item, such as 8GB (default 4 GB or less).")
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(help="Most pixels of a picture as it is decoded (default 268435456).")
    ] = None,
    sync: Annotated[
        bool, typer.Option("--sync", help="List stored items of these sources whose files are gone.")
    ] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Like --sync, and delete those items.")] = False,
    yes: Annotated[
        bool,
        typer.Option("--yes", "-y", help="With --prune: also delete the items of emptied sources, without asking."),
    ] = False,
    expect: Annotated[
        int | None, typer.Option(help="With --prune: delete only if exactly this many items are gone; do not ask.")
    ] = None,
    catch_up: Annotated[bool, typer.Option(help="Update stale indexes after adding.")] = True,
    trust: show.Trust = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Add items. After a crash, or to add more files, run it again: it resumes.

    Without PATHS, the stored items are embedded with the given encoder, or described with --tell.
    """
    from quiver.engine.ingest.report import Report
    from quiver.engine.tasks import own_files

    if not paths:
        place.check_named(collection, context)
    target = place.opened(collection, command="add", others=paths or (), catch_up=catch_up, trust=trust)
    if space is None:
        report = target.add(
            *(paths or ()),
            encoder=encoder or (),
            meta=meta,
            key=key,
            media=own_files.columns(media, {"text": text, "image": image}),
            workers=workers,
            max_seconds=max_seconds,
            max_memory=max_memory,
            max_pixels=max_pixels,
            id_column=id_column,
            path_column=path_column,
            sync=sync,
            prune=prune,
            expect=expect,
            window=window,
            stride=stride,
            tell=teller or tell,
            caption_column=caption_column,
            beams=beams,
            devices=devices,
        )
    else:
        report = Report()
        for path in paths or ():
            report = report.plus(
                target.add_vectors(
                    path, space=space, key=of, metric=metric, meta=meta, column=column, id_column=id_column
                )
            )
    if report.emptied and prune and expect is None:
        _delete_emptied(target, report, yes=yes)
    if not target.wait(0):
        show.warn("updating stale indexes; searches keep working, and Ctrl-C is safe")
        target.wait()
    if json:
        show.write_json(report)
        return
    _print(report, collection, pruned=prune)


def _print(report: "Report", collection: str, *, pruned: bool) -> None:
    for ids, are_deleted in ((report.gone, pruned), (report.emptied, report.deleted > len(report.gone))):
        for id in ids[:_LISTED]:
            show.warn(f"{'deleted' if are_deleted else 'gone'}: {id}")
    for line in report.lines():
        show.warn(line)
    moved = f"{report.moved:,} moved, " if report.moved else ""
    told = f"{report.captioned:,} captioned, " if report.captioned else ""
    counts = f"{report.added:,} added, {report.updated:,} updated, {moved}{report.unchanged:,} unchanged"
    print(f"{counts}, {report.embedded:,} embedded, {told}{report.quarantined:,} quarantined in {report.seconds:.1f} s")
    if report.quarantined:
        show.warn(f"`quiver quarantine {collection}` lists the quarantined items and why")


def _delete_emptied(target: "Collection", report: "Report", *, yes: bool) -> None:
    """Delete the items of emptied sources if the user confirms it."""
    count = len(report.emptied)
    question = f"{count:,} items are of folders, tables or tars in which nothing is left. Delete them?"
    if yes or (sys.stdin.isatty() and typer.confirm(question, err=True)):
        report.deleted += target.delete(report.emptied, missing_ok=True)
        kept = ("since a disk may not be mounted there", "to delete these ")
        report.notes = [note for note in report.notes if not any(part in note for part in kept)]
        report.notes.append(f"{count:,} items of emptied folders, tables or tars are deleted")
