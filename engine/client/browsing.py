"""The reading side of a remote collection beside searches; the methods are those of ``Browsing``."""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from quiver.engine.client.asking import Asking, condition
from quiver.engine.client.told import facets_of, item_of, summary_of, version_of
from quiver.engine.client.transport import Refused
from quiver.errors import BadSpec
from quiver.records import Duplicates, Facets, Summary, Version
from quiver.types import Item, strings

if TYPE_CHECKING:
    import pyarrow as pa


class RemoteBrowsing(Asking):
    """The items of a remote collection, without ranking."""

    def __len__(self) -> int:
        return self.count()

    def count(self, where: str | None = None, params: Mapping[str, Any] | Sequence[Any] = ()) -> int:
        """Count all items, or those that match a condition."""
        count: int = self._ask("POST", "/items/count", condition(where, params)).json["count"]
        return count

    @property
    def version(self) -> int:
        """The version that a search reads now."""
        if self._version is not None:
            return self._version
        return int(self._transport.ask("GET", self._path).headers["quiver-version"])

    def get(self, ids: str | Iterable[str], *, missing_ok: bool = True) -> list[Item]:
        """Return the stored items among these ids, in the order of the ids."""
        named = list(strings(ids, "get"))
        told = self._ask("POST", "/items/get", {"ids": named}).json
        found = [item_of(each, self._transport.base, told.get("types", {})) for each in told["items"]]
        if not missing_ok and (absent := [id for id in named if id not in {item.id for item in found}]):
            raise BadSpec(f"no item has the id {absent[0]!r}")
        return found

    def head(self, n: int = 5, where: str | None = None, params: Mapping[str, Any] | Sequence[Any] = ()) -> list[Item]:
        """Return the first items, or the first that match a condition."""
        if not isinstance(n, int) or isinstance(n, bool) or n < 1:
            raise BadSpec(f"head takes a positive number of items, not {n!r}")
        told = self._ask("POST", "/items/head", {**condition(where, params), "limit": n}).json
        return [item_of(each, self._transport.base, told.get("types", {})) for each in told["items"]]

    def scan(
        self, columns: str | Sequence[str] | None = None, where: str | None = None,
        params: Mapping[str, Any] | Sequence[Any] = (), *, spaces: str | Sequence[str] = (),
    ) -> "Iterator[pa.RecordBatch]":  # fmt: skip
        """Iterate over items as Arrow record batches, without their media."""
        import pyarrow as pa

        words: dict[str, Any] = {**condition(where, params), "spaces": list(strings(spaces, "spaces"))}
        if columns is not None:
            words["columns"] = list(strings(columns, "columns"))
        with pa.ipc.open_stream(io.BytesIO(self._ask("POST", "/items/scan", words).body)) as stream:
            yield from stream

    def facets(
        self, column: str, where: str | None = None, params: Mapping[str, Any] | Sequence[Any] = (), *, limit: int = 20
    ) -> Facets:
        """Count the values of a metadata column, as ``Collection.facets``."""
        words = {**condition(where, params), "column": column, "limit": limit}
        return facets_of(self._ask("POST", "/facets", words).json)

    def info(self) -> Summary:
        """Describe the collection."""
        told = self._transport.ask("GET", self._path).json
        try:
            rows = self._transport.ask("GET", f"{self._path}/quarantine").json["quarantine"]
        except Refused:  # a key with a condition
            rows = []
        return summary_of(told, rows, self.uri)

    def versions(self) -> list[Version]:
        """Return all versions: number, time and number of items."""
        return [version_of(each) for each in self._transport.ask("GET", f"{self._path}/versions").json["versions"]]

    @property
    def types(self) -> dict[str, str]:
        """The Arrow type of each metadata column, in words."""
        return {each["name"]: each["type"] for each in self._ask("GET", "/columns").json["meta"]}

    def stored(self, ids: str | Iterable[str], *, where: str | None = None) -> list[str]:
        """Return those of some ids that are stored, and fulfil a condition, in the order given."""
        words = {"ids": list(strings(ids, "stored")), **condition(where, ())}
        found: list[str] = self._ask("POST", "/items/stored", words).json["ids"]
        return found

    def duplicates(
        self, where: str | None = None, params: Mapping[str, Any] | Sequence[Any] = (), *, space: str | None = None,
        target: str | None = None, threshold: float = 0.98,
    ) -> Duplicates:  # fmt: skip
        """Find groups of near-duplicate items, as ``Collection.duplicates``; a server compares 20,000 items at most."""
        words = {**condition(where, params), "space": space, "target": target, "threshold": threshold}
        given = {name: value for name, value in words.items() if value is not None}
        return msgspec.convert(self._ask("POST", "/duplicates", given).json, Duplicates)
