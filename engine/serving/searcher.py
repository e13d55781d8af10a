"""Searcher of one collection: opens its session on first use, and moves to the newest version before every batch.

A session stays at its version: an answer that has begun is not disturbed by a newer one.
"""

from collections.abc import Sequence
from threading import Lock

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
    """Answers queries at the newest version of a collection, or at a fixed one; for any number of threads.

    Attributes:
        uri: URI of the collection.
        version: the fixed version; None for the newest.
        trusted: whether to use encoders and files that only the collection names.
        looks: whether every session is at the newest version; otherwise only ``look`` moves to a newer one.
    """

    def __init__(self, uri: str, *, version: int | None = None, trusted: bool = False) -> None:
        self.uri = uri
        self.trusted = trusted
        self.version = version
        self.looks = True
        self._opened: Session | None = None
        self._marks: tuple[tuple[str, int, int], ...] | None = None
        self._closed = False
        self._moving = Lock()

    def close(self) -> None:
        """Release the session; the searcher cannot be used any more."""
        with self._moving:
            self._opened, self._closed = None, True

    def renew(self) -> None:
        """Read statistics and index files anew from the next search on, because they have changed."""
        with self._moving:
            if self._opened is not None:
                self._opened = self._opened.renewed()

    def session(self) -> Session:
        """Return the session at the newest version; opens the collection if necessary.

        Raises:
            BadCollection: there is no collection at the URI, or no such version.
            BadSpec: it was closed.
        """
        with self._moving:
            if self._closed:
                raise BadSpec(f"{self.uri} was closed: quiver.open({self.uri!r}) opens it again")
            if self._opened is None:
                self._opened = self._open()
            elif self.looks:
                self._opened = self._opened.newest()
            return self._opened

    def look(self) -> bool:
        """Look for changes that other processes made: a newer version, indexes, recall targets and learned figures.

        Searches go on meanwhile, since an object store takes its time to answer.

        Returns:
            Whether there were any.
        """
        before = self.session()
        table, marks = before.table.newest(), before.cache.marks()
        with self._moving:
            known, self._marks = self._marks, marks
            changed = table is not before.table
            if self._opened is not before:  # another thread has moved already
                return True
            if changed:
                self._opened = before.at(table)
            elif known is not None and known != marks:
                changed, self._opened = True, before.reread()
            return changed

    def _open(self) -> Session:
        if (folder := local_path(self.uri)) is not None:
            with accepting(self.trusted):
                check_links(folder)
        try:
            table = Table(f"{self.uri}/items.lance", version=self.version)
        except NoCollection as error:
            raise NoCollection(absence(self.uri)) from error
        with accepting(self.trusted):
            check_places(self.uri, (base.path for base in table.dataset.base_paths().values()))
        return Session(table, cache=Cache(self.uri), trusted=self.trusted).newest()

    def answer(self, queries: Sequence[Query], started: float) -> Results:
        """Answer queries, in their order; ``started`` is when their budgets began, as ``perf_counter`` counts."""
        return answer(self.session(), queries, started=started)
