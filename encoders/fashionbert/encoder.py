"""A trained FashionBERT as an encoder: the inputs of its scorers from pictures and texts, stored with items.

Neither column is to be searched: a picture's is its patches as they enter BERT, after their layer norm, which is all
that does not depend on the other side; a text's is the numbers of its word pieces, as floats.
Shapes: n items, P patches, H width of a token, L pieces of the longest text a model takes.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from torch import nn

from quiver.encoders import _fingerprint
from quiver.encoders._patch.extract import Extractor, Source, open
from quiver.encoders._pieces import Pieces
from quiver.encoders._reranking import StoredInputs
from quiver.encoders._tower import chunks
from quiver.encoders.fashionbert.model import FashionBert
from quiver.encoders.fashionbert.scorer import Matcher
from quiver.errors import MissingWeights
from quiver.protocols import Reader, Scorer
from quiver.types import Floats, Space

Precision = Literal["auto", "fp32", "bf16"]
#: Pictures that go through the extractor together.
AT_ONCE = 8


@dataclass(frozen=True, slots=True, eq=False)
class Stock(StoredInputs):
    """An encoder of pictures and texts into the columns that matching reads.

    Attributes:
        source: takes features from pictures.
        patches: embeds features, in fp32 whatever the precision of scoring, so that columns do not depend on it.
        pieces: cuts texts.
        columns: the space of each key.
        scorers: one for each direction.
    """

    called: ClassVar[str] = "fashionbert"

    source: Source
    patches: nn.Module
    pieces: Pieces
    columns: dict[str, Space]
    scorers: tuple[Scorer, ...] = ()

    def _pictures(self) -> Reader:
        return self.source.read

    def _rows(self, key: str, batch: Sequence[Any], dim: int) -> Floats:
        """Return (n, P H) of pictures, or (n, L) of texts: ids, the rest padding."""
        rows = np.full((len(batch), dim), self.pieces.id("[PAD]"), np.float32)
        if key == "text" and len(batch):
            ids = self.pieces.encode(batch, limit=dim)
            rows[:, : ids.shape[1]] = ids
        elif len(batch):
            rows[:] = np.concatenate([self._embed(part) for part in chunks(batch, AT_ONCE)])
        return rows

    def _embed(self, pictures: Sequence[Any]) -> Floats:
        place = next(self.patches.parameters()).device
        with torch.inference_mode():
            found = self.patches(torch.from_numpy(self.source.look(pictures)).to(place))
        return cast(Floats, found.flatten(1).float().cpu().numpy())


def build(checkpoint: Path, *, device: torch.device, precision: Precision) -> Stock:
    """Read a trained model; see ``quiver.encoders.fashionbert.load``."""
    model = FashionBert.open(checkpoint).to(device).requires_grad_(False)
    if model.pieces is None:
        raise MissingWeights(
            f"fashionbert checkpoint={checkpoint}: tokenizer.json is missing, which holds its word pieces"
        )
    source = open(Extractor.read(checkpoint), device=str(device), folder=checkpoint)
    if source.width != model.config.feature:
        raise MissingWeights(
            f"{checkpoint}: the model reads {model.config.feature} features, patches have {source.width}"
        )
    patches, config = copy.deepcopy(model.patches), model.config
    seen = _fingerprint.of_state(patches.state_dict(), "fashionbert patches 1", source.revision)
    cut = _fingerprint.of_parts("fashionbert pieces 1", model.pieces.tokenizer.to_str(), str(config.max_text))
    columns = {
        "text": Space("fashionbert/pieces", config.max_text, "dot", cut),
        "image": Space("fashionbert/patches", config.patches * config.hidden, "dot", seen),
    }
    if precision == "bf16" or (precision == "auto" and fast_bf16(device)):
        model.lower()
    stock = Stock(source, patches, model.pieces, columns)
    return replace(stock, scorers=tuple(Matcher(model, stock, finds) for finds in ("image", "text")))


def fast_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check is not None and check() for check in checks)
