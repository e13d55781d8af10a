"""Cache of the embedded questions of a task, keyed by the revision of their space."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from quiver.benchmarks.recall.slug import slug
from quiver.engine.core.encoder import Loaded
from quiver.engine.ingest.pipeline import CHUNK, embed
from quiver.engine.ingest.progress import track
from quiver.errors import QuiverError
from quiver.files import write_arrays
from quiver.protocols import Reader
from quiver.task import Question, Task
from quiver.types import Floats, Space, keys_of, sources_of


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """Vectors of one key of every question of a task, in one space.

    Attributes:
        data: (q, dim) float32; zeros if a question lacks the key or could not be read.
        bad: reason why a question could not be read, by its number.
        ms: milliseconds of reading and embedding one question, measured when it was embedded.
    """

    data: Floats
    bad: dict[int, str]
    ms: float


def embedded(
    task: Task, key: str, space: Space, loaded: Loaded, *, folder: Path, progress: bool | None = None
) -> Embedded:
    """Return the vectors from the folder, or embed the questions and store them there."""
    # The revision of a space describes the side of items; the spec also names the side of queries, such as a prompt.
    name = slug(f"{key}-{space.name}", key, repr(space), loaded.spec, _digest(task, key))
    path = folder / "queries" / f"{name}.safetensors"
    kept = _open(path)
    if kept is not None:
        return kept
    fresh = _embed(task.questions, key, space, loaded, progress=progress)
    _save(path, fresh)
    return fresh


def _digest(task: Task, key: str) -> str:
    """Hash the contents of the questions: their text, and name, size and modification time of their files."""
    total = hashlib.sha256()
    for question in task.questions:
        media = question.query.media
        if key in keys_of(media):
            for source in sources_of(media, key):
                for each in source if isinstance(source, tuple) else (source,):
                    total.update(_mark(each, key))
        total.update(b"\n")
    return total.hexdigest()


def _mark(source: Any, key: str) -> bytes:
    if isinstance(source, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(source).data).digest()
    if isinstance(source, bytes):
        return hashlib.sha256(source).digest()
    if key == "text" or not os.path.isfile(source):
        return str(source).encode()
    state = os.stat(source)
    return f"{source} {state.st_size} {state.st_mtime_ns}".encode()


def _open(path: Path) -> Embedded | None:
    """Read a file written by ``_save``; None if it is missing or unreadable."""
    try:
        with safe_open(path, framework="np") as file:
            note = json.loads(file.metadata()["quiver"])
            data = file.get_tensor("data")
    except (OSError, SafetensorError, KeyError, TypeError, json.JSONDecodeError):
        return None
    return Embedded(data, {int(n): reason for n, reason in note["bad"].items()}, note["ms"])


def _save(path: Path, fresh: Embedded) -> None:
    header = {"quiver": json.dumps({"bad": fresh.bad, "ms": fresh.ms})}
    write_arrays(path, {"data": fresh.data}, header=header)


def _embed(questions: Sequence[Question], key: str, space: Space, loaded: Loaded, *, progress: bool | None) -> Embedded:
    reader = loaded.encoder.reader(key)
    data = np.zeros((len(questions), space.dim), np.float32)
    bad: dict[int, str] = {}
    wanted = [n for n, question in enumerate(questions) if key in keys_of(question.query.media)]
    started = perf_counter()

    def chunks() -> Iterator[int]:
        for at in range(0, len(wanted), CHUNK):
            part = wanted[at : at + CHUNK]
            read = {n: each for n in part if (each := _read(reader, questions[n], key, bad, n)) is not None}
            owner = [n for n, each in read.items() for _ in each]
            if owner:
                flat = [one for each in read.values() for one in each]
                vectors, failed = embed(loaded, key, flat, space, queries=True)
                bad.update({owner[at]: reason for at, reason in failed.items()})
                np.add.at(data, owner, vectors)  # several media of one question are averaged, as in a search
                data[list(read)] /= np.array([[len(each)] for each in read.values()], np.float32)
            yield len(part)

    for _ in track(chunks(), total=len(wanted), show=progress):
        pass
    data[sorted(bad)] = 0
    return Embedded(data, bad, (perf_counter() - started) * 1e3 / max(len(wanted), 1))


def _read(reader: Reader, question: Question, key: str, bad: dict[int, str], n: int) -> list[Any] | None:
    try:
        return [reader(source) for source in sources_of(question.query.media, key)]
    except QuiverError as error:
        bad[n] = str(error)
    except (OSError, ValueError, MemoryError) as error:
        bad[n] = f"{type(error).__name__}: {error}"
    return None
