"""Moments of a long film: throughput of split videos, and whether a search finds the right moment.

``python -m quiver.benchmarks.speed.moments FOLDER --clips PACK --encoder SPEC`` joins the clips of data packs into one
film, each of them repeated to fill its shot, in a fixed random order. It then measures

- decoding every frame of the film once, without Quiver; reading all windows in one pass; and reading a sample of
  windows one by one, each from a freshly opened file,
- the encoder's forward pass over windows that are in memory,
- adding the film to a fresh collection, and adding it again unchanged,
- searches: by the clip that a shot is made of, by one frame of it, and by a still that is not in the film (packs with a
  column ``still`` in their ``meta.csv``). A hit is right if window and shot share at least half of the shorter one.

Packs are folders with ``meta.csv``, whose column ``file`` names the clips.
"""

import argparse
import csv
import json
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

import quiver
from quiver import registry
from quiver.benchmarks.machine import machine
from quiver.engine.core.encoder import load
from quiver.engine.ingest.pipeline import CHUNK
from quiver.media import ImageReader, VideoReader, length, moment, split
from quiver.types import Query

#: Frames of a clip that fill its shot; a clip is shown forwards and backwards in turn.
_FRAMES = 40
#: Windows that are read one by one.
_SAMPLE = 24
_DEPTHS = (1, 5, 10)


@dataclass(frozen=True, slots=True)
class Shot:
    """A clip in the film.

    Attributes:
        clip: its file.
        still: a picture of the same scene that is not in the film, or None.
        start: its first second in the film.
        end: its last second.
    """

    clip: Path
    still: Path | None
    start: float
    end: float


def shots(packs: Sequence[Path], *, minutes: float, seed: int = 0) -> list[Shot]:
    """Return equally long shots, one of each clip, in random order; fewer clips make longer shots."""
    rows = [(pack, row) for pack in packs for row in csv.DictReader((pack / "meta.csv").read_text().splitlines())]
    random.Random(seed).shuffle(rows)
    size = minutes * 60 / len(rows)
    stills = [pack / row["still"] if row.get("still") else None for pack, row in rows]
    return [
        Shot(pack / row["file"], still, n * size, (n + 1) * size)
        for n, ((pack, row), still) in enumerate(zip(rows, stills, strict=True))
    ]


