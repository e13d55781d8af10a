"""Throughput of ingest relative to the encoder's forward pass, and memory by collection size.

``python -m quiver.benchmarks.speed.ingest --photos FOLDER --encoder SPEC`` times two tasks in one run, interleaved: the
encoder's forward pass over pictures that are already decoded in memory, and adding the folder to a fresh collection,
which reads, hashes, decodes, encodes and commits. The ratio is the overhead of ingest. It then adds synthetic captions
in steps and records the resident memory after each.
"""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import quiver
from quiver import registry
from quiver.benchmarks.machine import resident_mib
from quiver.engine.core.encoder import Loaded, load
from quiver.engine.ingest.pipeline import CHUNK
from quiver.types import Item


def forward_rate(loaded: Loaded, pictures: Sequence[Any]) -> float:
    """Return pictures per second of the encoder alone, in chunks of the size that ingest uses."""
    space = loaded.encoder.spaces("image")[0]
    started = perf_counter()
    for start in range(0, len(pictures), CHUNK):
        loaded.encoder.embed("image", pictures[start : start + CHUNK], space)
    return len(pictures) / (perf_counter() - started)


def add_rate(folder: Path, spec: str, *, workers: int | None) -> float:
    """Return items per second of adding a folder to a fresh collection, everything included."""
    place = tempfile.mkdtemp(prefix="quiver-bench-")
    try:
        collection = quiver.open(place)
        started = perf_counter()
        report = collection.add(folder, encoder=spec, workers=workers, progress=False)
        return report.added / (perf_counter() - started)
    finally:
        shutil.rmtree(place)


def compare(folder: Path, spec: str, *, rounds: int, workers: int | None) -> dict[str, Any]:
    """Measure both, interleaved, so that a slower machine slows both."""
    loaded = load(registry.canonical(spec))
    reader = loaded.encoder.reader("image")
    paths = sorted(path for path in folder.rglob("*") if path.suffix in {".jpg", ".jpeg", ".png"})
    pictures = [reader(path) for path in paths[:1024]]
    forward_rate(loaded, pictures[:CHUNK])
    forward, add = [], []
    for _ in range(rounds):
        forward.append(forward_rate(loaded, pictures))
        add.append(add_rate(folder, spec, workers=workers))
    forward.append(forward_rate(loaded, pictures))
    pairs = [a / ((f + g) / 2) for a, f, g in zip(add, forward, forward[1:], strict=False)]
    return {
        "items": len(paths),
        "forward_per_second": round(median(forward), 1),
        "add_per_second": round(median(add), 1),
        "ratio": round(median(pairs), 3),
        "ratios": [round(pair, 3) for pair in pairs],
    }


def grow(items: int, step: int) -> list[dict[str, float]]:
    """Add synthetic captions in steps; return rows, resident mebibytes and items per second after each."""
    place = tempfile.mkdtemp(prefix="quiver-bench-")
    collection = quiver.open(place)
    points = []
    try:
        for start in range(0, items, step):
            started = perf_counter()
            collection.add(*_captions(start, step), encoder="classic", workers=1, progress=False)
            rate = step / (perf_counter() - started)
            points.append(
                {"rows": start + step, "resident_mib": round(resident_mib(), 1), "per_second": round(rate, 1)}
            )
    finally:
        shutil.rmtree(place)
    return points


def _captions(start: int, count: int) -> Iterator[Item]:
    return (Item(f"{n}", {"text": f"caption number {n} of thing {n % 97}"}) for n in range(start, start + count))


def main() -> None:
    """Read the arguments, measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of pictures")
    parser.add_argument("--encoder", required=True, help="encoder spec")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--grow", type=int, default=20_000, help="number of captions for the memory measurement")
    given = parser.parse_args()
    found = {
        "command": " ".join(["python -m quiver.benchmarks.speed.ingest", *sys.argv[1:]]),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in ("torch", "pylance", "numpy", "pyarrow")},
        "images": compare(given.photos, given.encoder, rounds=given.rounds, workers=given.workers),
        "memory": grow(given.grow, max(1, given.grow // 10)),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
