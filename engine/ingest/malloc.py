"""Memory that is given back."""

import ctypes
import os
import sys
from contextlib import suppress

_M_ARENA_MAX = -8  # of glibc's malloc.h


def share_arenas() -> None:
    """Let threads share malloc arenas, one per core; a no-op outside glibc.

    glibc makes up to eight arenas per core and keeps what each has freed. Lance commits, joins and indexes from many
    short-lived threads, so a long ingest would hold several times what it uses.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_M_ARENA_MAX, max(2, os.cpu_count() or 2))
