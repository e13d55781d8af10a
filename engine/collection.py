"""A collection: items, their vectors in typed spaces, and everything one does with them."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, Unpack

from quiver import registry
from quiver.conditions import condition_of
from quiver.engine import source
from quiver.engine.core.column import Column, given_space
from quiver.engine.core.encoder import Loaded, load
from quiver.engine.core.sql import among
from quiver.engine.execution.plan import Plan, Result
from quiver.engine.execution.query_batch import many_of_both, one_of_both
from quiver.engine.execution.results import Results
from quiver.engine.execution.session import Session
from quiver.engine.ingest.meta_update import update
from quiver.engine.ingest.options import AddOptions, Options, VectorOptions, known_options
from quiver.engine.ingest.pipeline import Ingest, take_vectors
from quiver.engine.ingest.progress import track
from quiver.engine.ingest.report import Report
from quiver.engine.ingest.stored_roots import keep, roots_of
from quiver.engine.ingest.sync import compare
from quiver.engine.ingest.words import index_words
from quiver.engine.serving.answer import explain
from quiver.engine.serving.batcher import Batcher, each_alone
from quiver.engine.serving.paging import pages
from quiver.engine.serving.searcher import Searcher
from quiver.engine.source.given import Given, Stored
from quiver.engine.source.roots import Roots
from quiver.engine.statistics.scorer_recall import Measured
from quiver.engine.storage.dataset import Table
from quiver.engine.storage.index_files import Cache
from quiver.engine.storage.pruning import Pruned, prune
from quiver.engine.storage.quarantine import Quarantine
from quiver.engine.summary import summary
from quiver.engine.tuning import index_choice
from quiver.engine.tuning.index_build import Order, each, fill
from quiver.engine.tuning.index_choice import Updates
from quiver.engine.tuning.index_tuning import Want
from quiver.engine.tuning.maintenance import Upkeep, catch_up, wanted
from quiver.engine.tuning.recall_check import check
from quiver.engine.tuning.scorer_measure import Learnt, fit, measure
from quiver.errors import BadSpec, NoCollection
from quiver.malloc import share_arenas
from quiver.trust import Reach, accepting, give, remember
from quiver.trust import check as check_encoder
from quiver.types import KEYS, Ask, Item, Metric, Query, strings

T = TypeVar("T")
#: The encoder of a collection that was given none: it needs no weights.
DEFAULT_ENCODER = "classic"
#: What an index promises that was not told what to be.
RECALL = 0.95


def open(uri: str | Path, *, catch_up: bool = True, trust: bool = False) -> "Collection":
    """Open a collection: a folder, or a URI that Lance takes (``s3://``, ``gs://``, ``az://``).

    The first ``add`` creates it.

    Args:
        uri: where it is.
        catch_up: bring indexes that fell far behind up to date in the background after changes.
        trust: load the encoders and read the files that the collection names, even those that this user has not named
            on this machine; both are remembered. Without it such an encoder raises ``Untrusted``, and such a file is
            not shown.
    """
    place = str(uri) if "://" in str(uri) else os.path.abspath(os.path.expanduser(uri))
    return Collection(place, catch_up=catch_up, trust=trust)


class Collection:
    """Items and their vectors, on disk as one Lance dataset.

    Attributes:
        uri: where it is.
    """

    def __init__(self, uri: str, *, version: int | None = None, catch_up: bool = True, trust: bool = False) -> None:
        self.uri = uri
        self._trusted = trust
        self._reach = Reach(uri, everything=trust)
        self._background = Upkeep(uri, trusted=trust) if catch_up else None
        self._version = version
        self._quarantine = Quarantine(f"{uri}/quarantine.lance")
        self._searcher = Searcher(uri, version=version, trusted=trust)
        self._batcher = Batcher(self._searcher)

    def __repr__(self) -> str:
        return f"Collection({self.uri!r})"

    def __len__(self) -> int:
        with self._batcher.alone():
            return self._session().count(None)

    def add(
        self,
        *sources: str | Path | Item,
        encoder: str | Sequence[str] = (),
        meta: str | Path | None = None,
        key: str | None = None,
        media: str | None = None,
        **options: Unpack[AddOptions],
    ) -> Report:
        """Add items, or give the items that are here the vectors of another encoder.

        Args:
            sources: folders, files, globs, manifests (CSV, TSV, JSONL, Parquet), webdataset tars, or Items. Without
                any, the items already here are embedded by the given encoder.
            encoder: spec or specs, such as ``"timm model=mobilenetv2_100"``. Without any, the encoders the collection
                has, or ``classic``.
            meta: a table of metadata to join to files.
            key: the column of that table that names the files; found by its content otherwise.
            media: the keys wanted (``"video"``), and columns that hold one (``"audio=sound,text=caption"``).
            options: how items are read and compared with what is stored: see ``AddOptions``.

        Returns:
            What was added, updated, skipped and quarantined.

        Raises:
            BadData: a source cannot be read, or its metadata cannot be stored; nothing is added then.
            BadSpec: an encoder cannot be named so.
            MissingWeights: an encoder's weights are not here.
        """
        if isinstance(memory := options.get("max_memory"), str):
            options["max_memory"] = index_choice.parse(memory)
        chosen = Options.of(options)
        share_arenas()
        if odd := [each for each in sources if not isinstance(each, str | os.PathLike | Item)]:
            raise BadSpec(f"add takes paths and Items, one by one, as in add(*items), not a {type(odd[0]).__name__}")
        items = [each for each in sources if isinstance(each, Item)]
        paths = [str(each) for each in sources if not isinstance(each, Item)]
        if chosen.sync and not paths:
            raise BadSpec("sync compares a collection with its files: name the folders, tables or tars to compare")
        named = dict.fromkeys(map(registry.canonical, strings(encoder, "encoder")))
        given: list[source.Source] = [Given.of(items)] if items else []
        table_of = None if meta is None else str(meta)

        def opened(roots: Roots) -> list[source.Source]:
            if not paths:
                return []
            return [source.open(paths, meta=table_of, key=key, media=media, roots=roots, **chosen.columns)]

        origins = [*given, *opened(roots := roots_of(self._present()))]
        encoders = self._loaded(named)
        table = self._writer(create=bool(origins), roots=roots)
        while not keep(table, roots):  # another process took a name meanwhile
            origins = [*given, *opened(roots := roots_of(table))]
        encoders = encoders or self._loaded(table.encoders or (DEFAULT_ENCODER,), stored=True)
        typed = [each.beside(table.schema) if isinstance(each, Given) else each for each in origins]
        origin = source.chain(typed, check=bool(items)) if typed else Stored(table, self._reach)
        reach = self._reach if typed else None
        ingest = Ingest(table, encoders, quarantine=self._quarantine, options=chosen, reach=reach)
        for _ in track(ingest.run(origin), total=origin.total, show=chosen.progress):
            pass
        report = ingest.report
        report.notes[:0] = roots.notes
        if chosen.sync:
            compare(table, roots.used, ingest.seen, report=report, prune=chosen.prune)
        report.notes += self._settle(table, changed=report.changed)
        return report

    def _loaded(self, specs: Iterable[str], *, stored: bool = False) -> list[Loaded]:
        """Load encoders that the user names, or that are stored in the collection."""
        with accepting(self._trusted):
            for spec in specs:
                check_encoder(spec, place=self.uri) if stored else give(spec)
            return [load(spec) for spec in specs]

    def hidden(self, reference: str) -> str | None:
        """Say why a file that an item names is not shown; None where it may be.

        Whoever made the collection could have named any file of this machine. So only files are shown below folders
        from which this user added to the collection on this machine, or with ``trust=True``.
        """
        return self._reach.refuses(reference)

    def add_vectors(
        self,
        vectors: Any,
        *,
        space: str,
        ids: Sequence[str] | None = None,
        key: str | None = None,
        metric: Metric = "cosine",
        meta: Any = None,
        **options: Unpack[VectorOptions],
    ) -> Report:
        """Add ready-made vectors: an array, or files (npy, npz, Parquet, or a folder of them).

        An id that is already here gets the new vector and metadata.

        Args:
            vectors: (n, dim) numbers, or the path of a file or folder.
            space: the name of their space.
            ids: an id for each row of an array. Files bring their own, from a column ``id`` or their row numbers.
            key: what was embedded: text, image, audio, video or pair. By default image; in a folder that clip-retrieval
                wrote, image and text, as far as both are there.
            metric: how vectors are compared: cosine, dot or l2.
            meta: metadata of each vector, in order. For an array a mapping of columns, a list of dicts, or a data
                frame (pyarrow, pandas, polars); for files the path of a table.
            options: how files are read: see ``VectorOptions``.

        Raises:
            BadData: vectors or metadata cannot be read, or the space holds vectors of another width or metric.
            BadSpec: ids are missing or not unique, numbers of rows differ, or a name cannot be used.
        """
        if key is not None and key not in KEYS:
            raise BadSpec(f"key must be one of {', '.join(KEYS)}, not {key!r}")
        read = known_options(options, VectorOptions, "add_vectors")
        show = read.pop("progress", None)
        share_arenas()
        parts = [
            (source.given_or_stored(vectors, ids, meta, **{**read, "column": column}), part)
            for part, column in source.vector_parts(vectors, key, read.get("column"))
        ]
        columns = [Column(part, given_space(space, origin.dim, metric), None) for origin, part in parts]
        table = self._writer(create=True)
        table.check_fields([column.field() for column in columns])
        report = Report()
        for (origin, _), column in zip(parts, columns, strict=True):
            taken = Report()
            taking = take_vectors(table, origin, column, taken, quarantine=self._quarantine)
            for _ in track(taking, total=origin.total, show=show):
                pass
            report = report.plus(taken)
        report.notes += self._settle(table, changed=report.changed)
        return report

    def update_meta(self, values: Mapping[str, Mapping[str, Any]]) -> int:
        """Set metadata of items by id; returns how many items changed.

        New columns are made as needed, and a column widens where a value does not fit it: whole numbers to fractions,
        dates to times, anything else to text, with a warning in the log. None clears a value.

        Raises:
            BadSpec: an id is not here, or a value is cleared in a column that is not.
            BadData: a column cannot be called so, or a value cannot be stored; nothing is changed then.
        """
        if not isinstance(values, Mapping) or not all(isinstance(each, Mapping) for each in values.values()):
            raise BadSpec("update_meta takes new values by id and column, such as {'a.jpg': {'price': 12.5}}")
        table = self._writer()
        absent = set(values).difference(item.id for item in self.get(list(values)))
        if absent:
            raise BadSpec(f"no item has the id {min(absent, key=str)!r}")
        changed = update(table, values)
        self._settle(table, changed=changed > 0)
        return changed

    def delete(
        self,
        ids: str | Iterable[str] | None = None,
        *,
        where: str | None = None,
        params: Mapping[str, Any] | Sequence[Any] = (),
        expect: int | None = None,
    ) -> int:
        """Delete items by id or by condition. Earlier versions still have them.

        Args:
            ids: one id or several; those that are not here are skipped.
            where: an SQL condition, as in ``search``; it must name a column.
            params: values of its parameters: by name for ``:name``, or in order for ``?``.
            expect: how many items this must delete; ``count`` tells beforehand.

        Returns:
            How many were deleted.

        Raises:
            BadSpec: the condition cannot be read, or another number of items than expected matches; then nothing is
                deleted.
        """
        condition = condition_of(where, params)
        if (ids is None) == (condition is None):
            raise BadSpec("delete takes either ids or a condition: delete(['a', 'b']) or delete(where=\"price > 9\")")
        selected = condition or among("id", strings(ids, "delete"))
        table = self._writer()
        count = table.delete(selected, expect=expect)
        self._follow(table)
        return count

    def count(self, where: str | None = None, params: Mapping[str, Any] | Sequence[Any] = ()) -> int:
        """Count items, or those that meet an SQL condition, exactly; ``params`` as in ``delete``.

        Raises:
            BadSpec: the condition cannot be read.
        """
        condition = condition_of(where, params)
        with self._batcher.alone():
            return self._session().count(condition)

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
    ) -> list[dict[str, Any]]:
        """Build an index of every vector column, or of those in some spaces; the old one serves until it is done.

        With ``recall`` its settings are measured for several selectivities, and searches planned so that it is kept;
        ``info`` shows the promise. An index that takes the place of one with a promise promises the same.

        Args:
            spec: a kind of index and its options, such as ``"faiss factory=IVF256,Flat"`` or ``"lance kind=IVF_RQ"``;
                None for the best by size, width, memory and updates, which may be exact scans.
            spaces: names of spaces; vectors that bridges compute are indexed only where their space is named.
            recall: the mean share of the true k best that searches are to find; 0.95 where no spec is given.
            k: hits for which that is promised.
            queries: what will be asked: (q, dim) vectors, a file of them (npy, npz) or of texts (txt), or what ``add``
                takes. Without any, stored vectors of another key in the same space, or of the column.
            memory: what may be used, in bytes or as ``8GB``; by default most of what is free.
            updates: how often vectors change, ``rare`` or ``often``.

        Returns:
            What was built: column, kind, options, why, vectors, seconds, promise.

        Raises:
            BadSpec: there is no such kind, or a column cannot be indexed so, for want of memory say; others are.
        """
        named = strings(spaces, "spaces")
        index_words(self._writer())
        kind, options = registry.split(spec) if spec is not None else (None, {})
        if kind is not None and "." in kind:  # a module of somebody else, which the user names
            remember("index", kind)
        wanted = recall if recall is not None or spec is not None else RECALL
        want = None if wanted is None else Want(wanted, k, queries)
        order = Order(kind, options, want, index_choice.parse(memory) if isinstance(memory, str) else memory, updates)
        return self._upkeep(lambda session: each(session, named, lambda own, column: [fill(own, column, order)]))

    def check(self, *, spaces: str | Sequence[str] = ()) -> list[dict[str, Any]]:
        """Check with fresh queries whether indexes still keep their promises, and tune those anew that do not.

        Returns:
            What was found: column, kind, recall promised and found, whether it was kept, and the promise now.
        """
        named = strings(spaces, "spaces")
        return self._upkeep(lambda session: each(session, named, check))

    def catch_up(self) -> list[dict[str, Any]]:
        """Bring indexes that fell far behind up to date; returns column, kind, how, vectors and seconds of each.

        Raises:
            QuiverError: an index cannot be built any more, or there is no memory for it.
        """
        return self._upkeep(catch_up)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for what is done in the background after changes; returns whether all of it is done."""
        return self._background is None or self._background.wait(seconds)

    def search(self, query: Query | None = None, /, **ask: Unpack[Ask]) -> Result:
        """Answer a query, given whole or in keywords: ``search(image="a.jpg", target="video", k=5)``.

        Raises:
            NoRoute: nothing held leads to what is wanted; the message names the missing arrow.
            BadMedia: what is held cannot be decoded.
            BadSpec: the query or its condition cannot be read, or a Query is given together with keywords.
        """
        return self._batcher.ask([one_of_both(query, ask)])[0]

    def search_batch(self, queries: Sequence[Query] | None = None, /, **ask: Unpack[Ask]) -> Results:
        """Answer many queries, those of one shape together; in keywords, one for each of (q, dim) vectors of a space.

        That is quickest: ``search_batch(vectors={"mine": array}, k=5).ids``. Answers are made when they are looked at.

        Raises:
            QuiverError: what the first bad query raises, with its place before it (``queries[3]: ...``); then there
                are no answers at all, so that none is missing unseen. Batches of other threads are not affected.
        """
        return each_alone(self._batcher.ask, many_of_both(queries, ask))

    def pages(self, query: Query | None = None, /, **ask: Unpack[Ask]) -> Iterator[Result]:
        """Answer a query page by page, k hits or groups each, all from the version that the first is from.

        Nothing comes twice and nothing is left out, whatever is added, deleted or changed meanwhile.
        """
        return pages(self, one_of_both(query, ask))

    def explain(self, query: Query | None = None, /, **ask: Unpack[Ask]) -> Plan:
        """Return the plan of a query with its reasons, without searching. Conditions are counted."""
        with self._batcher.alone():
            return explain(self._session(), one_of_both(query, ask))

    def measure(self, queries: Sequence[Query], *, scorer: str | None = None, k: int = 10) -> Measured:
        """Measure a scorer on a sample of queries: what it costs, and what its ways to recall keep; plans rest on that.

        Args:
            queries: what will be asked, all of one kind, such as an image and a text.
            scorer: which; None for the one that a search would use.
            k: hits that count.

        Raises:
            BadSpec: there are no queries, they hold different things, or no scorer ranks what they ask for.
        """
        with self._batcher.alone():
            return measure(self._session(), queries, scorer=scorer, k=k)

    def fit(
        self,
        queries: Sequence[Query],
        answers: Sequence[str | Iterable[str]],
        *,
        scorer: str | None = None,
        depth: int = 100,
        source: str = "the user",
    ) -> Learnt:
        """Learn from known answers how much a reranker counts against recall, or lists that are fused by rank.

        Ask other questions than those that results are reported on. Searches rank by what was learnt from then on.

        Args:
            queries: the questions, all of one kind, such as a text where pictures are wanted.
            answers: the id or ids that answer each.
            scorer: which; None for what a search would do.
            depth: candidates of each question; deeper ones are never reranked.
            source: where the questions come from, for ``explain``.

        Raises:
            BadSpec: there are no queries, they hold different things, or nothing reranks or fuses what they ask for.
            BadData: recall finds no answer at all.
        """
        if isinstance(answers, str):
            raise BadSpec("answers takes a list with the id or ids that answer each query, not one string")
        right = [list(strings(each, "answers")) for each in answers]
        with self._batcher.alone():
            return fit(self._session(), queries, right, scorer=scorer, depth=depth, source=source)

    def get(self, ids: str | Iterable[str]) -> list[Item]:
        """Return the items of these ids that are here, in the order asked."""
        named = strings(ids, "get")
        with self._batcher.alone():
            session = self._session()
            rows = session.table.rows(among("id", named))
            found = {item["id"]: Item(**item) for item in session.items(rows).values()}
        return [found[id] for id in named if id in found]

    def versions(self) -> list[dict[str, Any]]:
        """Return every version: number, time and how many items it has."""
        with self._batcher.alone():
            return self._session().table.history()

    def prune(self, *, days: float = 7) -> Pruned:
        """Remove versions older than ``days``, and the files that only they use, to free disk space.

        Those versions cannot be checked out any more. Hits of a search that still waits to read them may fail, so do
        not prune to 0 days while others search.
        """
        pruned = prune(self._writer(), days=days)
        with self._batcher.alone():
            self._session().reopen()
        return pruned

    def checkout(self, version: int) -> "Collection":
        """Return the collection as it was at a version, to be read only.

        Raises:
            BadCollection: there is no such version.
        """
        past = Collection(self.uri, version=version, trust=self._trusted)
        past._session()
        return past

    def info(self) -> dict[str, Any]:
        """Return what the collection holds: items by key, spaces, encoders, metadata, indexes, quarantine."""
        with self._batcher.alone():
            return summary(self.uri, self._session(), self._quarantine)

    def _session(self) -> Session:
        """Open the collection, or move to its newest version; only while other requests wait (``Batcher.alone``).

        Raises:
            BadCollection: there is nothing here yet.
        """
        return self._searcher.session()

    def _writer(self, *, create: bool = False, roots: Roots | None = None) -> Table:
        """Open the table anew for a change, so that what searches read does not move under them."""
        with self._batcher.alone():
            try:
                self._session()
            except NoCollection:
                if not create or self._version is not None:
                    raise
                Table.create(f"{self.uri}/items.lance", roots=roots.all if roots else ())
        return Table(f"{self.uri}/items.lance", version=self._version)

    def _present(self) -> Table | None:
        """Return the table if there is one."""
        with self._batcher.alone():
            try:
                return self._session().table
            except NoCollection:
                return None

    def _upkeep(self, work: Callable[[Session], T]) -> T:
        """Work on indexes in a session of its own, so that searches go on; afterwards they see the new indexes."""
        apart = Session(self._writer(), cache=Cache(self.uri), trusted=self._trusted)
        try:
            return work(apart)
        finally:
            with self._batcher.alone():
                self._session().reopen()

    def _settle(self, table: Table, *, changed: bool) -> tuple[str, ...]:
        """Index ids and words, and join what many small commits left behind; returns what the user should know.

        Where nothing changed, nothing is joined: joined rows get other numbers, and indexes would be stale.
        """
        table.index("id", "BTREE")
        notes = index_words(table)
        if changed:
            table.tidy()
        self._follow(table)
        return notes

    def _follow(self, table: Table) -> None:
        """See to the indexes in the background, if a change left one far behind."""
        if self._background is not None and wanted(Session(table, cache=Cache(self.uri))):
            self._background.start()


__all__ = ["DEFAULT_ENCODER", "Collection", "open"]
