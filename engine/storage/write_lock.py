"""One writer at a time: a lock file per collection, held while rows are looked up and committed.

Lance accepts two commits that its index on ``id`` cannot tell apart, and no store can know that a value was read
before it was changed elsewhere. So a writer of a collection on a local disk holds its lock from the look-up to
the commit, never while decoding or embedding. The system releases the lock with the process that holds it, however
that ends, so no lock is left behind. Object stores, and disks without locks, have none: there a writer commits
without Lance's index, which lets Lance find every conflict, and looks up again after one.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from quiver.files import writing

if TYPE_CHECKING:
    from filelock import BaseFileLock

#: Name of the lock file in the folder of a collection.
NAME = "write.lock"
#: Seconds between two attempts to get the lock, and between two log lines while waiting.
_POLL, _PATIENCE = 0.01, 10.0
_LOG = logging.getLogger("quiver")


def local_path(uri: str) -> str | None:
    """Return the local folder of a URI; None for an object store.

    >>> local_path("/data/shop"), local_path("file:///data/my%20shop"), local_path("s3://bucket/shop")
    ('/data/shop', '/data/my shop', None)
    """
    if "://" not in uri:
        return uri
    parts = urlsplit(uri)
    return url2pathname(parts.path) if parts.scheme == "file" else None


class WriteLock:
    """The lock of one collection; the thread that holds it may take it again. ``lock_of`` makes one."""

    def __init__(self, folder: str | None) -> None:
        self._folder = folder
        self._refused = folder is None

    @cached_property
    def _lock(self) -> "BaseFileLock":
        from filelock import FileLock

        return FileLock(os.path.join(self._folder or "", NAME))

    @contextmanager
    def hold(self) -> Iterator[bool]:
        """Wait for the lock and hold it; yield whether it is held: False if the store has no locks.

        Raises:
            CannotWrite: the folder cannot be written to.
        """
        held = not self._refused and self._acquire()
        try:
            yield held
        finally:
            if held:
                self._lock.release()

    def _acquire(self) -> bool:
        from filelock import Timeout

        folder = self._folder or ""
        while True:
            try:
                with writing(folder):
                    os.makedirs(folder, exist_ok=True)
                    self._lock.acquire(timeout=_PATIENCE, poll_interval=_POLL)
            except Timeout:
                _LOG.warning(
                    "another process writes to %s: waiting for it (lock file %s)", folder, self._lock.lock_file
                )
            except NotImplementedError:  # this disk has no locks
                self._refused = True
                return False
            else:
                return True


@lru_cache(maxsize=256)
def _of(folder: str) -> WriteLock:
    return WriteLock(folder)


def lock_of(collection: str) -> WriteLock:
    """Return the lock of a collection, the same one for all threads of this process."""
    folder = local_path(collection)
    return WriteLock(None) if folder is None else _of(os.path.realpath(folder))
