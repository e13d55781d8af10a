"""A checkpoint on disk: its settings, and its network with every weight in place."""

import io
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from quiver.encoders import _hub
from quiver.encoders._precision import Precision, dtype
from quiver.errors import MissingWeights
from quiver.types import Floats

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
Pooling = Literal["auto", "cls", "mean", "last", "pooler"]


@dataclass(frozen=True, slots=True)
class Wishes:
    """How a user wants a model to embed.

    Attributes:
        pooling: how tokens become one vector.
        frames: of a video; None for the usual number.
        dim: leading numbers of a vector to keep; None for all.
        precision: of weights and sums.
        at_once: inputs that go through the network together; None for the usual number.
    """

    pooling: Pooling = "auto"
    frames: int | None = None
    dim: int | None = None
    precision: Precision = "fp32"
    at_once: int | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded model.

    Attributes:
        folder: where its files lie.
        network: in eval mode, without gradients.
        place: the device the network is on.
        wishes: what the user asked for.
    """

    folder: Path
    network: Any
    place: "torch.device"
    wishes: Wishes

    @property
    def pooling(self) -> Pooling:
        """How the user wants tokens to become one vector."""
        return self.wishes.pooling

    @property
    def dtype(self) -> "torch.dtype":
        """The type of its weights and of its inputs that are real numbers."""
        found: torch.dtype = self.network.dtype
        return found

    def at_once(self, usual: int) -> int:
        """Return how many inputs go through the network together."""
        return self.wishes.at_once or usual

    def rows(self, vectors: "torch.Tensor") -> Floats:
        """Return (n, dim) vectors as float32 on the CPU, cut to the numbers that the user wants to keep."""
        kept: Floats = vectors[:, : self.wishes.dim].float().cpu().numpy()
        return kept

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
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"no config.json in {folder}")
    return _hub.described(folder)


def open(folder: Path, place: "torch.device", wishes: Wishes) -> Checkpoint:
    """Load the network of a folder.

    Raises:
        OSError: files are missing.
        MissingWeights: the weights cannot be read, do not fit, or are not complete.
    """
    from transformers import AutoModel

    try:
        with redirect_stdout(io.StringIO()):  # the classes of PE-Video print a complaint about their own docstrings
            network, report = AutoModel.from_pretrained(
                folder, dtype=dtype(wishes.precision), trust_remote_code=False, output_loading_info=True
            )
    except OSError:
        raise
    except Exception as error:  # torch, safetensors and transformers each have errors of their own
        raise MissingWeights(f"{folder} cannot be loaded: {_hub.brief(error)}") from error
    # A pooler is a head of its own that many checkpoints leave out; whoever uses it asks for it by name.
    absent = sorted(k for k in report["missing_keys"] if wishes.pooling == "pooler" or not _spare(k))
    if absent:
        raise MissingWeights(f"{folder} lacks {len(absent)} of the weights, such as {absent[0]}")
    return Checkpoint(folder, network.eval().requires_grad_(False).to(place), place, wishes)


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
