"""The log of a run: lines on the terminal, ``log.jsonl``, TensorBoard if it is installed, and trackers if wanted."""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from quiver.encoders._train import tracker
from quiver.encoders._train.loop import Loop
from quiver.encoders._train.progress import Progress
from quiver.files import append_text, write_text


class Window:
    """Running means of the logged scalars; they stay on the device until they are read."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0
        self._since = time.perf_counter()

    def add(self, scalars: Mapping[str, Tensor]) -> None:
        """Add one step's scalars."""
        for name, value in scalars.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.detach().float()
        self._count += 1

    def means(self) -> tuple[list[str], Tensor]:
        """Return names and (len(names),) means."""
        return list(self._sums), torch.stack(list(self._sums.values())) / self._count

    def pace(self) -> float:
        """Return steps per second."""
        return self._count / max(1e-9, time.perf_counter() - self._since)


class Journal:
    """The log of one phase; only the first process writes.

    Args:
        out: the folder of the run.
        phase: its name; empty for a single phase.
        step: the first step; lines of an earlier process about later steps are dropped.
        validated: the same for validations.
        loop: settings, of which the number of steps and the trackers are read.
        silent: write nothing.

    Raises:
        MissingExtra: the package of a tracker is not installed.
        BadSpec: a tracker is unknown.
    """

    def __init__(self, out: Path, phase: str, *, step: int, validated: int, loop: Loop, silent: bool) -> None:
        self.phase = phase
        self.steps = loop.steps
        self._path = None if silent else out / "log.jsonl"
        self._trackers = () if silent else tracker.start(loop, out, phase)
        self._board = None if silent else _board(out / "tensorboard" / phase, step)
        self._bar = Progress(phase, loop.steps, unit="steps", done=step, silent=silent)
        if self._path is not None:
            _cut(self._path, phase, train=step, validation=validated)

    def say(self, line: str) -> None:
        """Print one line above the progress bar."""
        if self._path is not None:
            tqdm.write(f"{self.phase}: {line}" if self.phase else line, file=sys.stdout)
            sys.stdout.flush()

    def write(self, kind: str, step: int, *, figures: Mapping[str, float]) -> None:
        """Log and print figures: ``train`` means since the last, or ``validation``."""
        if self._path is None:
            return
        append_text(self._path, json.dumps({"phase": self.phase, "kind": kind, "step": step, **figures}) + "\n")
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(f"{kind}/{name}", value, step)
        told = {f"{kind}/{name}": value for name, value in figures.items()}
        for each in self._trackers:
            if why := each.log(told, step):
                self._trackers = tuple(other for other in self._trackers if other is not each)
                self.say(f"{each.name} takes no more figures, the training goes on without it: {why}")
        words = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        self.say(f"step {step}/{self.steps}  {'' if kind == 'train' else f'{kind}  '}{words}")

    def tick(self) -> None:
        """Advance the progress bar by one step."""
        self._bar.update()

    def close(self) -> None:
        """End the progress bar, and flush TensorBoard and the trackers."""
        self._bar.close()
        for each in self._trackers:
            each.finish()
        if self._board is not None:
            self._board.close()


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a ``log.jsonl``; a truncated last line is left out."""
    lines = []
    for line in path.read_text().splitlines() if path.is_file() else ():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return lines


def _cut(path: Path, phase: str, **last: int) -> None:
    """Drop the lines of steps and validations that will be repeated."""
    kept = [line for line in read(path) if line["phase"] != phase or line["step"] <= last[line["kind"]]]
    write_text(path, "".join(json.dumps(line) + "\n" for line in kept))


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)
