"""A checkpoint on disk: its settings, and its network with every weight in place."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from quiver.encoders import _hub
from quiver.errors import BadSpec, MissingWeights

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
Pooling = Literal["auto", "cls", "mean", "last", "pooler"]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded model.

    Attributes:
        folder: where its files lie.
        network: in float32, in eval mode, without gradients.
        place: the device the network is on.
        pooling: what the user asked for.
    """

    folder: Path
    network: Any
    place: "torch.device"
    pooling: Pooling

    @property
    def config(self) -> Any:
        """The network's settings."""
        return self.network.config

    @property
    def kind(self) -> str:
        """The network's model type, such as ``siglip``."""
        return str(self.network.config.model_type)


def settings(folder: Path) -> Mapping[str, Any]:
    """Read ``config.json``.

    Raises:
        FileNotFoundError: there is none.
        BadSpec: it is not JSON.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"no config.json in {folder}")
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise BadSpec(f"{path} cannot be read: {_hub.brief(error)}") from error


def open(folder: Path, place: "torch.device", *, pooling: Pooling) -> Checkpoint:
    """Load the network of a folder.

    Raises:
        OSError: files are missing.
        MissingWeights: the weights cannot be read, do not fit, or are not complete.
    """
    import torch
    from transformers import AutoModel

    try:
        network, report = AutoModel.from_pretrained(
            folder, dtype=torch.float32, trust_remote_code=False, output_loading_info=True
        )
    except OSError:
        raise
    except Exception as error:  # torch, safetensors and transformers each have errors of their own
        raise MissingWeights(f"{folder} cannot be loaded: {_hub.brief(error)}") from error
    # A pooler is a head of its own that many checkpoints leave out; whoever uses it asks for it by name.
    absent = sorted(k for k in report["missing_keys"] if pooling == "pooler" or not _spare(k))
    if absent:
        raise MissingWeights(f"{folder} lacks {len(absent)} of the weights, such as {absent[0]}")
    return Checkpoint(folder, network.eval().requires_grad_(False).to(place), place, pooling)


def part(what: str, folder: Path, read: Callable[[], T]) -> T:
    """Read what else a checkpoint needs, such as its tokenizer.

    Raises:
        FileNotFoundError: it cannot be read; the library may fail in any way where files are missing.
    """
    try:
        return read()
    except Exception as error:
        raise FileNotFoundError(f"no {what} can be loaded from {folder}: {_hub.brief(error)}") from error


def _spare(name: str) -> bool:
    return name.startswith("pooler.")
