"""Memory that is kept: what one step frees the next one takes, without asking the system for it again."""

import ctypes
import sys
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_MOST = 2**31 - 1


def keep_blocks() -> None:
    """Have malloc keep large blocks that are freed; a no-op outside glibc.

    By default glibc gives back what is larger than a few megabytes at once, and the system hands it out anew page by
    page, each of them cleared: on a CPU a third of the time of a step of a small network.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            malloc = ctypes.CDLL(None)
            malloc.mallopt(_M_MMAP_THRESHOLD, _MOST)
            malloc.mallopt(_M_TRIM_THRESHOLD, _MOST)
