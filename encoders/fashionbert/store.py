"""A model and its word pieces in one folder: config.json, model.safetensors, tokenizer.json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor

from quiver.encoders._pieces import FILE, Pieces
from quiver.encoders._saved import Saved


class Stored(Saved):
    """A model that reads texts.

    Attributes:
        pieces: the word pieces it was trained with, kept beside its weights; None where nobody set them.
    """

    pieces: Pieces | None = None
    also: ClassVar[tuple[str, ...]] = (FILE,)

    def _save_pretrained(self, save_directory: Path) -> None:
        super()._save_pretrained(save_directory)
        if self.pieces is not None:
            self.pieces.save(save_directory / FILE)

    @classmethod
    def _made(cls, config: Any, folder: Path, state: Mapping[str, Tensor]) -> Self:
        model = super()._made(config, folder, state)
        if (folder / FILE).is_file():
            model.pieces = Pieces.open(folder / FILE)
        return model
