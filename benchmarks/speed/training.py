"""Rows a second, processor time and memory of trainings: ``python -m quiver.benchmarks.speed.training``.

Two trainings on made data, the same for every version of Quiver: ``pixels`` (a small ResNet with a composer, from JPEG
files of 640 x 480, where decoding costs most) and ``pairs`` (two towers on a catalogue as a table, where reading the
rows costs most: texts by their words, pictures by ``classic``). Both train from nothing with seed 0, and each runs in a
process of its own. Processor seconds are those of all threads and worker processes; on a machine that others use too
they tell more than rows a second. Settings of the recipe can be added, as in ``loop.workers=2``.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from quiver.benchmarks.machine import commit, machine, versions
from quiver.encoders import _settings
from quiver.task import Question, Task
from quiver.types import Item, Query

#: Rows of each case, and pictures that its rows share.
ROWS: Mapping[str, int] = {"pixels": 600, "pairs": 200_000}
PICTURES = 1000
_WORDS = ("red", "blue", "green", "shirt", "shoe", "dress", "coat", "cotton", "wool", "small", "large", "men", "women")
_ONCE = {"loop.epochs": 0.0, "loop.log_every": 1, "loop.validations": 0, "loop.validate_every": 0, "loop.device": "cpu"}


@contextmanager
def metered(found: dict[str, dict[str, float]], name: str) -> Iterator[None]:
    """Note wall seconds, processor seconds and the peak of memory (MiB) at the end of the block."""
    wall, processor = time.perf_counter(), _processor()
    yield
    found[name] = {
        "seconds": time.perf_counter() - wall,
        "processor_seconds": _processor() - processor,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "peak_mib_of_a_child": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }


def _processor() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def pixels(folder: Path, rows: int, settings: Mapping[str, str], *, steps: int) -> dict[str, Any]:
    """Train a composer on pixels.

    Args:
        folder: for pictures and the run.
        rows: questions, and pictures.
        settings: of the recipe, in place of those here.
        steps: updates.

    Returns:
        ``imports`` and ``train`` as of ``metered``, the median of ``rows_per_second``, and the last ``loss``.
    """
    found: dict[str, Any] = {}
    paths = _photos(folder / "photos", rows, (640, 480))
    with metered(found, "imports"):
        from quiver.encoders.artemis.train import PRESETS, train
    items = [Item(str(n), {"image": path}) for n, path in enumerate(paths)]
    questions = [
        Question(
            id=str(n),
            query=Query(media={"image": paths[n], "text": f"more {n % 17} and less {n % 5}"}, target="image"),
            relevant={str((n + 1) % rows): 1},
            exclude=(str(n),),
        )
        for n in range(rows)
    ]
    task = Task("made", "0", items, questions, ("Success@10",), "image", "all compete", "made here")
    small = {"towers.image": "timm:resnet10t", "towers.pretrained": False, "model.size": 112}
    values = {**_ONCE, **small, "loop.batch": min(32, rows), "loop.steps": steps, "first.epochs": 0.0}
    recipe = _recipe(PRESETS["cpu"], values, settings, "artemis")
    with metered(found, "train"), redirect_stdout(sys.stderr):
        train(task, None, folder / "run", recipe=recipe)
    return found | _figures(folder / "run")


def pairs(folder: Path, rows: int, settings: Mapping[str, str], *, steps: int) -> dict[str, Any]:
    """Train two towers on a catalogue of captioned pictures.

    Args:
        folder: for table, pictures and the run.
        rows: of the table; they share a thousand pictures.
        settings: of the recipe, in place of those here.
        steps: updates.

    Returns:
        As of ``pixels``, and ``read`` (the table) and ``gather`` (its pairs), which ``train`` does once more.
    """
    found: dict[str, Any] = {}
    table = _catalogue(folder, rows)
    with metered(found, "imports"):
        from quiver.encoders.two_tower.data import gather
        from quiver.encoders.two_tower.train import PRESETS, train
        from quiver.engine.tasks import training_data
    with metered(found, "read"):
        learn, _ = training_data.lessons([str(table)])
    with metered(found, "gather"):
        counted = len(gather(learn, own=False))
    small = {"towers.text": "words", "towers.image": "classic", "model.dim": 64, "model.buckets": 65_536}
    batch = min(4096, counted)
    values = {**_ONCE, **small, "data.own": False, "loop.batch": batch, "loop.steps": steps, "tune.towers": ""}
    recipe = _recipe(PRESETS["paper"], values, settings, "two_tower")
    with metered(found, "train"), redirect_stdout(sys.stderr):
        train(learn, None, folder / "run", recipe=recipe)
    return found | _figures(folder / "run")


def _recipe(preset: Any, values: Mapping[str, Any], settings: Mapping[str, str], model: str) -> Any:
    recipe = _settings.changed(preset, dict(values))
    return _settings.changed(recipe, _settings.parse(recipe, dict(settings), model=model))


def _figures(run: Path) -> dict[str, float]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    train = [line for line in lines if line["kind"] == "train"]
    paces = [line["rows_per_second"] for line in train]
    return {"rows_per_second": median(paces[1:] or paces), "loss": train[-1]["loss"]}


def _photos(folder: Path, count: int, size: tuple[int, int]) -> list[str]:
    """Make pictures of coloured patches, the same each time."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    paths = [folder / f"{number:06d}.jpg" for number in range(count)]
    for path in paths:
        patches = rng.integers(0, 255, (24, 24, 3), np.uint8)
        Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
    return [str(path) for path in paths]


