"""Whether there is a newer version of a table, told by two looks at a folder of this machine where Lance would list it.

Lance puts version v of a table into ``_versions`` as a file that is named by 2^64 - 1 - v, by renaming it when it is
whole, and versions follow on one another (https://lance.org/format/table/: manifest naming V2). So v is the newest as
long as there is no file of v + 1. That might have come and gone, since old versions can be swept away; but then the
folder has another time than it had when v was known to be the newest.
"""

import os
from typing import NamedTuple

_LAST = (1 << 64) - 1


class Sight(NamedTuple):
    """What was seen of a version that has no successor: where, and when the folder was changed last."""

    version: int
    folder: int
    changed: int


class Watch:
    """The folder of a table's versions."""

    def __init__(self, uri: str) -> None:
        self._folder = None if "://" in uri else os.path.join(uri, "_versions")

    def look(self, version: int) -> Sight | None:
        """Return what is seen of a version; None where it has a successor, or nothing can be said."""
        if self._folder is None:
            return None
        try:
            folder = os.open(self._folder, os.O_RDONLY)  # opened, so that a network's file system asks its server
        except OSError:
            return None
        try:
            state = os.fstat(folder)
            if _there(version + 1, folder):
                return None
            return Sight(version, state.st_ino, state.st_mtime_ns)
        finally:
            os.close(folder)

    def named(self, version: int) -> bool:
        """Tell whether a version that exists is named as expected, so that its successor will be."""
        return self._folder is not None and os.path.exists(os.path.join(self._folder, _name(version)))


def _name(version: int) -> str:
    return f"{_LAST - version:020}.manifest"


def _there(version: int, folder: int) -> bool:
    try:
        os.stat(_name(version), dir_fd=folder)
    except FileNotFoundError:
        return False
    return True
