"""``quiver info``: describe a collection."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import typer

from quiver.cli import place, show
from quiver.cli.index import show_promise
from quiver.records import ColumnSummary, Quarantined, ThresholdSummary


def info(
    collection: place.Place,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show item counts, spaces, encoders, metadata, indexes, thresholds, and quarantined items with reasons."""
    found = place.opened(collection).info()
    if json:
        show.write_json(found)
        return
    media = ", ".join(f"{count:,} {name}" for name, count in found.media.items())
    print(f"collection: {found.uri}\nversion: {found.version}")
    print(f"items: {found.items:,} ({media or 'vectors only'})")
    if found.windows.count:
        print(f"windows: {found.windows.count:,} of {found.windows.films:,} films")
    print()
    rows = [_column(column) for column in found.columns]
    show.write_table(("embeds", "space", "dim", "metric", "revision", "indexes", "encoder", "default"), rows)
    for column in found.columns:
        for kind, promise in column.promises.items():
            print(f"\n{kind} index of {column.key} in {column.space}")
            show_promise(promise)
    for threshold in found.thresholds:
        print(f"\n{_threshold(threshold)}")
    print("\nmetadata: " + (", ".join(f"{name} ({kind})" for name, kind in found.meta.items()) or "none"))
    print(f"quarantine: {len(found.quarantine)} items")
    for line in _quarantined(found.quarantine):
        print(f"  {line}")


def _quarantined(rows: Sequence[Quarantined]) -> Iterator[str]:
    """Yield a line for each quarantined item; the windows of a film are one line, with the first of their reasons."""
    from quiver.media import clock, times

    films: dict[str, list[Quarantined]] = {}
    for row in rows:
        films.setdefault(times(row.id)[0], []).append(row)
    for film, held in films.items():
        windows = [row for row in held if row.id != film]
        yield from (f"{row.id}: {row.reason}" for row in held if row.id == film or len(windows) == 1)
        if len(windows) > 1:
            spans = [times(row.id)[1:] for row in windows]
            first, last = min(start for start, _ in spans), max(stop or start for start, stop in spans)
            said = f"{len(windows):,} windows from {clock(first)} to {clock(last)}"
            yield f"{film}: {said}: {min(windows, key=lambda row: times(row.id)[1]).reason}"


def _threshold(found: ThresholdSummary) -> str:
    late = f"; not used any more: {found.changed:.0%} of the vectors have changed" if found.stale else ""
    learned = f"learned on {found.questions:,} questions ({found.source}, {found.at[:10]})"
    return f"min_score {found.min_score:.4g} for {found.kind}: {found.promise}; {learned}{late}"


def _column(column: ColumnSummary) -> tuple[Any, ...]:
    plain = (column.key, column.space, column.dim, column.metric, column.revision[:8])
    late = {
        kind: f" ({state.share:.0%} behind: {state.tail:,} vectors are scanned beside it)"
        for kind, state in column.behind.items()
        if state.share
    }
    indexes = ", ".join(kind + late.get(kind, "") for kind in column.indexes)
    return (*plain, indexes, column.encoder or "ready-made", "yes" if column.default else "no")
