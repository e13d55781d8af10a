"""Changes of a collection: adds, and the housekeeping that follows every change.

A change opens a table of its own, so that searches keep the version they read.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from quiver.engine import source, tellers
from quiver.engine.core.column import Column, given_space
from quiver.engine.core.encoder import Loaded, find
from quiver.engine.core.given_encoder import is_given, specs_of
from quiver.engine.core.graph import Graph
from quiver.engine.core.sql import among
from quiver.engine.execution.session import Session
from quiver.engine.ingest.meta_update import update
from quiver.engine.ingest.options import AddOptions, Options, VectorOptions, known_options
from quiver.engine.ingest.pipeline import Ingest
from quiver.engine.ingest.progress import track
from quiver.engine.ingest.ready_vectors import take_vectors
from quiver.engine.ingest.replicas import spread
from quiver.engine.ingest.report import Report
from quiver.engine.ingest.stored_roots import keep, roots_of
from quiver.engine.ingest.sync import compare
from quiver.engine.ingest.words import index_words
from quiver.engine.serving.searcher import Searcher
from quiver.engine.source.given import Given, Stored
from quiver.engine.source.roots import Roots
from quiver.engine.storage.dataset import Table
from quiver.engine.storage.dropping import Dropped, drop
from quiver.engine.storage.index_files import Cache
from quiver.engine.storage.location import check_new, check_order
from quiver.engine.storage.pruning import Pruned, prune
from quiver.engine.storage.quarantine import Quarantine
from quiver.engine.storage.unknown_ids import check_stored
from quiver.engine.tuning import index_choice
from quiver.engine.tuning.maintenance import Upkeep, wanted
from quiver.errors import BadSpec, NoCollection
from quiver.malloc import share_arenas
from quiver.protocols import Told
from quiver.trust import Reach, accepting, give
from quiver.trust import check as check_encoder
from quiver.types import KEYS, Item, Metric, strings
from quiver.wording import either

T = TypeVar("T")
#: Default encoder of a collection; it needs no weights.
DEFAULT_ENCODER = "classic"


@dataclass(frozen=True, slots=True)
class Tables:
    """How tables describe files: see ``Collection.add``."""

    meta: str | Path | None
    key: str | None
    media: str | None


@dataclass(frozen=True, slots=True)
class Ready:
    """What ready-made vectors are: see ``Collection.add_vectors``."""

    space: str
    ids: Sequence[str] | None
    key: str | None
    metric: Metric
    meta: Any
    media: str | None = None


@dataclass(frozen=True, slots=True)
class _Given:
    """The sources of an add, and the ids of its stored items if they are asked for; None for all items."""

    items: Sequence[Item]
    paths: Sequence[str]
    rows: Sequence[Any]
    ids: set[str] | None = None


class Changes:
    """The writing side of one collection."""

    def __init__(self, searcher: Searcher, quarantine: Quarantine, reach: Reach, background: Upkeep | None) -> None:
        self._uri = searcher.uri
        self._searcher = searcher
        self._quarantine, self._reach, self._background = quarantine, reach, background
        self._telling = tellers.Telling(searcher.uri, reach, quarantine, trusted=searcher.trusted)

    def add(self, sources: Sequence[Any], encoder: Any, tables: Tables, options: AddOptions) -> Report:
        """Add items, or embed the stored items with another encoder: see ``Collection.add``."""
        if isinstance(memory := options.get("max_memory"), str):
            options["max_memory"] = index_choice.parse(memory)
        chosen = Options.of(options)
        share_arenas()
        items, paths, rows = _sorted(sources)
        check_order(paths)
        if chosen.sync and not paths:
            raise BadSpec("sync compares stored items with their files: name the folders, tables or tars")
        if chosen.window is not None and not (paths or items or rows):
            raise BadSpec("window splits the videos and sounds that are added: name their files or folders")
        named = specs_of(encoder)
        if chosen.tell is None:
            return self._add(_Given(items, paths, rows), named, tables, chosen)
        model = self._telling.model(chosen.tell, self._present(), lambda: self._loaded(named))
        given, report = _Given(items, paths, rows, ids=set() if items or paths or rows else None), Report()
        if named or given.ids is not None:
            report = self._add(given, named, tables, chosen)
        table = self.table()
        self._telling.write(table, model, chosen, report, ids=given.ids)
        report.notes += self.settle(table, changed=report.captioned > 0)
        return report

    def _add(self, given: "_Given", named: Iterable[str], tables: Tables, chosen: Options) -> Report:
        if not given.rows:
            return self._add_files(given, named, tables, chosen)
        report = self._add_files(given, named, tables, chosen) if given.items or given.paths else Report()
        return report.plus(self._add_rows(given, named, tables, chosen))

    def _add_files(self, wanted: "_Given", named: Iterable[str], tables: Tables, chosen: Options) -> Report:
        """Add Items and files, or embed the stored items if there are none."""
        items, paths = wanted.items, wanted.paths
        given: list[source.Source] = [Given.of(items)] if items else []
        table_of = None if tables.meta is None else str(tables.meta)
        absent: source.Absent | None = None

        def opened(roots: Roots) -> list[source.Source]:
            nonlocal absent
            absent = source.Absent(roots) if chosen.sync else None
            named = {"meta": table_of, "key": tables.key, "media": tables.media, **chosen.columns}
            return [source.open(paths, roots=roots, absent=absent, **named)] if paths else []

        if (present := self._present()) is None and (items or paths):
            check_new(self._uri)
        origins = [*given, *opened(roots := roots_of(present))]
        tellers.check(chosen.tell, origins)
        encoders = self._loaded(named)
        table = self.table(create=bool(origins), roots=roots)
        while not keep(table, roots):  # another process took a name meanwhile
            origins = [*given, *opened(roots := roots_of(table))]
        encoders = encoders or self._loaded(table.encoders or (DEFAULT_ENCODER,), stored=True)
        encoders = spread(encoders, chosen.devices)
        typed = [each.beside(table.schema) if isinstance(each, Given) else each for each in origins]
        origin = source.chain(typed, check=bool(items)) if typed else Stored(table, self._reach)
        reach = self._reach if typed else None
        ingest = Ingest(table, encoders, quarantine=self._quarantine, options=chosen, reach=reach, ids=wanted.ids)
        for _ in track(ingest.run(origin), total=None if chosen.window else origin.total, show=chosen.progress):
            pass
        report = ingest.report
        report.notes[:0] = roots.notes
        if absent is not None:
            compare(table, roots, ingest.seen, absent=absent, report=report, options=chosen)
        report.notes += self.settle(table, changed=report.changed)
        return report

    def _add_rows(self, wanted: "_Given", named: Iterable[str], tables: Tables, chosen: Options) -> Report:
        """Add rows from memory, block by block; the encoders are loaded once."""
        if (present := self._present()) is None:
            check_new(self._uri)
        columns = {"id_column": None, "path_column": None, **chosen.columns}
        choice = source.choose(media=tables.media, stored=() if present is None else present.meta, **columns)
        encoders = self._loaded(named)
        seen, report, table = source.Seen(), Report(), None
        for block in (block for each in wanted.rows for block in source.blocks(each)):
            roots = roots_of(table or present)
            origin = (
                source.open_rows(block, choice, roots=roots, seen=seen)
                if isinstance(block, source.MemoryTable)
                else Given.of(_items(block))
            )
            tellers.check(chosen.tell, [origin])
            if table is None:
                table = self.table(create=True, roots=roots)
                encoders = encoders or self._loaded(table.encoders or (DEFAULT_ENCODER,), stored=True)
                encoders = spread(encoders, chosen.devices)
            typed = origin.beside(table.schema) if isinstance(origin, Given) else origin
            given, quarantine = wanted.ids, self._quarantine
            ingest = Ingest(table, encoders, quarantine=quarantine, options=chosen, reach=self._reach, ids=given)
            for _ in track(ingest.run(typed), total=origin.total, show=chosen.progress):
                pass
            report = report.plus(ingest.report)
        report.notes = list(dict.fromkeys(report.notes))
        if table is not None:
            report.notes += self.settle(table, changed=report.changed)
        return report

    def caption(self, id: str, spec: str | None, *, beams: int, most: int) -> list[Told]:
        """Describe a stored item in words: see ``Collection.caption``."""
        return self._telling.caption(self.table(), id, spec, beams=beams, most=most)

    def add_vectors(self, vectors: Any, ready: Ready, options: VectorOptions) -> Report:
        """Add ready-made vectors: see ``Collection.add_vectors``."""
        if ready.key is not None and ready.key not in KEYS:
            raise BadSpec(f"key must be one of {', '.join(KEYS)}, not {ready.key!r}")
        read = known_options(options, VectorOptions, "add_vectors")
        show = read.pop("progress", None)
        share_arenas()
        stored = () if (present := self._present()) is None else present.meta
        choice = source.choose(read.get("id_column"), None, ready.media, stored=stored)
        if source.is_rows(vectors):
            return self._add_vector_rows(vectors, ready, choice, read.get("column") or "vector", show=show)
        opened = partial(source.given_or_stored, vectors, ready.ids, ready.meta, media=choice.named, stored=stored)
        parts = [
            (opened(**{**read, "column": column}), part)
            for part, column in source.vector_parts(vectors, ready.key, read.get("column"))
        ]
        columns = [Column(part, given_space(ready.space, origin.dim, ready.metric), None) for origin, part in parts]
        table = self.table(create=True)
        table.check_fields([column.field() for column in columns])
        report = Report()
        for (origin, _), column in zip(parts, columns, strict=True):
            report = report.plus(self._taken(table, origin, column, show))
        report.notes += self.settle(table, changed=report.changed)
        return report

    def _add_vector_rows(
        self, rows: Any, ready: Ready, choice: source.Choice, name: str, *, show: bool | None
    ) -> Report:
        """Add rows from memory whose column ``name`` holds ready-made vectors, block by block."""
        if ready.ids is not None or ready.meta is not None:
            raise BadSpec("rows have their ids and metadata in their own columns: leave ids and meta out")
        seen, report, table = source.Seen(), Report(), None
        for block in source.blocks(rows):
            if not isinstance(block, source.MemoryTable):
                raise BadSpec(f"rows with vectors are dicts or tables, not {type(block[0]).__name__}")
            present = table or self._present()
            dim, roots = _dim(present, ready.space), roots_of(present)
            origin = source.open_rows(block, choice, roots=roots, seen=seen, vector=name, dim=dim)
            column = Column(ready.key or "image", given_space(ready.space, origin.dim, ready.metric), None)
            table = table or self.table(create=True)
            table.check_fields([column.field()])
            report = report.plus(self._taken(table, origin, column, show))
        report.notes = list(dict.fromkeys(report.notes))
        if table is not None:
            report.notes += self.settle(table, changed=report.changed)
        return report

    def _taken(self, table: Table, origin: Any, column: Column, show: bool | None) -> Report:
        taken = Report()
        taking = take_vectors(table, origin, column, taken, quarantine=self._quarantine, reach=self._reach)
        for _ in track(taking, total=origin.total, show=show):
            pass
        return taken

    def update_meta(self, values: Mapping[str, Mapping[str, Any]]) -> int:
        """Set metadata of items by id: see ``Collection.update_meta``."""
        if not isinstance(values, Mapping) or not all(isinstance(each, Mapping) for each in values.values()):
            raise BadSpec(
                "update_meta takes a mapping from ids to columns and values, such as {'a.jpg': {'price': 12.5}}"
            )
        table = self.table()
        named = strings(values, "update_meta")
        check_stored(table, named, set(table.read(["id"], where=among("id", named))["id"].to_pylist()))
        changed = update(table, values)
        self.settle(table, changed=changed > 0)
        return changed

    def choose_default(self, key: str, space: str) -> None:
        """Choose the space that searches for a key use: see ``Collection.default``."""
        if key not in KEYS:
            raise BadSpec(f"key must be one of {', '.join(KEYS)}, not {key!r}")
        table = self.table()
        table.record_default(key, Graph.of(table.encoders, table.columns).home(key, space).name)

    def drop(self, name: str, *, dry_run: bool) -> Dropped:
        """Drop an encoder or a space of ready-made vectors: see ``Collection.drop``."""
        if not isinstance(name, str):
            raise BadSpec(f"drop takes the spec of an encoder or the name of a space, not {name!r:.80}")
        dropped = drop(self.table(), Cache(self._uri), name, dry_run=dry_run)
        self._searcher.renew()
        return dropped

    def prune(self, days: float) -> Pruned:
        """Remove old versions: see ``Collection.prune``."""
        pruned = prune(self.table(), days=days)
        self._searcher.renew()
        return pruned

    def upkeep(self, work: Callable[[Session], T]) -> T:
        """Work on indexes in a separate session, so that searches go on; they see the new indexes afterwards."""
        apart = Session(self.table(), cache=Cache(self._uri), trusted=self._searcher.trusted)
        try:
            return work(apart)
        finally:
            self._searcher.renew()

    def table(self, *, create: bool = False, roots: Roots | None = None) -> Table:
        """Open a separate table for a change, so that searches keep the version they read."""
        try:
            self._searcher.session()
        except NoCollection:
            if not create or self._searcher.version is not None:
                raise
            check_new(self._uri)
            Table.create(f"{self._uri}/items.lance", roots=roots.all if roots else ())
        return Table(f"{self._uri}/items.lance", version=self._searcher.version)

    def _present(self) -> Table | None:
        """Return the table if there is one."""
        try:
            return self._searcher.session().table
        except NoCollection:
            return None

    def settle(self, table: Table, *, changed: bool) -> tuple[str, ...]:
        """Index ids and words, and compact the fragments of many small commits; returns notes for the user.

        Without changes there is no compaction: it gives rows new numbers, which makes indexes stale.
        """
        table.index("id", "BTREE")
        notes = index_words(table)
        if changed:
            table.tidy()
        self.follow(table)
        return notes

    def follow(self, table: Table) -> None:
        """Update indexes in the background if a change made one stale."""
        if self._background is not None and wanted(Session(table, cache=Cache(self._uri))):
            self._background.start()

    def _loaded(self, specs: Iterable[str], *, stored: bool = False) -> list[Loaded]:
        """Load encoders that the user or the collection names."""
        with accepting(self._searcher.trusted):
            for spec in specs:
                if not is_given(spec):
                    check_encoder(spec, place=self._uri) if stored else give(spec)
            loaded = [find(spec) for spec in specs]
        if blind := next((each for each in loaded if not each.encoder.keys), None):
            how = either("--teller", "tell=")
            raise BadSpec(f"{blind.spec!r} embeds nothing, it only describes: name it by {how}")
        return loaded


def _dim(table: Table | None, space: str) -> int | None:
    """Return the dimension of a space of ready-made vectors, or None if there is no such space."""
    columns = () if table is None else table.columns
    return next((each.space.dim for each in columns if each.encoder is None and each.space.name == space), None)


def _sorted(sources: Sequence[Any]) -> tuple[list[Item], list[str], list[Any]]:
    """Return the Items, the paths, and the rows among the sources of an add; lists of Items or paths are joined."""
    single: list[Any] = []
    for each in sources:
        plain = isinstance(each, list | tuple) and all(isinstance(one, str | os.PathLike | Item) for one in each)
        single += each if plain else [each]
    rows = [each for each in single if not isinstance(each, str | os.PathLike | Item)]
    if odd := [each for each in rows if not source.is_rows(each)]:
        raise BadSpec(_not_rows(odd[0]))
    items = [each for each in single if isinstance(each, Item)]
    return items, [str(each) for each in single if isinstance(each, str | os.PathLike)], rows


def _not_rows(given: Any) -> str:
    """Say why a source of an add is none."""
    odd = given
    if isinstance(given, list | tuple):
        odd = next((each for each in given if not isinstance(each, Item | Mapping)), given)
    if hasattr(odd, "shape") or isinstance(odd, list | tuple):
        return "an array of vectors is added with add(vectors=array, ids=[...], space='name')"
    return f"add takes paths, Items, or rows ({source.FORMS}), not {type(odd).__name__}"


def _items(block: Sequence[Any]) -> Sequence[Item]:
    if odd := [each for each in block if not isinstance(each, Item)]:
        raise BadSpec(_not_rows(odd[0]))
    return block
