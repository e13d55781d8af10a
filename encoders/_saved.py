"""Trained models as folders: ``config.json``, ``model.safetensors``, and files of the model's own."""

import inspect
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from huggingface_hub import PyTorchModelHubMixin, snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from quiver import files, registry
from quiver.errors import BadSpec, MissingWeights, QuiverError

CONFIG, WEIGHTS = "config.json", "model.safetensors"

C = TypeVar("C")


class Saved(nn.Module, PyTorchModelHubMixin):
    """A model with ``save_pretrained``, ``from_pretrained`` and ``open``; strict about its files, and silent.

    A subclass is made of one frozen dataclass, ``config``. It overrides ``_made`` where it is made of more.

    Attributes:
        config: describes the model completely.
        folder: where it was read from; None for a model that was made.
        also: further files of its folder, as patterns, for downloads from the Hub.
    """

    config: Any
    folder: Path | None = None
    also: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read a folder, every weight of it, in eval mode.

        Raises:
            MissingWeights: a file is missing or broken, or the weights do not fit the config.
            BadSpec: the config is of another version, or makes no sense.
        """
        for name in (CONFIG, WEIGHTS):
            if not (folder / name).is_file():
                raise MissingWeights(
                    f"{folder} has no {name}: give the folder of a trained model (out/model){cls._ours()}"
                )
        try:
            values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            state = load_file(folder / WEIGHTS)
            model = cls._made(configured(cls._kind(), values, where=str(folder / CONFIG)), folder, state)
            model.load_state_dict(state)
        except QuiverError:
            raise
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:300]
            family = cls.__module__.split(".")[-2]
            raise MissingWeights(f"{folder} holds no whole {family} model: {reason}") from error
        model.folder = folder
        return model.eval()

    def save(self, folder: Path, config: Any) -> None:
        """Write the model with another config than its own, such as one whose files are in the folder."""
        own, self.config = self.config, config
        try:
            with files.writing(folder):
                self.save_pretrained(folder)
        finally:
            self.config = own

    @classmethod
    def _made(cls, config: Any, folder: Path, state: Mapping[str, Tensor]) -> Self:
        """Create a model with arbitrary weights from a config and the other files of its folder."""
        return cls(config)

    @classmethod
    def _ours(cls) -> str:
        """Name the checkpoints that ship with this family, for a message."""
        named = ", ".join(registry.shipped("encoders", cls.__module__.split(".")[-2]))
        return f", or the name of a checkpoint that ships with Quiver: {named}" if named else ""

    @classmethod
    def _kind(cls) -> type[Any]:
        kind: type[Any] = inspect.signature(cls, eval_str=True).parameters["config"].annotation
        return kind

    def _save_pretrained(self, save_directory: Path) -> None:
        super()._save_pretrained(save_directory)
        text = json.dumps(asdict(self.config), indent=2, ensure_ascii=False)
        (save_directory / CONFIG).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def _from_pretrained(cls, *, model_id: str, config: Any = None, **hub: Any) -> Self:
        """Read a folder, or a repository of the Hub; every weight must be there, and none be left over."""
        folder = Path(model_id)
        if not folder.is_dir():
            named = ("revision", "cache_dir", "force_download", "local_files_only", "token")
            wanted = {name: hub[name] for name in named}
            folder = Path(snapshot_download(model_id, allow_patterns=[CONFIG, WEIGHTS, *cls.also], **wanted))
        model = cls.open(folder)
        if config is not None and config != model.config:
            raise BadSpec(f"{folder} was saved with another config than the one given")
        return model


def configured(kind: type[C], values: Mapping[str, Any], *, where: str) -> C:
    """Create a config from ``config.json``; missing fields take their defaults.

    Args:
        kind: a dataclass.
        values: of its fields.
        where: names the file, for the message.

    Raises:
        BadSpec: a field is unknown, so that a newer model is refused rather than misread.
    """
    known = {each.name for each in fields(kind)}  # type: ignore[arg-type]  # a dataclass
    if unknown := sorted(values.keys() - known):
        raise BadSpec(f"{where} has the unknown field {unknown[0]!r}: it was written by another version")
    return kind(**values)
