"""A collection on a server: the methods of ``Collection``, answered over HTTP.

``quiver.connect("http://host:8000/shop")`` instead of ``quiver.open("shop")`` is the only line that changes. Files that
a query or an item names are read here and sent. What names a model, an index or a folder of the server is done there.
"""

import io
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self
from urllib.parse import quote, urlsplit

import numpy as np

from quiver.arguments import check_known
from quiver.conditions import condition_of
from quiver.engine.client.sending import check_encoder, condition_json, items_of, rows_of, sent
from quiver.engine.client.told import facets_of, item_of, result_of, summary_of, target_of, version_of
from quiver.engine.client.transport import SECONDS, Answer, Refused, Transport, error_of
from quiver.engine.execution.plan import Plan, Result
from quiver.engine.execution.query_batch import many_of_both, one_of_both
from quiver.engine.execution.results import Results
from quiver.errors import BadSpec, QuiverError
from quiver.records import BuiltIndex, CheckedIndex, Facets, MeasuredRecall, Summary, Version
from quiver.types import Item, Query, strings

if TYPE_CHECKING:
    import pyarrow as pa

    from quiver.engine.ingest.report import Report

#: Queries that are sent in one request; items that are sent in one.
_BATCH, _ITEMS = 256, 500
#: Seconds between two looks at a job.
_LOOK = 0.1
#: What is done where the collection is.
_THERE = (
    "calibrate", "caption", "catch_up", "default", "differences", "drop", "duplicates", "export", "fit", "hidden",
    "measure", "prune", "relocate", "threshold", "use",
)  # fmt: skip


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


