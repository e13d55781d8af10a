"""A collection on a server: the methods of ``Collection``, answered over HTTP.

``quiver.connect("http://host:8000/shop")`` instead of ``quiver.open("shop")`` is the only line that changes. Files that
a query or an item names are read here and sent. What names a model, an index or a folder of the server is done there.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self
from urllib.parse import urlsplit

import numpy as np

from quiver.arguments import check_known, checked_methods
from quiver.engine.client.asking import condition
from quiver.engine.client.browsing import RemoteBrowsing
from quiver.engine.client.learning import RemoteLearning
from quiver.engine.client.sending import (
    check_encoder,
    columns_of,
    items_of,
    rows_of,
    sent,
    shared_words,
    stream,
    vector_column,
)
from quiver.engine.client.told import result_of
from quiver.engine.client.transport import ARROW, SECONDS, Transport, error_of
from quiver.engine.execution.plan import Plan, Result
from quiver.engine.execution.query_batch import many_of_both, one_of_both
from quiver.engine.execution.results import Results
from quiver.errors import BadSpec, QuiverError
from quiver.types import Item, Query, strings

if TYPE_CHECKING:
    import pyarrow as pa

    from quiver.engine.ingest.report import Report

#: Queries that are sent in one request; items that are sent in one.
_BATCH, _ITEMS = 256, 500
#: Numbers of an array from which it is sent as an Arrow stream; rows and bytes of vectors of one stream.
_LARGE, _ROWS, _BYTES = 2_048, 10_000, 32 << 20
#: What works only where the collection is, and why.
THERE: Mapping[str, str] = {
    "caption": "it runs a model that the caller names",
    "default": "it changes what every client finds",
    "differences": "it runs a model on files that the caller names",
    "drop": "it removes vectors for every client",
    "export": "it writes a file there; scan reads the same over HTTP",
    "hidden": "it tells of files of that machine",
    "looks": "the server looks for changes by itself",
    "named": "the server reads conditions itself",
    "prune": "it removes versions for every client",
    "refresh": "the server looks for changes by itself",
    "relocate": "it changes paths of that machine",
    "renew": "the server looks for changes by itself",
    "use": "it takes objects of a program",
}


class OnlyThere(BadSpec, AttributeError):
    """A method works only where the collection is; ``hasattr`` says that it is not here."""


def connect(
    url: str, collection: str | None = None, *, key: str | None = None, version: int | None = None,
    seconds: float = SECONDS,
) -> "RemoteCollection":  # fmt: skip
    """Connect to a collection that ``quiver serve`` serves.

    Args:
        url: address of the service, such as ``http://localhost:8000``; it may end in the name of the collection.
        collection: the name; the only one by default.
        key: a key of the service, if it needs one.
        version: a version to read; the newest by default.
        seconds: how long to wait for an answer.

    Raises:
        BadCollection: there is no service at the address, or no such collection.
        BadSpec: the service has several collections and none is named.
    """
    transport = Transport(url, key=key, seconds=seconds)
    try:
        return _connected(transport, url, collection, version)
    except QuiverError:
        transport.close()
        raise


def _connected(transport: Transport, url: str, collection: str | None, version: int | None) -> "RemoteCollection":
    name = collection or urlsplit(url).path.strip("/").removeprefix("v1/collections/") or None
    if name is None:
        names = [each["name"] for each in transport.ask("GET", "/v1/collections").json["collections"]]
        if len(names) != 1:
            raise BadSpec(f"{url} serves {', '.join(names) or 'no collection'}: name one, as in {url.rstrip('/')}/NAME")
        name = names[0]
    found = RemoteCollection(transport, name, version=version)
    found.count()
    return found


@checked_methods
class RemoteCollection(RemoteBrowsing, RemoteLearning):
    """A collection on a server.

    Results are those of ``Collection``, except that media are addresses of the server instead of paths.

    Attributes:
        uri: its address.
    """

    def __repr__(self) -> str:
        return f"RemoteCollection({self.uri!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getattr__(self, name: str) -> NoReturn:
        if name in THERE:
            raise OnlyThere(
                f"{name} works only where the collection is, since {THERE[name]}: open it there by quiver.open, or use"
                " the command line"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def search(self, query: Query | None = None, /, **ask: Any) -> Result:
        """Search with a Query, or with the keywords of ``Collection.search``."""
        return self._searched(one_of_both(query, _given(ask)))

    def _searched(self, query: Query) -> Result:
        sending = sent(query)
        words = {**sending.json, "explain": "analyze", "trace": True, "types": True}
        answer = self._ask("POST", "/search", words, files=sending.files)
        return result_of(answer.json, self._transport.base)

    def search_each(self, queries: Sequence[Query]) -> list[Result | QuiverError]:
        """Answer many queries; a bad one has its error in its place."""
        every = many_of_both(queries, {})
        found: dict[int, Result | QuiverError] = {}
        plain: list[tuple[int, dict[str, Any]]] = []
        for place, query in enumerate(every):
            try:
                sending = sent(query)
                if sending.files:
                    found[place] = self._searched(query)
                else:
                    plain.append((place, {**sending.json, "explain": "analyze", "trace": True, "types": True}))
            except QuiverError as error:
                found[place] = error
        for at in range(0, len(plain), _BATCH):
            some = plain[at : at + _BATCH]
            answers = self._batch([words for _, words in some])
            found |= {place: self._told(told) for (place, _), told in zip(some, answers, strict=True)}
        return [found[place] for place in range(len(every))]

    def _batch(self, queries: Sequence[dict[str, Any]]) -> Any:
        """Return the answers of the server to a batch; many vectors are sent as an Arrow stream."""
        alike = shared_words(queries)
        if alike is None or alike[1].size < _LARGE:
            return self._ask("POST", "/search/batch", {"queries": queries}).json["answers"]
        import pyarrow as pa

        words, vectors = alike
        body = stream(pa.table({"vector": vector_column(vectors)}), words)
        return self._ask("POST", "/search/batch", body, headers={"Content-Type": ARROW}).json["answers"]

    def _told(self, told: Mapping[str, Any]) -> Result | QuiverError:
        if "hits" in told:
            return result_of(told, self._transport.base)
        return error_of(told, told["detail"], told["type"].rpartition(":")[2], told["status"])

    def search_batch(self, queries: Sequence[Query] | None = None, /, **ask: Any) -> Results:
        """Answer many queries, as ``Collection.search_batch``.

        Raises:
            QuiverError: the error of the first bad query, with its position.
        """
        every = many_of_both(queries, _given(ask))
        answers = self.search_each(list(every))
        for place, answer in enumerate(answers):
            if isinstance(answer, QuiverError):
                if len(answers) > 1:
                    answer.args = (f"queries[{place}]: {answer}",)
                raise answer
        return Results.of([answer for answer in answers if isinstance(answer, Result)])

    def pages(self, query: Query | None = None, /, **ask: Any) -> Iterator[Result]:
        """Answer a query page by page, all of one version."""
        sending = sent(one_of_both(query, _given(ask)))
        if sending.files:
            raise BadSpec("pages over HTTP take no files: search with offset")
        words = {**sending.json, "explain": "analyze", "trace": True, "types": True}
        answer = self._ask("POST", "/pages", words)
        while True:
            told = answer.json
            if told["hits"]:
                yield result_of(told, self._transport.base)
            if "next" not in told:
                return
            answer = self._ask("GET", f"/pages/{told['next']}")

    def explain(self, query: Query | None = None, /, **ask: Any) -> Plan:
        """Return the plan of a query without searching."""
        sending = sent(one_of_both(query, _given(ask)))
        answer = self._ask("POST", "/search", {**sending.json, "explain": "plan"}, files=sending.files)
        return result_of(answer.json, self._transport.base).plan

    def checkout(self, version: int) -> "RemoteCollection":
        """Return the collection at a version, read-only.

        Raises:
            BadCollection: there is no such version.
        """
        past = RemoteCollection(self._transport, self._path.rpartition("/")[2], version=version)
        past.uri, past._path = self.uri, self._path
        past.count()
        return past

    def add(self, *sources: Any, encoder: Any = (), **options: Any) -> "Report":
        """Add Items, or rows as dicts with an ``id``; their files are read here and sent.

        Without sources, the stored items are embedded where an encoder of the collection has not embedded them yet.

        Raises:
            BadSpec: a source is a folder, or an option works only where the collection is.
        """
        check_encoder(encoder)
        if odd := [name for name in options if name not in ("progress", "workers")]:
            raise BadSpec(f"{odd[0]} works where the collection is: a server takes Items and rows")
        if not sources:
            return _report(self._job("embed", {}))
        rows = items_of(sources)
        return _sum([self._put(*rows_of(rows[at : at + _ITEMS])) for at in range(0, len(rows), _ITEMS)])

    def add_vectors(self, vectors: Any, *, space: str, ids: Sequence[str], meta: Any = None) -> "Report":
        """Add ready-made vectors: an array (n, dim), an id for each, and metadata as a mapping of columns or dicts."""
        array = np.asarray(vectors, np.float32)
        if array.ndim != 2 or len(array) != len(ids):
            raise BadSpec(f"vectors are (n, dim) numbers with n ids, not {array.shape} with {len(ids)} ids")
        if not len(array):
            raise BadSpec("add_vectors takes at least one vector")
        table = columns_of(ids, meta) if array.size >= _LARGE else None
        if table is not None:
            return self._put_table(table.append_column("vector", vector_column(array)), space, array.shape[1])
        rows = [{} for _ in ids] if meta is None else meta
        if isinstance(meta, Mapping):
            rows = [dict(zip(meta, values, strict=True)) for values in zip(*meta.values(), strict=True)]
        items = [Item(id, {}, row) for id, row in zip(ids, rows, strict=True)]
        parts = []
        for at in range(0, len(items), _ITEMS):
            ready: dict[str, Any] = {"space": space, "vectors": array[at : at + _ITEMS]}
            parts.append(self._put(*rows_of(items[at : at + _ITEMS]), **ready))
        return _sum(parts)

    def _put_table(self, table: "pa.Table", space: str, dim: int) -> "Report":
        """Send items with vectors as Arrow streams."""
        most = max(1, min(_ROWS, _BYTES // (4 * dim)))
        streams = (stream(table.slice(at, most), {"space": space}) for at in range(0, len(table), most))
        headers = {"Content-Type": ARROW}
        return _sum([_report(self._ask("PUT", "/items", each, headers=headers).json) for each in streams])

    def _put(self, rows: list[dict[str, Any]], files: Any, **ready: Any) -> "Report":
        answer = self._ask("PUT", "/items", {"items": rows, **ready}, files=files, part="items")
        return _report(answer.json)

    def update_meta(self, values: Mapping[str, Mapping[str, Any]]) -> int:
        """Set metadata of items by id; returns the number of changed items."""
        if not isinstance(values, Mapping) or not all(isinstance(each, Mapping) for each in values.values()):
            raise BadSpec("update_meta takes a mapping from ids to columns and values, such as {'a': {'price': 12.5}}")
        items = [Item(id, {}, row) for id, row in values.items()]
        rows, _ = rows_of(items)
        changed: int = self._ask("PATCH", "/items", {"values": {row["id"]: row["meta"] for row in rows}}).json[
            "changed"
        ]
        return changed

    def delete(
        self, ids: str | Iterable[str] | None = None, *, where: str | None = None,
        params: Mapping[str, Any] | Sequence[Any] = (), expect: int | None = None, missing_ok: bool = False,
    ) -> int:  # fmt: skip
        """Delete items by id or by condition; without ``expect``, a condition deletes what it matches now.

        Raises:
            Unexpected: another number of items matches by now; nothing is deleted then.
        """
        words: dict[str, Any] = {"missing_ok": missing_ok}
        if (ids is None) == (where is None):
            raise BadSpec("delete takes either ids or a condition: delete('a.jpg') or delete(where=\"price > 9\")")
        if ids is not None:
            words["ids"] = list(strings(ids, "delete"))
        else:
            words |= condition(where, params)
            expect = self.count(where, params) if expect is None else expect
        if expect is not None:
            words["expect"] = expect
        deleted: int = self._ask("DELETE", "/items", words).json["deleted"]
        return deleted


def _given(ask: Mapping[str, Any]) -> dict[str, Any]:
    from quiver.keywords import KEYWORDS

    check_known("search", ask, KEYWORDS)
    return {name: value for name, value in ask.items() if value is not None}


def _sum(parts: "Sequence[Report]") -> "Report":
    whole = parts[0]
    for each in parts[1:]:
        whole = whole.plus(each)
    return whole


def _report(told: Mapping[str, Any]) -> "Report":
    from quiver.engine.ingest.report import Report

    known = {each.name for each in fields(Report)}
    return Report(**{name: value for name, value in told.items() if name in known})
