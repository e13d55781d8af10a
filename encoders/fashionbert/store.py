"""A model and its word pieces in one folder: config.json, model.safetensors, tokenizer.json."""

from pathlib import Path
from typing import Any, Self

from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from safetensors.torch import load_file
from torch import nn

from quiver.encoders.fashionbert.token import FILE, Pieces
from quiver.errors import MissingWeights

WEIGHTS = "model.safetensors"


class Stored(nn.Module, PyTorchModelHubMixin):
    """A module with ``save_pretrained`` and ``from_pretrained``, strict about weights and silent.

    Attributes:
        pieces: the word pieces it was trained with, kept beside its weights; None where nobody set them.
    """

    pieces: Pieces | None = None

    def _save_pretrained(self, save_directory: Path) -> None:
        super()._save_pretrained(save_directory)
        if self.pieces is not None:
            self.pieces.save(save_directory / FILE)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **rest: Any) -> Self:
        """Build and fill a model; ``rest`` is what the mixin passes on, the configuration among it."""
        hub = {name: rest[name] for name in ("revision", "cache_dir", "force_download", "token", "local_files_only")}

        def find(name: str) -> Path:
            path = Path(model_id, name)
            return path if path.parent.is_dir() else Path(hf_hub_download(model_id, name, **hub))

        if "config" not in rest or not (weights := find(WEIGHTS)).is_file():
            raise MissingWeights(f"{model_id} holds no config.json and {WEIGHTS}: save a model there first")
        model = cls(rest["config"])
        fill(model, load_file(weights), str(weights))
        try:
            words = find(FILE)
        except EntryNotFoundError:
            return model.eval()
        model.pieces = Pieces.open(words) if words.is_file() else None
        return model.eval()


def fill(model: nn.Module, weights: dict[str, Any], source: str) -> None:
    """Load every weight of a model.

    Raises:
        MissingWeights: one is missing, unknown or of another shape.
    """
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        words = " ".join(str(error).split())
        raise MissingWeights(f"{source} does not fit this configuration: {words[:300]}") from error