def join(path: Path, made: Sequence[Shot], *, side: int, fps: int) -> None:
    """Write the film, ``side`` pixels wide and high, as H.264 in MP4."""
    import av

    partial = path.with_suffix(".part")
    with av.open(partial, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = side, side, "yuv420p"
        for n, frame in enumerate(_frames(made, side=side, fps=fps)):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts = n
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    partial.rename(path)


def _frames(made: Sequence[Shot], *, side: int, fps: int) -> Iterator[NDArray[np.uint8]]:
    reader = VideoReader(_FRAMES, ImageReader(side, fit="pad", fill=0, resample="bilinear"))
    shown = 0
    for shot in made:
        clip = reader(shot.clip)
        there_and_back = [*clip, *clip[-2:0:-1]]
        count = round(shot.end * fps) - shown
        shown += count
        yield from islice(cycle(there_and_back), count)


def decoding(film: Path, reader: Any, spans: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Return seconds of decoding alone, of one pass over all windows, and of windows one by one (by a sample)."""
    import av

    started = perf_counter()
    with av.open(film) as container:
        container.streams.video[0].codec_context.thread_count = 1
        frames = sum(1 for _ in container.decode(video=0))
    whole = perf_counter() - started
    started = perf_counter()
    for each in reader.moments(str(film), spans):
        if isinstance(each, Exception):
            raise each
    together = perf_counter() - started
    sample = spans[:: max(1, len(spans) // _SAMPLE)]
    started = perf_counter()
    for span in sample:
        reader(moment(film, *span))
    alone = (perf_counter() - started) / len(sample) * len(spans)
    return {"frames": frames, "every_frame_s": whole, "one_pass_s": together, "one_by_one_s": alone}


def forward(encoder: Any, reader: Any, film: Path, spans: Sequence[tuple[float, float]]) -> float:
    """Return windows per second of the encoder alone, in chunks of the size that ingest uses."""
    space = encoder.spaces("video")[0]
    windows = list(reader.moments(str(film), spans[: 2 * CHUNK]))
    encoder.embed("video", windows[:8], space)
    started = perf_counter()
    for start in range(0, len(windows), CHUNK):
        encoder.embed("video", windows[start : start + CHUNK], space)
    return len(windows) / (perf_counter() - started)


def add(place: Path, film: Path, spec: str, **options: Any) -> tuple[Any, float]:
    """Add the film; return the report and the seconds, everything included."""
    started = perf_counter()
    report = quiver.open(place).add(film, encoder=spec, progress=False, **options)
    return report, perf_counter() - started


def searching(place: Path, made: Sequence[Shot], questions: int) -> dict[str, Any]:
    """Return for each kind of question how often the right moment is found, and the milliseconds of a search.

    Shots stand in random order, so the first of them are a random sample.
    """
    collection = quiver.open(place)
    frame = VideoReader(1)
    kinds: dict[str, list[tuple[Shot, Query]]] = {
        "clip": [(shot, Query({"video": str(shot.clip)}, target="video")) for shot in made],
        "frame": [(shot, Query({"image": frame(shot.clip)[0]}, target="video")) for shot in made[:questions]],
        "still": [(shot, Query({"image": str(shot.still)}, target="video")) for shot in made if shot.still],
    }
    found: dict[str, Any] = {}
    for kind, every in kinds.items():
        if not (asked := every[:questions]):
            continue
        collection.search(asked[0][1])
        ranks, spent = [], []
        for shot, query in asked:
            started = perf_counter()
            hits = list(collection.search(query))
            spent.append(perf_counter() - started)
            ranks.append(next((n for n, hit in enumerate(hits, 1) if is_right(shot, hit.meta)), None))
        within = {f"found@{k}": sum(rank is not None and rank <= k for rank in ranks) / len(ranks) for k in _DEPTHS}
        found[kind] = {"questions": len(asked), **within, "search_ms": median(spent) * 1e3}
    return found


def is_right(shot: Shot, meta: Any) -> bool:
    """Whether a window and a shot share at least half of the shorter of them."""
    shared = min(shot.end, meta["end"]) - max(shot.start, meta["start"])
    return bool(shared >= 0.5 * min(shot.end - shot.start, meta["end"] - meta["start"]))


def measure(film: Path, made: Sequence[Shot], spec: str, given: argparse.Namespace) -> Any:
    """Return all figures of one encoder."""
    window, stride, workers = given.window, given.stride, given.workers
    loaded = load(registry.canonical(spec))
    reader = loaded.encoder.reader("video")
    spans = split(length(film, "video"), window=window, stride=stride)
    read = decoding(film, reader, spans)
    rates = [forward(loaded.encoder, reader, film, spans)]
    place = film.parent / f"collection-{registry.split(spec)[0]}-{window:g}-{stride:g}"
    report, seconds = add(place, film, spec, window=window, stride=stride, workers=workers)
    rates.append(forward(loaded.encoder, reader, film, spans))
    again, unchanged = add(place, film, spec, window=window, stride=stride, workers=workers)
    if (report.added, again.unchanged) != (len(spans), len(spans)):
        raise SystemExit(f"{place} is not fresh, or windows are missing: {report}, {again}")
    rate = sum(rates) / len(rates)
    return {
        "encoder": spec,
        "windows": len(spans),
        **{name: round(value, 2) for name, value in read.items()},
        "forward_windows_a_second": round(rate, 2),
        "forward_s": round(len(spans) / rate, 1),
        "add_s": round(seconds, 1),
        "add_windows_a_second": round(len(spans) / seconds, 2),
        "add_of_forward": round(len(spans) / seconds / rate, 3),
        "add_again_s": round(unchanged, 2),
        "searches": searching(place, made, given.questions),
    }


def main() -> None:
    """Read the arguments, measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="empty folder for the film and the collections")
    parser.add_argument("--clips", type=Path, action="append", required=True, help="data pack; may be repeated")
    parser.add_argument("--encoder", action="append", required=True, help="encoder spec; may be repeated")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--side", type=int, default=320, help="width and height of the film in pixels")
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--window", type=float, default=10)
    parser.add_argument("--stride", type=float, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--questions", type=int, default=1000, help="most questions of each kind")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    film, made = given.folder / "film.mp4", shots(given.clips, minutes=given.minutes)
    if not film.exists():
        join(film, made, side=given.side, fps=given.fps)
    found = {
        "command": " ".join(["python -m quiver.benchmarks.speed.moments", *sys.argv[1:]]),
        "machine": machine(),
        "film": {"seconds": length(film, "video"), "shots": len(made), "bytes": film.stat().st_size},
        "encoders": [measure(film, made, spec, given) for spec in given.encoder],
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
