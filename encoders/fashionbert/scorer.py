"""Ranks pictures for a text, or texts for a picture, by the margin of the two [CLS] logits.

It reads both together, so it has no recall of its own: whatever finds candidates, it puts them in order.
Shapes: P pairs, H width of a token.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from quiver.encoders._reranking import Embeds, PairMatcher
from quiver.encoders.fashionbert.model import FashionBert
from quiver.encoders.fashionbert.score import margins
from quiver.types import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Matcher(PairMatcher):
    """The scorer of one direction.

    Attributes:
        model: in eval mode, in any precision.
        stock: the encoder of what is read.
        finds: ``image`` or ``text``.
    """

    called: ClassVar[str] = "fashionbert"

    model: FashionBert
    stock: Embeds
    finds: str

    @property
    def device(self) -> str:
        """Its device."""
        return str(next(self.model.parameters()).device)

    def _margins(self, texts: Floats, pictures: Floats, pairs_P2: NDArray[np.int64]) -> Floats:
        config = self.model.config
        ids = [row[row != config.pad].tolist() for row in texts.astype(np.int64)]
        patches = torch.from_numpy(np.ascontiguousarray(pictures).reshape(-1, config.patches, config.hidden))
        return margins(self.model, ids, patches, pairs_P2)
