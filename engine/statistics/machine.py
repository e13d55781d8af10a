"""Search costs of this machine, measured once by ``quiver.engine.tuning.calibration``.

The figures are stored in the user's cache, one file for each processor, number of threads and set of library
versions. They decide which index to build, and estimate the cost of an index without a recall curve. The curve of a
column takes precedence.
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

#: Libraries whose versions affect search costs.
SEARCHING = ("faiss-gpu", "faiss-cpu", "pylance", "torch", "quiver-search")


def machine() -> Machine:
    """Return the measured costs of this machine with these libraries, or the defaults."""
    return json_store.read(_path(), Machine) or Machine(key=key())


def key() -> str:
    """Return the key of the figures: processor, threads and library versions."""
    threads = os.environ.get("OMP_NUM_THREADS") or os.cpu_count()
    libraries = " ".join(f"{name} {version}" for name, version in installed(SEARCHING).items())
    return f"{processor()}, {threads} threads, {libraries}"


def installed(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of the installed search libraries."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """Return the name of the processor, from Linux if possible, else from Python."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def keep(found: Machine) -> None:
    """Store the measured costs of this machine."""
    json_store.keep(_path(), found)


def _path() -> Path:
    return cache_home() / "machine" / f"{hashlib.sha256(key().encode()).hexdigest()[:16]}.json"
