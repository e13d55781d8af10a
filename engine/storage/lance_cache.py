"""Sizes of Lance's caches: by default they grow to 7 GB in a process that reads while others write.

Every commit that extends an index leaves the pages of the former one in the cache, where nothing asks for them again.
So the cache of indexes has room for twice what the indexes of the collection take on disk.
"""

import os
from pathlib import Path

import psutil

from quiver.engine.storage.write_lock import local_path

#: Bytes of the cache of manifests and of the schemas of data files; smallest cache of indexes.
METADATA, _LEAST = 64 << 20, 64 << 20
#: Largest cache of indexes, as a share of the memory of the machine.
_SHARE = 4


def index_bytes(uri: str) -> int:
    """Return the bytes of the cache of indexes for a dataset; on an object store, a sixteenth of the memory."""
    total = psutil.virtual_memory().total
    folder = local_path(uri)
    if folder is None:
        return max(_LEAST, total // 16)
    return min(max(_LEAST, 2 * _size(Path(folder) / "_indices")), max(_LEAST, total // _SHARE))


def _size(folder: Path) -> int:
    size = 0
    for at, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.stat(os.path.join(at, name)).st_size
            except OSError:  # another process removed it meanwhile
                continue
    return size
