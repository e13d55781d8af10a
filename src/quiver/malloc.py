"""Two settings of glibc's malloc, for long ingests and for training on a CPU; both do nothing elsewhere."""

import ctypes
import os
import sys
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
_MOST = 2**31 - 1


def share_arenas() -> None:
    """Let threads share malloc arenas, one per core.

    glibc makes up to eight arenas per core and keeps the memory that each has freed. Lance commits, joins and indexes
    from many short-lived threads, so a long ingest would hold several times the memory it uses.
    """
    _set(_M_ARENA_MAX, max(2, os.cpu_count() or 2))


def keep_blocks() -> None:
    """Have malloc keep large blocks that are freed, for the next step to use.

    By default glibc returns blocks of more than a few megabytes at once, and the system hands them out anew page by
    page, each of them cleared: on a CPU a third of the time of a step of a small network.
    """
    _set(_M_MMAP_THRESHOLD, _MOST)
    _set(_M_TRIM_THRESHOLD, _MOST)


def _set(parameter: int, value: int) -> None:
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(parameter, value)
