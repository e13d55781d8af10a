"""Services that get the log of a training too, such as Weights & Biases and MLflow: the trackers of accelerate."""

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from quiver.errors import BadSpec, MissingExtra

if TYPE_CHECKING:
    from quiver.encoders._train.loop import Loop

#: Trackers by name, with the package that each needs.
KNOWN = {
    "wandb": "wandb",
    "mlflow": "mlflow",
    "trackio": "trackio",
    "comet_ml": "comet_ml",
    "aim": "aim",
    "swanlab": "swanlab",
}


class Tracker(Protocol):
    """One service."""

    def log(self, values: Mapping[str, float], step: int | None) -> None:
        """Send figures."""
        ...

    def finish(self) -> None:
        """Send what is left, and end."""
        ...


def names(said: str) -> list[str]:
    """Split ``loop.tracker`` into names.

    Raises:
        BadSpec: one is unknown.
        MissingExtra: its package is not installed.
    """
    found = [name.strip() for name in said.split(",") if name.strip()]
    for name in found:
        if name not in KNOWN:
            known = ", ".join(KNOWN)
            raise BadSpec(f"tracker={name!r} is unknown: take {known}; files for TensorBoard are written anyway")
        if importlib.util.find_spec(KNOWN[name]) is None:
            raise MissingExtra(KNOWN[name])
    return found


def start(loop: "Loop", out: Path, phase: str) -> tuple[Tracker, ...]:
    """Start the trackers that a loop names, each with the settings of the loop.

    Args:
        loop: ``tracker`` names them.
        out: the folder of the run; its name is the project's, unless the service's own variable (WANDB_PROJECT,
            MLFLOW_EXPERIMENT_NAME) names one.
        phase: part of the training, added to the name of the project.
    """
    return tuple(_start(name, loop, out, phase) for name in names(loop.tracker))


def _start(name: str, loop: "Loop", out: Path, phase: str) -> Tracker:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    kind: Any = LOGGER_TYPE_TO_CLASS[name]
    project = "-".join(filter(None, [out.resolve().name, phase]))
    said = os.environ.get({"wandb": "WANDB_PROJECT", "mlflow": "MLFLOW_EXPERIMENT_NAME"}.get(name, ""), project)
    made = kind(said, logging_dir=out) if kind.requires_logging_directory else kind(said)
    made.start()
    made.store_init_configuration({key: value for key, value in asdict(loop).items() if value is not None})
    found: Tracker = made
    return found
