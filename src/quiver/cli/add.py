"""``quiver add``: put items into a collection, or give those in it another encoder's vectors."""

from typing import Annotated

import typer

from quiver.cli import show
from quiver.types import Metric

Collection = Annotated[str, typer.Argument(help="Folder or object-store URI of the collection.")]


def add(
    collection: Collection,
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Folders, files, globs, CSV/TSV/JSONL/Parquet manifests, webdataset tars, vectors."),
    ] = None,
    encoder: Annotated[
        list[str] | None, typer.Option(help="Encoder spec such as 'timm model=mobilenetv2_100'; may be repeated.")
    ] = None,
    meta: Annotated[str | None, typer.Option(help="Table of metadata to join to the files.")] = None,
    key: Annotated[str | None, typer.Option(help="Its column that names the files.")] = None,
    media: Annotated[
        str | None, typer.Option(help="Keys wanted ('video'), and columns that hold one ('audio=sound').")
    ] = None,
    space: Annotated[
        str | None, typer.Option(help="Take the paths as ready-made vectors, of a space so called.")
    ] = None,
    of: Annotated[str, typer.Option(help="With --space: what was embedded.")] = "image",
    metric: Annotated[Metric, typer.Option(help="With --space: cosine, dot or l2.")] = "cosine",
    workers: Annotated[int | None, typer.Option(help="Processes that decode.")] = None,
    catch_up: Annotated[bool, typer.Option(help="Whether indexes that fell far behind are brought up to date.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Add items. Run it again after a crash or with more files: it goes on from where it was.

    Without PATHS, the items already there are embedded by the given encoder.
    """
    import quiver
    from quiver.engine.ingest.pipeline import Report

    target = quiver.open(collection, catch_up=catch_up)
    if space is None:
        report = target.add(*(paths or ()), encoder=encoder or (), meta=meta, key=key, media=media, workers=workers)
    else:
        report = Report()
        for path in paths or ():
            report = report.plus(target.add_vectors(path, space=space, key=of, metric=metric, meta=meta))
    if not target.wait(0):
        show.warn("bringing indexes up to date; searches go on meanwhile, and this may be stopped")
        target.wait()
    if json:
        show.write_json(report)
        return
    for note in report.notes:
        show.warn(note)
    counts = f"{report.added:,} added, {report.updated:,} updated, {report.unchanged:,} unchanged"
    print(f"{counts}, {report.embedded:,} embedded, {report.quarantined:,} quarantined in {report.seconds:.1f} s")
    if report.quarantined:
        show.warn(f"`quiver info {collection}` lists the quarantined items and why")
