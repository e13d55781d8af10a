"""A collection: items, their vectors in typed spaces, and the operations on them."""

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, get_args

from quiver import registry
from quiver.arguments import checked, checked_methods
from quiver.conditions import Condition, condition_of
from quiver.engine.adding import Adding
from quiver.engine.browsing import Browsing
from quiver.engine.core.given_encoder import give
from quiver.engine.core.sql import among
from quiver.engine.execution.session import Session
from quiver.engine.learning import Learning
from quiver.engine.searching import Searching
from quiver.engine.serving.batcher import Batcher
from quiver.engine.serving.searcher import Searcher
from quiver.engine.storage.dropping import Dropped
from quiver.engine.storage.pruning import Pruned
from quiver.engine.storage.quarantine import Quarantine
from quiver.engine.summary import summary
from quiver.engine.tuning import index_choice
from quiver.engine.tuning.index_build import Order, each, fill
from quiver.engine.tuning.index_choice import Updates
from quiver.engine.tuning.index_tuning import Want
from quiver.engine.tuning.maintenance import Upkeep, catch_up
from quiver.engine.tuning.recall_check import check, promised
from quiver.errors import BadSpec
from quiver.protocols import Encoder, Told
from quiver.records import BuiltIndex, CheckedIndex, Summary, UpdatedIndex, Version
from quiver.trust import Reach, remember
from quiver.types import strings
from quiver.wording import either, is_blank

if TYPE_CHECKING:
    from quiver.engine.changes import Changes
    from quiver.engine.ingest.relocation import Relocated

T = TypeVar("T")
#: Default recall target if no kind of index is named.
RECALL = 0.95


@checked
def open(uri: str | Path, *, catch_up: bool = True, trust: bool = False) -> "Collection":
    """Open a collection: a folder, or a URI that Lance takes (``s3://``, ``gs://``, ``az://``).

    The first ``add`` creates it.

    Args:
        uri: path or URI of the collection.
        catch_up: update stale indexes in the background after changes.
        trust: load the encoders and read the files that the collection names, even those that this user has not named
            on this machine; both are remembered. Without it such an encoder raises ``Untrusted``, and such a file is
            not shown.

    Raises:
        BadSpec: ``uri`` is no path, or is empty.
    """
    if not isinstance(uri, str | os.PathLike) or isinstance(os.fspath(uri), bytes) or is_blank(os.fspath(uri)):
        raise BadSpec(f"a collection is a folder or a URI, such as {either('shop', repr('shop'))}, not {uri!r:.80}")
    if "\0" in str(uri):
        raise BadSpec(f"a path has no NUL character: {str(uri)!r:.80}")
    place = str(uri) if "://" in str(uri) else os.path.abspath(os.path.expanduser(uri))
    return Collection(place, catch_up=catch_up, trust=trust)


