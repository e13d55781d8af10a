"""Services that get the log of a training too, such as Weights & Biases and MLflow: the trackers of accelerate."""

import contextlib
import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


class Tracker:
    """One service. A training goes on without it where it fails.

    Args:
        name: of ``KNOWN``.
        inner: accelerate's tracker, which has been started.

    Attributes:
        name: of ``KNOWN``.
    """

    def __init__(self, name: str, inner: Any) -> None:
        self.name, self._inner = name, inner

    def log(self, values: Mapping[str, float], step: int | None) -> str:
        """Send figures; return why they could not be sent, or an empty text."""
        try:
            self._inner.log({_REFUSED.sub(_plain, name): value for name, value in values.items()}, step=step)
        except Exception as error:  # of any kind: services and their networks are not ours
            return said_in_a_line(error)
        return ""

    def finish(self) -> None:
        """Send what is left, and end."""
        with contextlib.suppress(Exception):
            self._inner.finish()


#: Characters that MLflow does not take in names; elsewhere it would be a pity if the same figure had another name.
_REFUSED = re.compile(r"[^\w\-. :/]")


def _plain(found: re.Match[str]) -> str:
    return "_at_" if found[0] == "@" else "_"


def said_in_a_line(error: Exception) -> str:
    """Return the class and the beginning of an error's text."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


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

    Raises:
        BadSpec: a service cannot be started; the message says why.
    """
    return tuple(_start(name, loop, out, phase) for name in names(loop.tracker))


def _start(name: str, loop: "Loop", out: Path, phase: str) -> Tracker:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    kind: Any = LOGGER_TYPE_TO_CLASS[name]
    project = "-".join(filter(None, [out.resolve().name, phase]))
    said = os.environ.get({"wandb": "WANDB_PROJECT", "mlflow": "MLFLOW_EXPERIMENT_NAME"}.get(name, ""), project)
    try:
        made = kind(said, logging_dir=out) if kind.requires_logging_directory else kind(said)
        made.start()
        made.store_init_configuration({key: value for key, value in asdict(loop).items() if value is not None})
    except Exception as error:
        why = said_in_a_line(error)
        raise BadSpec(f"loop.tracker={name} cannot start: {why}. Leave it out to train without it") from error
    return Tracker(name, made)
