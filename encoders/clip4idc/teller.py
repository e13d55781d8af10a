"""A trained generator as a teller: what changed between two pictures, in words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from quiver.encoders._tower import chunks
from quiver.encoders.clip4idc.caption_model import CaptionModel
from quiver.errors import BadSpec
from quiver.media import PairReader
from quiver.protocols import Reader, Told

#: Pairs that are described together.
AT_ONCE = 16


@dataclass(frozen=True, slots=True, eq=False)
class PairTeller:
    """Describes pairs.

    Attributes:
        model: in eval mode.
        look: decodes (before, after).
        given: n outputs of the reader to the input of the model.
        revision: hash of weights, words and the network below.
    """

    model: CaptionModel
    look: PairReader
    given: Callable[[Sequence[Any]], Tensor]
    revision: str

    @property
    def name(self) -> str:
        """Such as ``clip4idc/changes``."""
        return f"{self.model.config.generator}/{self.model.config.name}"

    @property
    def keys(self) -> tuple[str, ...]:
        """Pairs alone."""
        return ("pair",)

    def reader(self, key: str) -> Reader:
        """Return the decoder of pairs."""
        self._check(key)
        return self.look

    @torch.inference_mode()
    def memory(self, batch: Sequence[Any]) -> Tensor:
        """Return what the generator reads of n outputs of the reader, on its device."""
        return self.model.memory(self.given(batch).to(self.model.mean.device))

    def tell(self, key: str, batch: Sequence[Any], *, beams: int = 1, most: int = 1) -> list[list[Told]]:
        """Describe outputs of the reader; see ``quiver.protocols.Teller``."""
        self._check(key)
        if not 1 <= most <= beams:
            raise BadSpec(f"most must be from 1 to beams={beams}, not {most}")
        found: list[list[Told]] = []
        for part in chunks(batch, AT_ONCE):
            for sentences in self.model.tell(self.memory(part), beams=beams):
                found.append([Told(self.model.text(each), min(each.mean, 0.0)) for each in sentences[:most]])
        return found

    def _check(self, key: str) -> None:
        if key != "pair":
            raise BadSpec(f"{self.name} describes pairs, not {key}")
