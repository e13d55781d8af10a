"""Every file of a collection is cut, flipped or removed: the answer stays right, or one line says what is wrong.

A damaged file must be noticed, be rebuilt, or make no difference. Anything else is a fault: another answer in silence,
an error that is not a ``QuiverError``, or one of several lines.
"""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np

import quiver
from quiver.errors import QuiverError


def prepare(folder: Path) -> Path:
    """Make a small collection that has every kind of file: two indexes, a quarantined row, several versions."""
    rng, place = np.random.default_rng(3), folder / "whole"
    shop, vectors = quiver.open(place, catch_up=False), rng.normal(size=(300, 8)).astype(np.float32)
    vectors[7] = np.nan
    ids = [f"i{n}" for n in range(300)]
    shop.add_vectors(vectors, ids=ids, space="mine", meta={"price": list(range(300))}, progress=False)
    shop.index("faiss factory=HNSW8", recall=0.9)
    shop.index("lance kind=IVF_FLAT partitions=2")
    shop.update_meta({"i3": {"colour": "red"}})
    shop.delete(["i9"])
    return place


def answers(place: Path) -> list:
    """Everything that a reader may ask."""
    shop = quiver.open(place, catch_up=False)
    probe = np.linspace(-1, 1, 8).astype(np.float32)
    found = [
        [(hit.id, round(hit.score, 4), dict(hit.meta)) for hit in shop.search(vectors={"mine": probe}, k=9, index=kind)]
        for kind in ("exact", "faiss", "lance", None)
    ]
    some = shop.search(vectors={"mine": probe}, k=5, where="price < 50").ids
    items = [(item.id, dict(item.meta)) for item in shop.get(["i3", "i9", "i200"])]
    return [*found, some, items, len(shop), [each["id"] for each in shop.info()["quarantine"]]]


def harm(path: Path, how: str, rng: np.random.Generator) -> None:
    """Damage one file."""
    data = path.read_bytes()
    at = int(rng.integers(max(len(data), 1)))
    if how == "removed":
        path.unlink()
    elif how == "flipped" and data:
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :])
    else:
        path.write_bytes({"emptied": b"", "cut": data[:at], "lengthened": data + b"\0" * 9}.get(how, data))


def run(folder: Path, rounds: int, seed: int) -> tuple[Counter, list[str]]:
    """Damage every file in each way, ``rounds`` times; returns counts of outcomes, and the faults."""
    place, rng, faults, counts = prepare(folder), np.random.default_rng(seed), [], Counter()
    expected = answers(place)
    files = sorted(path.relative_to(place) for path in place.rglob("*") if path.is_file())
    for path in files * rounds:
        for how in ("removed", "emptied", "cut", "flipped", "lengthened"):
            copy = folder / "harmed"
            shutil.copytree(place, copy)
            harm(copy / path, how, rng)
            outcome = _try(copy, expected)
            counts[outcome.partition(":")[0]] += 1
            if outcome.startswith("FAULT"):
                faults.append(f"{path} {how}: {outcome}")
            shutil.rmtree(copy)
    return counts, faults


def _try(place: Path, expected: list) -> str:
    try:
        found = answers(place)
    except QuiverError as error:
        return "one clear line" if "\n" not in str(error) else f"FAULT: {len(str(error).splitlines())} lines: {error}"
    except BaseException as error:
        return f"FAULT: {type(error).__name__}: {str(error)[:300]}"
    if found == expected:
        return "right answers"
    odd = next(n for n, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b)
    return (
        f"FAULT: another answer in silence, question {odd}: {str(found[odd])[:120]} and not {str(expected[odd])[:120]}"
    )