def _catalogue(folder: Path, rows: int) -> Path:
    photos = _photos(folder / "photos", min(PICTURES, rows), (64, 64))
    words = np.array(_WORDS)[np.random.default_rng(1).integers(0, len(_WORDS), (rows, 4))]
    table = pa.table(
        {
            "id": [f"p{number:08d}" for number in range(rows)],
            "image": [photos[number % len(photos)] for number in range(rows)],
            "text": [f"{' '.join(said)} {number}" for number, said in enumerate(words.tolist())],
            "brand": [f"brand {number % 500}" for number in range(rows)],
            "split": ["train"] * rows,
        }
    )
    pq.write_table(table, folder / "shop.parquet")
    return folder / "shop.parquet"


CASES = {"pixels": pixels, "pairs": pairs}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure trainings and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help="pixels, pairs; none for both. Settings follow, as in loop.workers=2")
    parser.add_argument("--rows", type=int, help=f"rows of each case; default {ROWS['pixels']} and {ROWS['pairs']:,}")
    parser.add_argument("--steps", type=int, default=24, help="updates of the weights")
    parser.add_argument("--within", type=Path, help=argparse.SUPPRESS)  # a case in this process, files in this folder
    given = parser.parse_intermixed_args(arguments)
    settings = [word for word in given.cases if "=" in word]
    names = [word for word in given.cases if "=" not in word] or list(CASES)
    if unknown := [name for name in names if name not in CASES]:
        parser.error(f"there is no case {unknown[0]!r}: the cases are {', '.join(CASES)}")
    if given.within is not None:
        split = dict(each.split("=", 1) for each in settings)
        rows = given.rows or ROWS[names[0]]
        print(json.dumps(CASES[names[0]](given.within, rows, split, steps=given.steps)))
        return
    report: dict[str, Any] = {"machine": machine(), "versions": versions(), "commit": commit(), "seed": 0}
    for name in names:
        with TemporaryDirectory() as folder:
            command = [sys.executable, "-m", __spec__.name, name, *settings, "--within", folder]
            command += ["--steps", str(given.steps), *(["--rows", str(given.rows)] if given.rows else [])]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        shown = {"rows": given.rows or ROWS[name], "steps": given.steps, "settings": settings}
        report[name] = {**shown, **json.loads(done.stdout.splitlines()[-1])}
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
