"""Models that describe media in words: choose one, and describe media or stored items with it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from quiver import registry
from quiver.arguments import checked
from quiver.engine.core.caption import check_column
from quiver.engine.core.encoder import Loaded, load
from quiver.engine.core.sql import among
from quiver.engine.ingest.captions import Captions, Order
from quiver.engine.ingest.known import items_of
from quiver.engine.ingest.options import Options, Tell, beam_width
from quiver.engine.ingest.progress import track
from quiver.engine.ingest.report import Report
from quiver.engine.source.given import Stored
from quiver.engine.storage.dataset import Table
from quiver.engine.storage.quarantine import Quarantine
from quiver.engine.storage.unknown_ids import check_stored
from quiver.errors import BadSpec, Untrusted
from quiver.protocols import Teller, Told
from quiver.trust import Reach, accepting, give
from quiver.trust import check as check_encoder
from quiver.types import MEDIA, keys_of, source_of, strings
from quiver.wording import option

#: Advice where no model is named.
_NAME_ONE = "name a model that describes media, such as 'transformers model=Salesforce/blip-image-captioning-base'"


def named(spec: str) -> Loaded:
    """Load a model that the user names.

    Raises:
        BadSpec: there is no such model, or it does not describe media.
    """
    spec = registry.canonical(spec)
    give(spec)
    return _describing(load(spec))


def chosen(table: Table | None, encoders: Sequence[Loaded] = (), *, column: str | None = None, place: str) -> Loaded:
    """Load the model to describe items of a collection with, if the user names none.

    It is one of the encoders that are just used; else the one that wrote captions before; else an encoder of the
    collection that describes media.

    Args:
        table: the collection; None if it does not exist yet.
        encoders: encoders of an add.
        column: the caption column; None for any.
        place: where the collection is.

    Raises:
        BadSpec: there is none.
        Untrusted: the collection names one that this user has not named on this machine.
    """
    if found := next((each for each in encoders if each.tellers), None):
        return found
    written = {} if table is None else table.tellers
    own = {} if table is None else table.encoders
    specs = [written[column]] if column in written else [] if column else list(written.values())
    specs += [*written.values(), *(spec for spec, described in own.items() if described.get("tells"))]
    if not specs:
        raise BadSpec(f"no encoder of the collection describes media: {_NAME_ONE}")
    check_encoder(specs[0], place=place)
    return _describing(load(specs[0]))


def _describing(loaded: Loaded) -> Loaded:
    if not loaded.tellers:
        raise BadSpec(
            f"the encoder {loaded.spec!r} does not describe media (a trained model does if captions were part of its"
            f" training: see its README): {_NAME_ONE}"
        )
    return loaded


@checked
def caption(
    *,
    encoder: Any,
    image: Any = None,
    video: Any = None,
    audio: Any = None,
    before: Any = None,
    after: Any = None,
    beams: int = 1,
    most: int = 1,
) -> list[Told]:
    """Describe media in words: a picture, a video, or the change from one picture to another.

    ``caption(image="a.jpg", encoder="transformers model=Salesforce/blip-image-captioning-base")``

    Args:
        encoder: spec of a model that describes media, or an encoder with ``tellers``.
        image: a picture: path, URI, bytes or array.
        video: a video.
        audio: a sound.
        before: a picture; with ``after``, the change is described.
        after: a picture.
        beams: width of the beam search; 1 is greedy decoding.
        most: largest number of captions, at most ``beams``.

    Returns:
        Captions with their scores, best first.

    Raises:
        BadMedia: a file cannot be decoded.
        BadSpec: the model does not describe such media, or an option is invalid.
    """
    given = {"image": image, "video": video, "audio": audio, "before": before, "after": after}
    media = {name: value for name, value in given.items() if value is not None}
    _check_widths(beams, most)
    _check_media(media)
    loaded = named(encoder) if isinstance(encoder, str) else _describing(Loaded(type(encoder).__name__, encoder))
    return tell(loaded, [media], beams=beams, most=most)[0]


def tell(loaded: Loaded, items: Iterable[Mapping[str, Any]], *, beams: int = 1, most: int = 1) -> list[list[Told]]:
    """Describe media of several items, each by itself if they differ in kind.

    Args:
        loaded: the model.
        items: media by name.
        beams: width of the beam search.
        most: largest number of captions of one item.

    Raises:
        BadMedia: a file cannot be decoded.
        BadSpec: the model does not describe the media of an item, or an option is invalid.
    """
    _check_widths(beams, most)
    keys = [_key(loaded, media) for media in items]
    read = [
        (key, loaded.tellers[key].reader(key)(source_of(media, key))) for key, media in zip(keys, items, strict=True)
    ]
    found: list[list[Told]] = [[] for _ in read]
    for key in dict.fromkeys(keys):
        places = [n for n, (other, _) in enumerate(read) if other == key]
        with loaded.lock:
            told = loaded.tellers[key].tell(key, [read[n][1] for n in places], beams=beams, most=most)
        for n, each in zip(places, told, strict=True):
            found[n] = each
    return found


def _check_widths(beams: int, most: int) -> None:
    beam_width(beams)
    if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= beams:
        raise BadSpec(
            f"{option('most')} must be a whole number from 1 to {option('beams')}, which is {beams}, not {most!r}"
        )


def _check_media(media: Mapping[str, Any]) -> None:
    if ("before" in media) != ("after" in media):
        raise BadSpec(f"a pair needs both {option('before')} and {option('after')}")
    if not keys_of(media):
        raise BadSpec("nothing to describe: give an image, a video, or before and after")


def _key(loaded: Loaded, media: Mapping[str, Any]) -> str:
    _check_media(media)
    held = keys_of(media)
    key = next((key for key in _order(loaded.tellers) if key in held), None)
    if key is None:
        raise BadSpec(f"{loaded.spec!r} describes {' and '.join(loaded.tellers)}, not {' or '.join(held)}")
    return key


def _order(tellers: Mapping[str, Teller]) -> list[str]:
    """Order the keys of tellers: an item is described by the first that it has, a change before a single picture."""
    return sorted(tellers, key=("pair", "video", "image", "audio", "text").index)


def check(tell: Tell | None, origins: Iterable[Any]) -> None:
    """See that sources bring no column of the name of the caption column, before anything is added.

    Raises:
        BadSpec: one does.
    """
    for origin in origins if tell is not None else ():
        assert tell is not None, "captions are asked for"
        check_column(tell.column, origin.schema)


class Telling:
    """Describes stored items of one collection.

    Args:
        uri: where it is.
        reach: the files that may be read.
        quarantine: of items without a caption.
        trusted: whether to use models that only the collection names.
    """

    def __init__(self, uri: str, reach: Reach, quarantine: Quarantine, *, trusted: bool) -> None:
        self._uri, self._reach, self._quarantine, self._trusted = uri, reach, quarantine, trusted

    def model(self, tell: Tell, table: Table | None, encoders: Callable[[], Sequence[Loaded]]) -> Loaded:
        """Load the model that writes captions, and see that it may write its column.

        Args:
            tell: what is asked for.
            table: the collection; None if it does not exist yet.
            encoders: returns the encoders of the add.
        """
        if table is not None:
            check_column(tell.column, table.schema)
        if tell.spec is not None:
            return named(tell.spec)
        with accepting(self._trusted):
            return chosen(table, encoders(), column=tell.column, place=self._uri)

    def write(self, table: Table, loaded: Loaded, options: Options, report: Report, *, ids: set[str] | None) -> None:
        """Write captions of stored items, and count them in a report.

        Args:
            table: the collection.
            loaded: the model.
            options: of the add.
            report: is changed.
            ids: the items; None for all.
        """
        tell = options.tell
        assert tell is not None, "captions are asked for"
        table.record_teller(tell.column, loaded.spec)
        order = Order({key: loaded.tellers[key] for key in _order(loaded.tellers)}, tell.column, tell.beams, ids)
        run = Captions(table, order, quarantine=self._quarantine, options=options, report=report)
        total = table.count() if ids is None else len(ids)
        for _ in track(run.run(Stored(table, self._reach)), total=total, show=options.progress):
            pass

    def caption(self, table: Table, id: str, spec: str | None, *, beams: int, most: int) -> list[Told]:
        """Describe a stored item: see ``Collection.caption``."""
        found = table.read(["id", *MEDIA], where=among("id", strings(id, "caption")))
        check_stored(table, [id], found["id"].to_pylist())
        item = items_of(found)[0]
        for name, reference in item.media.items():
            if name != "text" and (reason := self._reach.refuses(reference)):
                raise Untrusted(f"item {item.id!r}: {reason}")
        with accepting(self._trusted):
            loaded = chosen(table, place=self._uri) if spec is None else named(spec)
        return tell(loaded, [item.media], beams=beams, most=most)[0]
