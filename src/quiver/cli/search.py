"""``quiver search``: find items by example, by text, by id and by metadata."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from quiver.cli import place, show
from quiver.errors import BadSpec


def search(
    collection: place.Place,
    text: Annotated[list[str] | None, typer.Option(help="Text to search with; may be repeated.")] = None,
    image: Annotated[list[str] | None, typer.Option(help="An image file; may be repeated.")] = None,
    audio: Annotated[str | None, typer.Option(help="An audio file.")] = None,
    video: Annotated[str | None, typer.Option(help="A video file.")] = None,
    before: Annotated[str | None, typer.Option(help="First image of a before/after pair.")] = None,
    after: Annotated[str | None, typer.Option(help="Second image of a before/after pair.")] = None,
    vector: Annotated[
        str | None,
        typer.Option(
            help="A query vector: a file (npy), or numbers with commas; --space names its space.", metavar="V"
        ),
    ] = None,
    id: Annotated[
        list[str] | None,
        typer.Option("--id", "--like", help="Positive example: id of a stored item; may be repeated."),
    ] = None,
    unlike: Annotated[
        list[str] | None,
        typer.Option(help="Negative example: id of a stored item to move away from; may be repeated."),
    ] = None,
    unlike_text: Annotated[
        list[str] | None, typer.Option(help="Negative example: a text to move away from; may be repeated.")
    ] = None,
    unlike_image: Annotated[
        list[str] | None, typer.Option(help="Negative example: an image file to move away from; may be repeated.")
    ] = None,
    unlike_audio: Annotated[list[str] | None, typer.Option(help="Negative example: an audio file.")] = None,
    unlike_video: Annotated[list[str] | None, typer.Option(help="Negative example: a video file.")] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Id of an item that is never returned; may be repeated.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Medium to find: text, image, audio, video or pair.")] = None,
    where: Annotated[str | None, typer.Option(help="SQL condition, such as \"price < 50 AND colour = 'Red'\".")] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(help="Value of a :name in --where, such as most=50; a name repeated is a list for IN."),
    ] = None,
    k: Annotated[int, typer.Option("-k", "--limit", help="Number of hits, or of groups with --group-by.")] = 10,
    offset: Annotated[int, typer.Option(help="Skip this many top results (pagination).")] = 0,
    min_score: Annotated[
        str | None,
        typer.Option(help="Score threshold: drop hits below it; auto uses what `quiver threshold` learned."),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(
            help="Keep the best hit for each value of this metadata column; film keeps the best window of each film."
        ),
    ] = None,
    group_size: Annotated[int, typer.Option(help="With --group-by: hits to keep per group.")] = 1,
    order_by: Annotated[
        str | None,
        typer.Option(help="Sort the best k hits by a metadata column, such as price or 'price desc'; others stay out."),
    ] = None,
    deduplicate: Annotated[
        float | None,
        typer.Option(help="Fold hits whose cosine similarity to a better hit is at least this, such as 0.98."),
    ] = None,
    diversity: Annotated[
        float | None, typer.Option(help="Share of diversity in the order of the hits, from 0 to 1 (MMR), such as 0.3.")
    ] = None,
    group: Annotated[str | None, typer.Option(hidden=True)] = None,
    per_group: Annotated[int | None, typer.Option(hidden=True)] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(help="Search this vector space instead of the default; repeated: fuse the lists by rank."),
    ] = None,
    fuse: Annotated[
        bool, typer.Option("--fuse", help="Search every space that can answer, and fuse the lists by rank.")
    ] = False,
    index: Annotated[str | None, typer.Option(help="Force a kind of index: exact, faiss or lance.")] = None,
    weight: Annotated[
        list[str] | None, typer.Option(help="Weight of one query input, such as text=2; may be repeated.")
    ] = None,
    scorer: Annotated[str | None, typer.Option(help="Composer or reranker to rank with; 'none' uses none.")] = None,
    budget_ms: Annotated[
        float | None, typer.Option(help="Latency budget in milliseconds; a reranker scores as many candidates as fit.")
    ] = None,
    reduce: Annotated[
        Literal["mean", "max"],
        typer.Option(help="How several inputs of one medium combine: mean of their vectors, or max of their scores."),
    ] = "mean",
    hybrid: Annotated[
        bool, typer.Option("--hybrid", help="Combine vector search and full-text search for --text.")
    ] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Print the query plan without searching.")] = False,
    analyze: Annotated[
        bool, typer.Option("--analyze", help="Search, and print the plan with rows and milliseconds of each stage.")
    ] = False,
    trust: show.Trust = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON; numbers that are not finite are null.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write the hits as an HTML page with thumbnails, waveforms and key frames.")
    ] = None,
    label: Annotated[
        bool,
        typer.Option("--label", help="With --html: hits can be marked right or wrong, and the marks downloaded."),
    ] = False,
) -> None:
    """Search a collection.

    Several inputs are combined by a trained composer if there is one; otherwise each is searched separately and the
    results are fused by reciprocal rank (RRF).
    """
    from quiver.types import MEDIA, Query

    group_by = _renamed(group_by, group, "--group", "--group-by")
    group_size = _renamed(group_size, per_group, "--per-group", "--group-size")
    held: dict[str, Any] = {"text": text, "image": image, "audio": audio, "video": video}
    held |= {"before": before, "after": after}
    media = {name: _one_or_all(held[name]) for name in MEDIA if held[name]}
    shunned = {"text": unlike_text, "image": unlike_image, "audio": unlike_audio, "video": unlike_video}
    negatives = {name: _one_or_all(each) for name, each in shunned.items() if each}
    _check(media)
    _check(negatives, "unlike-")
    query = Query(
        media,
        vector=None if vector is None else _vector(vector),
        like=tuple(id or ()),
        target=target,
        k=k,
        where=where,
        params=show.params(param),
        spaces=tuple(space or ()),
        index=index,
        weights=dict(map(_weight, weight or ())),
        scorer=scorer,
        budget_ms=budget_ms,
        unlike=tuple(unlike or ()),
        unlike_media=negatives,
        order_by=order_by,
        deduplicate=deduplicate,
        diversity=diversity,
        offset=offset,
        min_score=_least(min_score),
        group_by=group_by,
        group_size=group_size,
        reduce=reduce,
        hybrid=hybrid,
        fuse=fuse,
        exclude=tuple(exclude or ()),
    )
    opened = place.opened(collection, trust=trust)
    if explain:
        plan = opened.explain(query)
        show.write_json({"hits": [], "plan": plan.to_dict(), "partial": False}) if json else print(plan)
        return
    result = opened.search(query)
    if html is not None:
        from quiver.engine.contact_sheet import write

        write(html, [(query, result)], collection=opened, label=label)
    elif label:
        raise BadSpec("--label marks hits on a page: name it with --html, as in --html page.html")
    _print(result, first=1 if group_by else offset + 1, offset=offset, json=json, analyze=analyze)


def _one_or_all(given: Any) -> Any:
    return given[0] if isinstance(given, list) and len(given) == 1 else given


def _renamed(value: Any, old: Any, name: str, now: str) -> Any:
    """Return the value of an option that may be given under its old name."""
    if old is None:
        return value
    show.warn(f"{name} is now called {now}; the old name will be removed in the next release")
    return old


def _vector(given: str) -> Any:
    """Read a query vector from a file, or from numbers with commas."""
    import numpy as np

    if not given.lower().endswith(".npy"):
        try:
            return np.array([float(word) for word in given.split(",")], np.float32)
        except ValueError:
            raise BadSpec(f"--vector {given:.40}: give an .npy file, or numbers such as 0.1,0.2") from None
    try:
        return np.load(given, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BadSpec(f"--vector: {given} cannot be read: {error}") from error


def _least(given: str | None) -> Any:
    """Read a score threshold: a number, or auto."""
    if given is None or given == "auto":
        return given
    try:
        return float(given)
    except ValueError:
        raise BadSpec(f"--min-score {given}: give a number, or auto") from None


def _weight(given: str) -> tuple[str, float]:
    name, _, number = given.partition("=")
    try:
        return name, float(number)
    except ValueError:
        raise BadSpec(f"--weight {given}: give a name and a number, such as text=2") from None


def _check(media: dict[str, Any], prefix: str = "") -> None:
    from quiver.media import locate
    from quiver.types import values_of

    for name in media:
        for value in values_of(media, name) if name != "text" else ():
            if "://" not in value and not Path(locate(value)[0]).exists():
                raise BadSpec(f"--{prefix}{name}: there is no file {value}")


def _timed(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata with the times of a window as mm:ss on a terminal; in a pipe they stay seconds."""
    from quiver.media import clock

    held = dict(meta)
    window = all(isinstance(held.get(name), float) for name in ("start", "end")) and "film" in held
    if not window or not sys.stdout.isatty():
        return held
    return {"film": held.pop("film"), "time": f"{clock(held.pop('start'))} to {clock(held.pop('end'))}", **held}


def _print(result: Any, *, first: int, offset: int, json: bool, analyze: bool) -> None:
    from quiver.engine.execution.plan import render

    if json:
        show.write_json(result.to_dict())
        return
    rows = [[n, f"{hit.score:.4f}", hit.id, show.brief(_timed(hit.meta))] for n, hit in enumerate(result, first)]
    titles = ["", "score", "id", "metadata"]
    if any(hit.folded for hit in result):
        titles.append("folded")
        for row, hit in zip(rows, result, strict=True):
            row.append(f"+{hit.folded}")
    if analyze:
        print(render(result.plan, result.actual))
    else:
        for note in result.plan.notes:
            show.warn(note)
    if not rows:
        from quiver.engine.serving import no_hits

        show.warn(f"no hits: {no_hits.reason(result, offset=offset)}")
        return
    show.write_table(titles, rows, header=False)