class RemoteCollection:
    """A collection on a server.

    Results are those of ``Collection``, except that media are addresses of the server instead of paths.

    Attributes:
        uri: its address.
    """

    def __init__(self, transport: Transport, name: str, *, version: int | None = None) -> None:
        self.uri = f"{transport.base}/{name}"
        self._transport, self._version = transport, version
        self._path = f"/v1/collections/{quote(name, safe='')}"

    def __repr__(self) -> str:
        return f"RemoteCollection({self.uri!r})"

    def __len__(self) -> int:
        return self.count()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getattr__(self, name: str) -> NoReturn:
        if name in _THERE:
            raise BadSpec(
                f"{name} is done where the collection is: open it there by quiver.open, or use the command line"
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
            answers = self._ask("POST", "/search/batch", {"queries": [words for _, words in some]}).json["answers"]
            found |= {place: self._told(told) for (place, _), told in zip(some, answers, strict=True)}
        return [found[place] for place in range(len(every))]

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

    def count(self, where: str | None = None, params: Mapping[str, Any] | Sequence[Any] = ()) -> int:
        """Count all items, or those that match a condition."""
        count: int = self._ask("POST", "/items/count", _condition(where, params)).json["count"]
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
        told = self._ask("POST", "/items/head", {**_condition(where, params), "limit": n}).json
        return [item_of(each, self._transport.base, told.get("types", {})) for each in told["items"]]

    def scan(
        self, columns: str | Sequence[str] | None = None, where: str | None = None,
        params: Mapping[str, Any] | Sequence[Any] = (), *, spaces: str | Sequence[str] = (),
    ) -> "Iterator[pa.RecordBatch]":  # fmt: skip
        """Iterate over items as Arrow record batches, without their media."""
        import pyarrow as pa

        words: dict[str, Any] = {**_condition(where, params), "spaces": list(strings(spaces, "spaces"))}
        if columns is not None:
            words["columns"] = list(strings(columns, "columns"))
        with pa.ipc.open_stream(io.BytesIO(self._ask("POST", "/items/scan", words).body)) as stream:
            yield from stream

    def facets(
        self, column: str, where: str | None = None, params: Mapping[str, Any] | Sequence[Any] = (), *, limit: int = 20
    ) -> Facets:
        """Count the values of a metadata column, as ``Collection.facets``."""
        words = {**_condition(where, params), "column": column, "limit": limit}
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

    def checkout(self, version: int) -> "RemoteCollection":
        """Return the collection at a version, read-only.

        Raises:
            BadCollection: there is no such version.
        """
        past = RemoteCollection(self._transport, self._path.rpartition("/")[2], version=version)
        past.uri, past._path = self.uri, self._path
        past.count()
        return past

    def wait(self, seconds: float | None = None) -> bool:
        """Return True: a server updates its indexes by itself."""
        return True

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
        parts = [self._put(*rows_of(rows[at : at + _ITEMS])) for at in range(0, len(rows), _ITEMS)]
        whole = parts[0]
        for each in parts[1:]:
            whole = whole.plus(each)
        return whole

    def add_vectors(self, vectors: Any, *, space: str, ids: Sequence[str], meta: Any = None) -> "Report":
        """Add ready-made vectors: an array (n, dim), an id for each, and metadata as a mapping of columns or dicts."""
        array = np.asarray(vectors, np.float32)
        if array.ndim != 2 or len(array) != len(ids):
            raise BadSpec(f"vectors are (n, dim) numbers with n ids, not {array.shape} with {len(ids)} ids")
        rows = [{} for _ in ids] if meta is None else meta
        if isinstance(meta, Mapping):
            rows = [dict(zip(meta, values, strict=True)) for values in zip(*meta.values(), strict=True)]
        items = [Item(id, {}, row) for id, row in zip(ids, rows, strict=True)]
        whole = None
        for at in range(0, len(items), _ITEMS):
            ready = {"space": space, "vectors": array[at : at + _ITEMS].tolist()}
            done = self._put(*rows_of(items[at : at + _ITEMS]), **ready)
            whole = done if whole is None else whole.plus(done)
        if whole is None:
            raise BadSpec("add_vectors takes at least one vector")
        return whole

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
            words |= _condition(where, params)
            expect = self.count(where, params) if expect is None else expect
        if expect is not None:
            words["expect"] = expect
        deleted: int = self._ask("DELETE", "/items", words).json["deleted"]
        return deleted

    def index(self, *, spaces: str | Sequence[str] = (), recall: float = 0.95, k: int = 10) -> list[BuiltIndex]:
        """Build indexes with a recall target, as a job of the server; waits for it."""
        report = self._job("index", {"spaces": list(strings(spaces, "spaces")), "recall": recall, "k": k})
        return [
            BuiltIndex(**{**each, "promise": None if each["promise"] is None else target_of(each["promise"])})
            for each in report
        ]

    def check(self, *, spaces: str | Sequence[str] = ()) -> list[CheckedIndex]:
        """Check whether indexes reach their recall targets, as a job of the server; waits for it."""
        report = self._job("check", {"spaces": list(strings(spaces, "spaces"))})
        return [
            CheckedIndex(
                **{
                    **each,
                    "found": [MeasuredRecall(**one) for one in each["found"]],
                    "promise": target_of(each["promise"]),
                }
            )
            for each in report
        ]

    def _job(self, kind: str, options: Mapping[str, Any]) -> Any:
        job = self._ask("POST", "/jobs", {"kind": kind, **options}).json["id"]
        while (told := self._transport.ask("GET", f"/v1/jobs/{job}").json)["state"] in ("waiting", "running"):
            time.sleep(_LOOK)
        if told["state"] != "done":
            raise BadSpec(str(told.get("detail", f"the job was {told['state']}")))
        return told["report"]

    def _ask(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        headers = {} if self._version is None else {"Quiver-Version": str(self._version)}
        return self._transport.ask(method, f"{self._path}{path}", body, headers=headers, **more)


def _given(ask: Mapping[str, Any]) -> dict[str, Any]:
    from quiver.keywords import KEYWORDS

    check_known("search", ask, KEYWORDS)
    return {name: value for name, value in ask.items() if value is not None}


def _condition(where: Any, params: Any) -> dict[str, Any]:
    condition = condition_of(where, params)
    return {} if condition is None else condition_json(condition.text, condition.params.items)


def _report(told: Mapping[str, Any]) -> "Report":
    from quiver.engine.ingest.report import Report

    known = {each.name for each in fields(Report)}
    return Report(**{name: value for name, value in told.items() if name in known})
