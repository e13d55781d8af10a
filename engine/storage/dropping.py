"""Drop an encoder, or a space of ready-made vectors: its columns, its indexes and its description, in one commit.

Items, media, metadata and all other vectors stay. Earlier versions keep what is dropped until they are pruned.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lance

from quiver.engine.core.column import Column
from quiver.engine.core.graph import Graph, is_named, listed
from quiver.engine.core.sql import present
from quiver.engine.storage.dataset import Table
from quiver.engine.storage.index_files import Cache
from quiver.errors import BadSpec


@dataclass(frozen=True, slots=True)
class DroppedColumn:
    """A dropped vector column.

    Attributes:
        key: the embedded medium.
        space: name of its space.
        vectors: number of its vectors.
        indexes: kinds of index built on it.
    """

    key: str
    space: str
    vectors: int
    indexes: tuple[str, ...]

    def __str__(self) -> str:
        indexes = f", {' and '.join(self.indexes)} index" if self.indexes else ""
        return f"{self.vectors:,} {self.key} vectors in {self.space}{indexes}"


@dataclass(frozen=True, slots=True)
class Dropped:
    """The removed parts of a collection, or those that a dry run would remove.

    Attributes:
        encoder: spec of the encoder; None for ready-made vectors.
        columns: its vector columns.
        shared: columns that stay because another encoder writes them too.
        scorers: scorers of the encoder.
        defaults: new default space of each key whose default space is dropped; None if no space of the key is left.
    """

    encoder: str | None
    columns: tuple[DroppedColumn, ...]
    shared: tuple[str, ...]
    scorers: tuple[str, ...]
    defaults: dict[str, str | None]

    def __str__(self) -> str:
        lines = [f"encoder {self.encoder}"] if self.encoder is not None else []
        lines += [str(column) for column in self.columns]
        lines += [f"scorer {scorer}" for scorer in self.scorers]
        lines += [f"kept: {column}, which another encoder writes too" for column in self.shared]
        for key, space in self.defaults.items():
            lines.append(f"searches for {key} use {space}" if space else f"no {key} vectors are left")
        return "\n".join(lines)


def drop(table: Table, cache: Cache, name: str, *, dry_run: bool) -> Dropped:
    """Drop an encoder, or ready-made vectors, in one commit.

    Args:
        table: the table, at its newest version.
        cache: its index files.
        name: spec of the encoder, or the name of one of its spaces; an encoder goes as a whole.
        dry_run: whether to describe only.

    Raises:
        BadSpec: there is no such encoder or space, or several have the name.
    """
    if dry_run:
        return _Parts.of(table, name).described(table, cache)

    def change(dataset: lance.LanceDataset) -> tuple[Dropped, tuple[Column, ...]]:
        parts = _Parts.of(table, name)
        described = parts.described(table, cache)
        schema = _without(dataset, [column.name for column in parts.columns], parts.header(table))
        operation = lance.LanceOperation.Project(schema)
        lance.LanceDataset.commit(dataset, operation, read_version=dataset.version)
        return described, parts.columns

    described, columns = table.commit(change)
    for column in columns:  # the commit made these files useless: a crash here leaves them until the next add
        for folder in cache.root.glob(f"{column.name}*"):
            if folder.name == column.name or folder.name.startswith(f"{column.name}_to_"):
                shutil.rmtree(folder, ignore_errors=True)
    dropped: Dropped = described
    return dropped


@dataclass(frozen=True, slots=True)
class _Parts:
    """What goes: the encoder, and the columns that no other encoder writes."""

    encoder: str | None
    columns: tuple[Column, ...]
    shared: tuple[Column, ...]

    @classmethod
    def of(cls, table: Table, name: str) -> "_Parts":
        """Find the encoder or space of a name."""
        encoders, columns = table.encoders, table.columns
        if name in encoders:
            return cls._encoder(table, name)
        found = {column.encoder or str(column.space): column for column in columns if is_named(column.space, (name,))}
        if not found:
            known = listed({*encoders, *(column.space.name for column in columns)})
            raise BadSpec(f"there is no encoder or space {name!r} here; there are: {known or 'none'}")
        if len(found) > 1:
            raise BadSpec(
                f"{len(found)} spaces here are called {name!r}: name one with its revision:"
                f" {listed(str(column.space) for column in found.values())}"
            )
        (column,) = found.values()
        if column.encoder in encoders:
            return cls._encoder(table, column.encoder)
        return cls(None, tuple(each for each in columns if each.space == column.space), ())

    @classmethod
    def _encoder(cls, table: Table, spec: str) -> "_Parts":
        written = {each: _written(described) for each, described in table.encoders.items()}
        own = [column for column in table.columns if _of(column) in written[spec]]
        others = set().union(*(columns for each, columns in written.items() if each != spec))
        shared = tuple(column for column in own if _of(column) in others)
        return cls(spec, tuple(column for column in own if column not in shared), shared)

    def header(self, table: Table) -> dict[str, Any]:
        """Return the manifest without these parts."""
        header: dict[str, Any] = json.loads(table.schema.metadata[b"quiver"])
        header["encoders"] = {spec: each for spec, each in header["encoders"].items() if spec != self.encoder}
        gone = {column.name for column in self.columns}
        if "defaults" in header:
            header["defaults"] = {key: name for key, name in header["defaults"].items() if name not in gone}
        return header

    def described(self, table: Table, cache: Cache) -> Dropped:
        """Describe these parts."""
        before = Graph.of(table.encoders, table.columns, table.defaults)
        left = {spec: each for spec, each in table.encoders.items() if spec != self.encoder}
        after = Graph.of(left, [c for c in table.columns if c not in self.columns], self.header(table).get("defaults"))
        keys = [column.key for column in self.columns if before.default(column.key) == column]
        homes = {key: after.default(key) for key in dict.fromkeys(keys)}
        return Dropped(
            encoder=self.encoder,
            columns=tuple(_described(table, cache, column) for column in self.columns),
            shared=tuple(map(str, self.shared)),
            scorers=tuple(str(each) for each in before.compositions if each.encoder == self.encoder),
            defaults={key: None if home is None else home.space.name for key, home in homes.items()},
        )


def _of(column: Column) -> tuple[str, Any]:
    return column.key, column.space


def _written(described: dict[str, Any]) -> set[tuple[str, Any]]:
    """Return key and space of the columns that an encoder writes."""
    return {(arrow.key, arrow.space) for arrow in Graph.of({"": {"bridges": (), **described}}, ()).arrows}


def _described(table: Table, cache: Cache, column: Column) -> DroppedColumn:
    lance_index = ("lance",) if table.has_index(column.name) else ()
    kinds = (*sorted(cache.kinds(column)), *lance_index)
    return DroppedColumn(column.key, column.space.name, table.count(present(column.name)), kinds)


def _without(dataset: lance.LanceDataset, names: Sequence[str], header: dict[str, Any]) -> Any:
    """Return the schema of a dataset without some columns and with another manifest.

    Lance commits the removal of columns and a change of metadata separately. Its schema is rebuilt here from its own
    pickled form, which keeps the numbers of the fields, so that both are one commit.
    """
    make, (metadata, *fields) = dataset.lance_schema.__reduce__()
    stays = [
        stay
        for known in dataset.lance_schema.fields()
        for stay in [known.name() not in names] * _field_count(known)  # a list column is followed by its items
    ]
    kept = [field for stay, field in zip(stays, fields, strict=True) if stay]
    changed = {**json.loads(metadata), "quiver": list(json.dumps(header).encode())}
    return make(json.dumps(changed), *kept)


def _field_count(field: Any) -> int:
    """Return the number of fields of a column: itself, and all that are nested in it."""
    return 1 + sum(map(_field_count, field.children()))
