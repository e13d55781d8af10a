"""What searching costs on this machine, as measured once by ``quiver.engine.tuning.calibration``.

The figures are kept in the cache of the user, one file for each processor, number of threads and set of library
versions. They say which index is worth building, and what an index without a recall curve of its own may cost; where a
column was measured itself, its own curve counts.
"""

import hashlib
import importlib.metadata
import os
import platform
from collections.abc import Iterable
from pathlib import Path

from quiver.engine.statistics.cost_model import Machine
from quiver.engine.storage import json_store
from quiver.files import cache_home

#: The libraries that search.
SEARCHING = ("faiss-gpu", "faiss-cpu", "pylance", "torch", "quiver-search")


def machine() -> Machine:
    """Return what was measured of this machine with these libraries; the defaults where nothing was."""
    return json_store.read(_path(), Machine) or Machine(key=key())


def key() -> str:
    """Name the processor, the threads and the libraries that the figures hold for."""
    threads = os.environ.get("OMP_NUM_THREADS") or os.cpu_count()
    libraries = " ".join(f"{name} {version}" for name, version in installed(SEARCHING).items())
    return f"{processor()}, {threads} threads, {libraries}"


def installed(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of those libraries that are installed."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """Name the processor as Linux does, or else as Python can."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def keep(found: Machine) -> None:
    """Keep what was measured of this machine."""
    json_store.keep(_path(), found)


def _path() -> Path:
    return cache_home() / "machine" / f"{hashlib.sha256(key().encode()).hexdigest()[:16]}.json"