@checked_methods
class Collection(Searching, Learning, Adding, Browsing):
    """Items and their vectors, on disk as one Lance dataset.

    Attributes:
        uri: path or URI of the collection.
    """

    def __init__(self, uri: str, *, version: int | None = None, catch_up: bool = True, trust: bool = False) -> None:
        self.uri = uri
        self._reach = Reach(uri, everything=trust)
        self._background = Upkeep(uri, trusted=trust) if catch_up else None
        self._quarantine = Quarantine(f"{uri}/quarantine.lance")
        searcher = Searcher(uri, version=version, trusted=trust)
        super().__init__(searcher, Batcher(searcher))

    @cached_property
    def _changes(self) -> "Changes":
        """The writing side; it is imported by the first change, so that searches start sooner."""
        from quiver.engine.changes import Changes

        return Changes(self._searcher, self._quarantine, self._reach, self._background)

    def __repr__(self) -> str:
        return f"Collection({self.uri!r})"

    def hidden(self, reference: str) -> str | None:
        """Return the reason why a file that an item names is not shown, or None if it may be shown.

        The author of a collection can name any file of this machine. So files are shown only if they are in a folder
        from which this user added to the collection on this machine, or with ``trust=True``.
        """
        return self._reach.refuses(reference)

    def update_meta(self, values: Mapping[str, Mapping[str, Any]]) -> int:
        """Set metadata of items by id; returns the number of changed items.

        New columns are created as needed. If a value does not fit its column, the type of the column widens: integers
        to floats, dates to timestamps, anything else to text, with a warning in the log. None clears a value.

        Raises:
            BadSpec: an id is not stored, or a value is cleared in a column that does not exist.
            BadData: a column name is invalid, or a value cannot be stored; nothing is changed then.
        """
        return self._changes.update_meta(values)

    def delete(
        self,
        ids: str | Iterable[str] | None = None,
        *,
        where: str | Condition | None = None,
        params: Mapping[str, Any] | Sequence[Any] = (),
        expect: int | None = None,
        missing_ok: bool = False,
    ) -> int:
        """Delete items by id or by condition. Earlier versions keep them.

        Args:
            ids: one id or several.
            where: an SQL condition, as in ``search``; it must name a column.
            params: values of its parameters: by name for ``:name``, or in order for ``?``.
            expect: number of items that this must delete, as ``count`` returned it.
            missing_ok: skip ids that are not stored, as those that another process deleted meanwhile.

        Returns:
            The number of deleted items.

        Raises:
            BadSpec: the condition is invalid, an id is not stored, or the number of matching items is not ``expect``;
                nothing is deleted then.
        """
        condition = condition_of(where, params)
        if (ids is None) == (condition is None):
            shown = "delete('a.jpg') or delete(where=\"price > 9\")"
            commands = '`quiver delete COLLECTION a.jpg` or `quiver delete COLLECTION --where "price > 9"`'
            raise BadSpec(f"delete takes either ids or a condition: {either(commands, shown)}")
        if expect is not None and (not isinstance(expect, int) or isinstance(expect, bool)):
            raise BadSpec(f"expect takes the number of items to delete, not {expect!r:.80}")
        named = () if ids is None else strings(ids, "delete")
        table = self._changes.table()
        count = table.delete(condition or among("id", named), expect=expect, ids=() if missing_ok else named)
        self._changes.follow(table)
        return count

    def index(
        self,
        spec: str | None = None,
        *,
        spaces: str | Sequence[str] = (),
        recall: float | None = None,
        k: int = 10,
        queries: Any = None,
        memory: int | str | None = None,
        updates: Updates = "rare",
    ) -> list[BuiltIndex]:
        """Build an index of every vector column, or of those in some spaces; the old index serves meanwhile.

        With a recall target, index settings are measured for several selectivities, and searches are planned to reach
        the target; ``info`` shows it. An index that replaces one with a recall target gets the same target.

        Args:
            spec: kind of index and options, such as ``"faiss factory=IVF256,Flat"`` or ``"lance kind=IVF_RQ"``; None
                chooses by size, dimension, memory and update rate, and may choose exact scans.
            spaces: names of spaces; vectors that bridges compute are indexed only if their space is named.
            recall: recall target: mean fraction of the true top k that searches find; 0.95 if no spec is given.
            k: the k of the recall target.
            queries: sample queries to tune on: (q, dim) vectors, a file of vectors (npy, npz) or of texts (txt), a
                list of ``Query`` with media, or sources as for ``add``. By default stored vectors of another key in the
                same space, or of the column.
            memory: memory limit, in bytes or as ``8GB``; by default most of the free memory.
            updates: how often vectors change, ``rare`` or ``often``.

        Returns:
            A description of each index: column, kind, options, why, vectors, seconds, promise (the recall target).

        Raises:
            BadSpec: there is no such kind, or a column cannot be indexed, for example because memory is too small; the
                other columns are indexed all the same.
        """
        named = strings(spaces, "spaces")
        if updates not in get_args(Updates):
            raise BadSpec(f"updates must be one of {', '.join(get_args(Updates))}, not {updates!r:.80}")
        if isinstance(queries, bool | int | float):
            raise BadSpec(f"queries takes sample vectors, texts, files or Items, not {queries!r:.80}")
        from quiver.engine.ingest.words import index_words

        index_words(self._changes.table())
        kind, options = registry.split(spec) if spec is not None else (None, {})
        if kind is not None and "." in kind:  # a third-party module that the user names
            remember("index", kind)
        wanted = recall if recall is not None or spec is not None else RECALL
        if isinstance(queries, str | os.PathLike) and not os.path.exists(os.path.expanduser(queries)):
            raise BadSpec(f"there is no file {os.fspath(queries)} of sample queries")
        want = None if wanted is None else Want(wanted, k, queries)
        order = Order(kind, options, want, index_choice.parse(memory) if isinstance(memory, str) else memory, updates)
        return self._changes.upkeep(
            lambda session: each(session, named, lambda own, column: [fill(own, column, order)])
        )

    def check(self, *, spaces: str | Sequence[str] = ()) -> list[CheckedIndex]:
        """Check with fresh queries whether indexes still reach their recall targets; tune those again that do not.

        Returns:
            A description of each index: column, kind, recall target and measured recall, whether the target was
            reached, and the recall target now.
        """
        named = strings(spaces, "spaces")

        def checked(session: Session) -> list[CheckedIndex]:
            names = named or promised(session)
            return each(session, names, check) if names else []

        return self._changes.upkeep(checked)

    def catch_up(self) -> list[UpdatedIndex]:
        """Update stale indexes; returns column, kind, how, vectors and seconds of each.

        Raises:
            QuiverError: an index cannot be built any more, or there is not enough memory for it.
        """
        return self._changes.upkeep(catch_up)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for background index updates, at most so many seconds; returns whether they are done."""
        return self._background is None or self._background.wait(seconds)

    def use(self, *encoders: Encoder) -> Self:
        """Give encoder objects that were added as objects; needed once per process, before searches that embed.

        Args:
            encoders: objects with the ``name`` and ``revision`` that they had when they were added.

        Returns:
            The collection, as in ``quiver.open("shop").use(model)``.

        Raises:
            BadSpec: an object does not meet the protocol ``Encoder``, or states no name and revision.
        """
        for encoder in encoders:
            give(encoder)
        return self

    def relocate(self, old: str | Path, new: str | Path, *, check: bool = True) -> "Relocated":
        """Tell the collection that files have moved: replace a folder in the references of all items.

        Ids, vectors and metadata stay. Later adds of the new folder give the same ids.

        Args:
            old: the folder as stored (``info`` of an item shows it), or the start of URIs such as ``s3://bucket/a``.
            new: the folder, or the start of URIs, where the files are now.
            check: look for some of the files at the new place first.

        Raises:
            BadSpec: no item refers to a file below ``old``, or items from ``new`` are stored already.
            BadData: none of the files is at the new place; nothing is changed then.
        """
        from quiver.engine.ingest.relocation import relocate

        done = relocate(self._changes.table(), str(old), str(new), check=check)
        if "://" not in str(new):
            self._reach.add([os.path.abspath(os.path.expanduser(new))])
        return done

    def caption(self, id: str, *, encoder: str | None = None, beams: int = 1, most: int = 1) -> list[Told]:
        """Describe a stored item in words. Nothing is stored; ``add(tell=...)`` stores captions.

        Args:
            id: the item.
            encoder: spec of a model that describes media; by default the one that ``add(tell=...)`` used.
            beams: width of the beam search; 1 is greedy decoding.
            most: largest number of captions, at most ``beams``.

        Returns:
            Captions with their scores, best first.

        Raises:
            BadMedia: its files cannot be decoded.
            BadSpec: there is no such item or model, or the model does not describe such media.
        """
        return self._changes.caption(id, encoder, beams=beams, most=most)

    def default(self, key: str, space: str) -> None:
        """Choose the space that searches for a key use if they name none; at first it is that of the first encoder.

        Args:
            key: text, image, audio, video or pair.
            space: name of a space with vectors of this key; with its revision (``artemis@1a2b3c4d``) if it is shared.

        Raises:
            BadSpec: no vectors of this key are in such a space, or several spaces have the name.
        """
        self._changes.choose_default(key, space)

    def drop(self, name: str, *, dry_run: bool = False) -> Dropped:
        """Drop an encoder, or ready-made vectors, with indexes and scorers in one commit; all else stays.

        Args:
            name: spec of the encoder, or one of its spaces; an encoder goes as a whole.
            dry_run: describe only.

        Raises:
            BadSpec: no encoder or space has the name, or several spaces have it.
        """
        return self._changes.drop(name, dry_run=dry_run)

    def versions(self) -> list[Version]:
        """Return all versions: number, time and number of items."""
        return self._session().table.history()

    def prune(self, *, days: float = 7) -> Pruned:
        """Remove versions older than ``days``, and the files that only they use, to free disk space.

        Those versions cannot be checked out any more. Reading the metadata of hits from such a version may fail, so do
        not prune to 0 days while others search.
        """
        return self._changes.prune(days)

    def checkout(self, version: int) -> "Collection":
        """Return the collection at a version, read-only.

        Raises:
            BadCollection: there is no such version.
        """
        past = Collection(self.uri, version=version, trust=self._searcher.trusted)
        past._session()
        return past

    def info(self) -> Summary:
        """Describe the collection: items by key, spaces, encoders, metadata, indexes, score thresholds, quarantine."""
        return summary(self.uri, self._session(), self._quarantine)

    def _session(self) -> Session:
        """Return the session at the newest version.

        Raises:
            BadCollection: there is no collection yet.
        """
        return self._searcher.session()
