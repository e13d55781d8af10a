"""``quiver caption``: describe media or stored items in words."""

import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Annotated, Any

import typer

from quiver.cli import place, show
from quiver.errors import BadMedia, BadSpec


def caption(
    collection: Annotated[
        str | None, typer.Argument(help="Folder or object-store URI of a collection, to describe its items.")
    ] = None,
    ids: Annotated[list[str] | None, typer.Argument(help="Ids of items of the collection.")] = None,
    image: Annotated[list[str] | None, typer.Option(help="Picture to describe; may be repeated.")] = None,
    video: Annotated[list[str] | None, typer.Option(help="Video to describe; may be repeated.")] = None,
    before: Annotated[str | None, typer.Option(help="Picture before a change.")] = None,
    after: Annotated[str | None, typer.Option(help="Picture after the change; the change is described.")] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Model that describes, such as 'transformers model=Salesforce/blip-image-captioning-base'; by"
            " default the one that wrote captions of the collection."
        ),
    ] = None,
    beams: Annotated[int, typer.Option(help="Width of the beam search; 1 is greedy decoding.")] = 1,
    most: Annotated[int, typer.Option(help="Largest number of captions of each item, at most BEAMS.")] = 1,
    trust: show.Trust = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Describe pictures, videos, a change between two pictures, or stored items in words. Nothing is stored.

    ``quiver add --tell`` stores captions.
    """
    import quiver

    wanted = [{"image": each} for each in image or ()] + [{"video": each} for each in video or ()]
    if before is not None or after is not None:
        wanted.append({name: value for name, value in (("before", before), ("after", after)) if value is not None})
    if wanted and (collection is not None or encoder is None):
        raise BadSpec("files are described by a model: give --encoder SPEC, and no collection")
    if not wanted and not (collection is not None and ids):
        raise BadSpec("nothing to describe: give --image, --video, --before and --after, or a collection and ids")
    asked: list[tuple[dict[str, Any], Callable[[], list[Any]]]]
    if wanted:
        write = partial(quiver.caption, encoder=encoder, beams=beams, most=most)
        asked = [(media, partial(write, **media)) for media in wanted]
    else:
        target = place.opened(str(collection), command="caption", others=ids or (), trust=trust)
        asked = [({"id": id}, partial(target.caption, id, encoder=encoder, beams=beams, most=most)) for id in ids or ()]
    told = [{**named, **_told(ask, alone=len(asked) == 1)} for named, ask in asked]
    if json:
        show.write_json(told)
    else:
        for each in told:
            _print(each, alone=len(told) == 1)
    if any("problem" in each for each in told):
        raise typer.Exit(1)


def _told(ask: Callable[[], list[Any]], *, alone: bool) -> dict[str, Any]:
    """Return captions, or the problem of a file that is one of several: the others are described all the same."""
    try:
        return {"captions": [asdict(each) for each in ask()]}
    except BadMedia as error:
        if alone:
            raise
        return {"captions": [], "problem": str(error)}


def _print(told: dict[str, Any], *, alone: bool) -> None:
    if "problem" in told:
        print(f"quiver: {told['problem']}", file=sys.stderr)
    elif not alone:
        print(show.escaped(" ".join(str(value) for name, value in told.items() if name != "captions")))
    for each in told["captions"]:
        print(f"{'' if alone else '  '}{each['score']:.3f}  {show.escaped(each['text'])}")
