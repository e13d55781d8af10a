"""Checkpoints of a run: one folder each, written atomically as safetensors and JSON, without pickle.

``step-00001000-00000500/``, of a run that was last validated after update 500, holds ``model.safetensors``,
``optimiser.safetensors``, ``best.safetensors`` (where validation has chosen one), ``average.safetensors`` (with
``ema``) and ``state.json``. The position in schedule, order and random streams is the step itself.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from quiver.encoders._train import sharding
from quiver.encoders._train.recipe import RANKED, differing
from quiver.errors import BadSpec

_FORMAT = 1

State = dict[str, Tensor]


@dataclass(slots=True)
class Point:
    """Progress of a run.

    Attributes:
        step: updates done.
        validated: the update after which validation last took place.
        best: the update with the best validation figure.
        stale: validations since then.
        figures: of that validation.
        ends: last steps of earlier plans, where the schedule began anew; see ``schedule.rate``.
        weights: the model's state at that update, on the CPU; None before the first validation.
        optimiser: state of the optimiser while a run resumes; empty otherwise.
        average: running mean of the weights while a run resumes; empty otherwise, and where there is none.
        scaler: loss scale of fp16 while a run resumes; empty otherwise.
    """

    step: int = 0
    validated: int = 0
    best: int = 0
    stale: int = 0
    figures: Mapping[str, float] = field(default_factory=dict)
    ends: tuple[int, ...] = ()
    weights: State | None = None
    optimiser: State = field(default_factory=dict)
    average: State = field(default_factory=dict)
    scaler: Mapping[str, float] = field(default_factory=dict)


def snapshot(model: nn.Module, *, keep: bool = True) -> State:
    """Copy a model's state to the CPU; where it is divided among ranks, all of them must call, see ``whole``."""
    return sharding.whole(model.state_dict(), keep=keep)


def save(place: Path, point: Point, *, parts: Iterable[tuple[str, State]], terms: Mapping[str, Any]) -> None:
    """Write a checkpoint, then remove older ones; one of the same step is left as it is.

    Args:
        place: the folder of the checkpoints.
        point: progress of the run.
        parts: names of files, and their tensors on the CPU: ``model``, ``optimiser``, ``average``. They are made one
            after the other, all of them even where nothing is written: other ranks may give slices.
        terms: settings that a run which resumes from here must share, JSON values.
    """
    whole = place / f"step-{point.step:08d}-{point.validated:08d}"
    part = place / f"{whole.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    new = not whole.exists()
    if new:
        part.mkdir(parents=True)
    for name, tensors in parts:
        if new:
            save_file(tensors, part / f"{name}.safetensors")
    if new:
        if point.weights is not None:
            save_file(point.weights, part / "best.safetensors")
        stand = {
            "format": _FORMAT,
            "step": point.step,
            "validated": point.validated,
            "best": point.best,
            "stale": point.stale,
            "figures": dict(point.figures),
            "ends": list(point.ends),
            "scaler": dict(point.scaler),
            "terms": dict(terms),
        }
        (part / "state.json").write_text(json.dumps(stand, indent=2))
        part.rename(whole)
    for other in place.iterdir():
        if other != whole:
            shutil.rmtree(other)


def resume(place: Path, model: nn.Module, *, terms: Mapping[str, Any]) -> Point:
    """Read the newest checkpoint into a model; without one, return the progress of a new run.

    Raises:
        BadSpec: it is of a run with other settings, further than asked for, or of another model. Another number of
            ranks is none, if an update has as many rows.
    """
    folder, stand = _newest(place)
    if folder is None:
        return Point()
    _refuse(folder, stand, terms)
    _load(folder, model)
    best, average = folder / "best.safetensors", folder / "average.safetensors"
    return Point(
        step=stand["step"],
        validated=stand["validated"],
        best=stand["best"],
        stale=stand.get("stale", 0),
        figures=stand["figures"],
        ends=tuple(stand.get("ends", ())),
        weights=load_file(best) if best.exists() else None,
        optimiser=load_file(folder / "optimiser.safetensors"),
        average=load_file(average) if average.exists() else {},
        scaler=stand["scaler"],
    )


def begun(place: Path) -> dict[str, Any]:
    """Return ``terms`` and ``ends`` of the newest checkpoint; {} without one."""
    return _newest(place)[1]


def _newest(place: Path) -> tuple[Path | None, dict[str, Any]]:
    states = sorted(each for each in place.glob("step-*") if not each.name.endswith(".part"))
    return (states[-1], json.loads((states[-1] / "state.json").read_text())) if states else (None, {})


def _refuse(folder: Path, stand: Mapping[str, Any], terms: Mapping[str, Any]) -> None:
    if stand["format"] > _FORMAT:
        raise BadSpec(f"{folder} was written by a newer Quiver: update, or start over with --fresh")
    begun = dict(stand["terms"])
    if begun.get("decay") == terms.get("decay") == 0:  # without decay Adam and AdamW are one
        begun.pop("optimiser", None)
    if begun.get("rows") == terms.get("rows") is not None and begun["ranks"] != terms["ranks"]:
        # The rows of an update are the same, however many ranks share them.
        begun = {name: value for name, value in begun.items() if name not in RANKED}
    for name, old, new in differing(begun, terms):
        raise BadSpec(
            f"{folder} is of a run with {name}={old}, not {new}: give the old value, or start over with --fresh"
        )


def _load(folder: Path, model: nn.Module) -> None:
    try:
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except RuntimeError as error:  # names and shapes, over many lines
        wrong = " ".join(str(error).split())[:300]
        raise BadSpec(f"{folder} is of another model: start over with --fresh ({wrong})") from error
