"""Searcher of one collection: opens its session on first use, and moves to the newest version before every batch."""

from collections.abc import Sequence

from quiver.engine.execution.results import Results
from quiver.engine.execution.session import Session
from quiver.engine.serving.answer import answer
from quiver.engine.storage.dataset import Table
from quiver.engine.storage.index_files import Cache
from quiver.engine.storage.location import absence
from quiver.engine.storage.write_lock import local_path
from quiver.errors import BadSpec, NoCollection
from quiver.trust import accepting, check_links, check_places
from quiver.types import Query


class Searcher:
    """Answers queries at the newest version of a collection, or at a fixed one. Use it from one thread at a time.

    Attributes:
        uri: URI of the collection.
        version: the fixed version; None for the newest.
        trusted: whether to use encoders and files that only the collection names.
    """

    def __init__(self, uri: str, *, version: int | None = None, trusted: bool = False) -> None:
        self.uri = uri
        self.trusted = trusted
        self.version = version
        self._opened: Session | None = None
        self._closed = False

    def close(self) -> None:
        """Release the session; the searcher cannot be used any more."""
        self._opened, self._closed = None, True

    def session(self) -> Session:
        """Open the collection, or move to its newest version.

        Raises:
            BadCollection: there is no collection at the URI, or no such version.
            BadSpec: it was closed.
        """
        if self._closed:
            raise BadSpec(f"{self.uri} was closed: quiver.open({self.uri!r}) opens it again")
        if self._opened is None:
            if (folder := local_path(self.uri)) is not None:
                with accepting(self.trusted):
                    check_links(folder)
            try:
                table = Table(f"{self.uri}/items.lance", version=self.version)
            except NoCollection as error:
                raise NoCollection(absence(self.uri)) from error
            with accepting(self.trusted):
                check_places(self.uri, (base.path for base in table.dataset.base_paths().values()))
            self._opened = Session(table, cache=Cache(self.uri), trusted=self.trusted)
        self._opened.refresh()
        return self._opened

    def answer(self, queries: Sequence[Query], started: float) -> Results:
        """Answer queries, in their order; ``started`` is when their budgets began, as ``perf_counter`` counts."""
        return answer(self.session(), queries, started=started)
