"""Mutated media files, thousands of them: none ends a run, each is embedded or quarantined with one line.

Whole files of every kind that Quiver reads are cut, flipped, spliced and lengthened, mostly near their headers, where
decoders believe what they read. Each round is one ``add`` of a folder, as a user would do it.
"""

import time
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

import quiver
from quiver.benchmarks.datasets.world.files import save_video

#: Seconds that a run may take for each file, far more than decoding takes.
PER_FILE = 2.0


def seeds(folder: Path) -> list[Path]:
    """Write one small file of each kind."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (40, 52, 3), dtype=np.uint8)
    for suffix in ("png", "jpg", "gif", "bmp", "tif", "webp"):
        Image.fromarray(picture).save(folder / f"picture.{suffix}")
    frames = [Image.fromarray(np.roll(picture, n, 0)) for n in range(3)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    wave = np.sin(np.arange(8000) / 9).astype(np.float32)
    for suffix in ("wav", "flac", "ogg", "mp3"):
        soundfile.write(folder / f"sound.{suffix}", wave, 16000)
    save_video(folder / "film.mp4", rng.integers(0, 255, (6, 32, 32, 3), dtype=np.uint8), 6)
    (folder / "words.txt").write_text("a red dress, with long sleeves\n")
    return sorted(folder.iterdir())


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """Change a file a little."""
    for _ in range(int(rng.integers(1, 5))):
        size, way = max(len(data), 1), int(rng.integers(6))
        at = int(rng.integers(size) if rng.integers(3) else rng.integers(min(size, 64)))
        piece = rng.bytes(int(rng.integers(1, 9)))
        if way == 0:
            data = data[:at]
        elif way == 1:
            data = data[:at] + piece + data[at + len(piece) :]
        elif way == 2:
            data = data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :]
        elif way == 3:
            data = data[:at] + data[at : at + 50] * int(rng.integers(2, 20)) + data[at:]
        elif way == 4:
            data = data[:at] + b"\0" * len(piece) + data[at + len(piece) :]
        else:
            data = data[:at] + piece + data[at:]
    return data


def run(folder: Path, count: int, seed: int, *, batch: int = 500) -> Counter:
    """Add ``count`` mutated files; returns how many were embedded and quarantined, and the slowest run."""
    rng, whole, counts = np.random.default_rng(seed), seeds(folder / "whole"), Counter()
    for start in range(0, count, batch):
        place = folder / f"round{start}"
        place.mkdir()
        names = []
        for n in range(start, min(start + batch, count)):
            origin = whole[n % len(whole)]
            names.append(f"{n}{origin.suffix}")
            (place / names[-1]).write_bytes(mutate(origin.read_bytes(), rng))
        started = time.monotonic()
        shop = quiver.open(folder / "c", catch_up=False)
        report = shop.add(place, encoder="classic", workers=1, progress=False)
        seconds = time.monotonic() - started
        assert seconds < 30 + PER_FILE * len(names), f"{len(names)} files took {seconds:.0f} s"
        bad = {row["id"]: row["reason"] for row in shop.info()["quarantine"]}
        assert all("\n" not in reason and reason for reason in bad.values())
        there = {item.id for item in shop.get([f"{place.name}/{name}" for name in names])}
        lost = [name for name in names if f"{place.name}/{name}" not in there | set(bad)]
        counts["files"] += len(names)
        counts["embedded"] += len(there)
        counts["quarantined"] += report.quarantined
        counts["neither, counted in a note"] += len(lost)
    assert len(shop.search(text="red", k=5)) >= 0
    return counts
