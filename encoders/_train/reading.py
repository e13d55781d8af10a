"""Reading references in training: identities for caches, and a list of the unreadable ones."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

from quiver.errors import QuiverError
from quiver.files import append_text, writing
from quiver.media import locate

#: Errors of a damaged or missing file; any other is a fault of the program.
UNREADABLE = (QuiverError, OSError, ValueError, MemoryError)
#: The list, in the folder of a cache.
QUARANTINE = "quarantine.jsonl"


@lru_cache(maxsize=8)
def _pool(threads: int, _: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(threads, os.cpu_count() or 1), thread_name_prefix="decode")


def decoders(threads: int) -> ThreadPoolExecutor:
    """Return this process's pool of threads for decoding; a forked process gets one of its own."""
    return _pool(threads, os.getpid())


def attempt(read: Callable[[Any], Any], ref: Any) -> tuple[Any, str]:
    """Return a reader's output and "", or None and the reason why the reference is unreadable."""
    try:
        return read(ref), ""
    except UNREADABLE as error:
        return None, reason(error)


def reason(error: BaseException) -> str:
    """Return the message of an error, or its name where it has none."""
    return str(error) or type(error).__name__


def quarantine(folder: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Add references that cannot be read to ``quarantine.jsonl``: ``ref``, ``key`` and ``reason`` of each."""
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    if text:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            append_text(folder / QUARANTINE, text)


def identity(ref: str | None) -> str:
    """Return a text that differs where a file differs in path, size or time of change; of no file, the reference."""
    try:
        found = os.stat(locate(ref)[0]) if ref is not None else None
    except (OSError, ValueError, QuiverError):
        found = None  # an error shows when it is read
    return f"{ref} {found.st_size} {found.st_mtime_ns}" if found else str(ref)
