"""Damaged media never end a training: what cannot be read is named once, and another row takes its place.

Which rows take part is a function of the step's random generator and of the files alone, so that a run which resumes
reads what an uninterrupted one reads. The number of rows does not change with what can be read: ranks stay in step.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from quiver.encoders import _fingerprint
from quiver.encoders._train.feature import identified, plain
from quiver.encoders._train.progress import Progress
from quiver.encoders._train.rank import first
from quiver.encoders._train.reading import QUARANTINE, attempt, quarantine
from quiver.encoders._train.sharing import divided
from quiver.errors import BadData
from quiver.files import write_json
from quiver.protocols import Reader
from quiver.types import Rows

T = TypeVar("T")

#: Rows that are drawn in place of one that cannot be read, until one can.
TRIES = 100
#: References that are named on the terminal; the others are counted.
NAMED = 5
#: References that are checked and noted together.
BLOCK = 512


class Damage:
    """The references of one kind of media that could not be read while training.

    Args:
        key: one of KEYS.
        folder: of the list ``quarantine.jsonl``; None keeps no list.
    """

    def __init__(self, key: str, folder: Path | None) -> None:
        self.key = key
        self.folder = folder
        self._lock = Lock()
        self._known: set[str] = set()

    def add(self, ref: Any, reason: str) -> None:
        """Note a reference: once on the list, by name and count on the terminal while there are few."""
        name = json.dumps(plain(ref), ensure_ascii=False)
        with self._lock:
            if name in self._known:
                return
            self._known.add(name)
            count = len(self._known)
            if self.folder is not None and name not in self._listed():
                quarantine(self.folder, [{"ref": plain(ref), "key": self.key, "reason": reason}])
        if count <= NAMED:
            name, so_far = name.strip('"'), f"{count} {self.key} reference{'s' * (count > 1)} so far"
            why = reason.removeprefix(f"{name}: ")
            tqdm.write(f"note: {name} is left out: {why} ({so_far}{self.where})", file=sys.stderr)
        elif str(count).strip("0") == "1":  # 10, 100, ...
            tqdm.write(f"note: {count:,} {self.key} references are left out so far{self.where}", file=sys.stderr)

    @property
    def where(self) -> str:
        """The end of a message: where the list is."""
        return f": see {self.folder / QUARANTINE}" if self.folder is not None else ""

    def _listed(self) -> set[str]:
        """Return what other processes have listed: earlier ones of the same run, other ranks and workers."""
        path = None if self.folder is None else self.folder / QUARANTINE
        if path is None or not path.is_file():
            return set()
        found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
        return {json.dumps(each["ref"], ensure_ascii=False) for each in found if each.get("key") == self.key}


@dataclass(frozen=True, slots=True, eq=False)
class Decoder:
    """Decodes references of one kind of media, several at a time.

    Attributes:
        reader: decodes one.
        damage: where those that cannot be read are noted.
        threads: references decoded together.
    """

    reader: Reader
    damage: Damage
    threads: int = 8
    _pools: dict[int, ThreadPoolExecutor] = field(default_factory=dict)

    def __call__(self, refs: Sequence[Any]) -> list[Any]:
        """Return the reader's output for each reference, None for one that cannot be read."""
        process = os.getpid()  # a forked worker has none of the threads of its parent
        if process not in self._pools:
            self._pools[process] = ThreadPoolExecutor(self.threads, thread_name_prefix="decode")
        found = list(self._pools[process].map(partial(attempt, self.reader), refs))
        for ref, (_, why) in zip(refs, found, strict=True):
            if why:
                self.damage.add(ref, why)
        return [None if why else output for output, why in found]

    def readable(self, refs: Sequence[Any]) -> NDArray[np.bool_]:
        """Say which references can be read, (n,); ranks share the work, and a later call finds what was found."""
        return readable(self.reader, self.damage.key, refs, folder=self.damage.folder, threads=self.threads)


def replaced(
    rows: Rows, rng: np.random.Generator, read: Callable[[Rows], Sequence[T | None]], *, count: int, damage: str
) -> tuple[Rows, list[T]]:
    """Read the rows of a batch; for those that cannot be read, others are drawn.

    Args:
        rows: (b,) int64.
        rng: of the step.
        read: given rows, returns what a batch needs of each, or None where its media cannot be read.
        count: rows of the training set, from which others are drawn.
        damage: where it is said what could not be read, for the message.

    Returns:
        The rows that were read, (b,) int64, and what was read of each.

    Raises:
        BadData: none of ``TRIES`` rows that were drawn for one place can be read.
    """
    rows = rows.copy()
    found: dict[int, T] = {}
    places = np.arange(len(rows))
    for _ in range(TRIES):
        for place, each in zip(places.tolist(), read(rows[places]), strict=True):
            if each is not None:
                found[place] = each
        places = np.array([place for place in places.tolist() if place not in found], np.int64)
        if not len(places):
            return rows, [found[place] for place in range(len(rows))]
        rows[places] = rng.integers(count, size=len(places))
    raise BadData(f"the media of {TRIES} rows in a row cannot be read, so nothing is left to learn from{damage}")


def readable(
    reader: Reader, key: str, refs: Sequence[Any], *, folder: Path | None, threads: int = 8
) -> NDArray[np.bool_]:
    """Say which references can be read, before they are used.

    Args:
        reader: decodes one.
        key: one of KEYS.
        refs: n references.
        folder: where is noted what was found, by the references with their sizes and times of change, and the list
            ``quarantine.jsonl``; None keeps nothing.
        threads: references decoded together.

    Returns:
        (n,) bool, the same on every rank.
    """
    parts = [refs[start : start + BLOCK] for start in range(0, len(refs), BLOCK)]
    names = [_fingerprint.of_parts(key, repr(reader), *(identified(ref, key) for ref in part))[:16] for part in parts]
    notes = [None if folder is None else folder / "readable" / f"{name}.json" for name in names]
    found: dict[int, Mapping[str, str]] = {}

    def done(number: int) -> bool:
        note = notes[number]
        return number in found or (note is not None and note.is_file())

    def work(number: int) -> None:
        reasons: dict[str, str] = {}
        for place, why in enumerate(pool.map(lambda ref: attempt(reader, ref)[1], parts[number])):
            reasons |= {str(place): why} if why else {}
            progress.update()
        found[number] = reasons
        note = notes[number]
        if note is not None and folder is not None:
            bad = [(parts[number][int(place)], why) for place, why in found[number].items()]
            quarantine(folder, ({"ref": plain(ref), "key": key, "reason": why} for ref, why in bad))
            note.parent.mkdir(parents=True, exist_ok=True)
            write_json(note, found[number])

    with (
        ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool,
        Progress(f"checking {key}", len(refs), unit="files") as progress,
    ):
        for number in divided(len(parts), done=done, work=work, folder=folder and folder / "readable"):
            if number not in found:
                progress.skip(len(parts[number]))
    mask = np.ones(len(refs), bool)
    for number, note in enumerate(notes):
        told = found[number] if number in found or note is None else json.loads(note.read_text(encoding="utf-8"))
        mask[[number * BLOCK + int(place) for place in told]] = False
    if not mask.all() and first():
        where = f": see {folder / QUARANTINE}" if folder is not None else ""
        print(f"note: {(~mask).sum():,} of {len(mask):,} {key} references cannot be read{where}", file=sys.stderr)
    return mask
