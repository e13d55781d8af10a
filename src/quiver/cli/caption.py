"""``quiver caption``: describe media or stored items in words."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from quiver.cli import place, show
from quiver.errors import BadSpec


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
    told: list[dict[str, Any]] = []
    if wanted:
        for media in wanted:
            captions = quiver.caption(encoder=encoder, beams=beams, most=most, **media)
            told.append({**media, "captions": [asdict(each) for each in captions]})
    else:
        target = place.opened(str(collection), command="caption", others=ids or (), trust=trust)
        for id in ids or ():
            captions = target.caption(id, encoder=encoder, beams=beams, most=most)
            told.append({"id": id, "captions": [asdict(each) for each in captions]})
    if json:
        show.write_json(told)
        return
    for each in told:
        _print(each, alone=len(told) == 1)


def _print(told: dict[str, Any], *, alone: bool) -> None:
    captions = told.pop("captions")
    if not alone:
        print(show.escaped(" ".join(map(str, told.values()))))
    for each in captions:
        print(f"{'' if alone else '  '}{each['score']:.3f}  {show.escaped(each['text'])}")
