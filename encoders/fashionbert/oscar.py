"""Oscar: one BERT reads a caption, the names of detected objects, and the regions they were found in.

Li et al. 2020, arXiv:2004.06165. Reference: microsoft/Oscar, ``modeling_bert``, MIT.
Shapes: B pairs, L word pieces, R regions, S = L + R tokens, F features of a region, H width of a token, V pieces, C
classes.
Deviates: padding is masked by minus infinity (see block). The modality-pair and captioning masks are left out.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from quiver.encoders.fashionbert.block import Encoder, Head, initialise, pool
from quiver.encoders.fashionbert.config import Trunk
from quiver.encoders.fashionbert.embed import Regions, Words
from quiver.encoders.fashionbert.store import Stored
from quiver.errors import BadData


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Trunk):
    """Oscar-base as it is fine-tuned for retrieval: 70 word pieces, regions of 2048 features and 6 box terms.

    Attributes:
        feature: width of a region's vector.
        norm: layer norm on embedded regions; it is the checkpoint's to say, never to be assumed.
        classes: of the head on [CLS]: 2 for retrieval, 1 for regression, 2 or 3 for the contrast of pre-training.
        classifier: ``linear``, or ``mlp`` with one hidden layer ``wide`` times as wide.
        wide: see classifier.
        drop: dropout on the pooled [CLS]; pre-training has none.
    """

    activation: Literal["gelu_tanh", "gelu"] = "gelu"
    max_text: int = 70
    feature: int = 2054
    norm: bool = True
    classes: int = 2
    classifier: Literal["linear", "mlp"] = "linear"
    wide: int = 3
    drop: float = 0.1

    @classmethod
    def tiny(cls) -> Self:
        """Return a size for tests: 2 blocks of 32."""
        return cls(
            vocabulary=60, hidden=32, layers=2, heads=4, inner=64, positions=24, max_text=12, feature=22
        )  # fmt: skip


class Output(NamedTuple):
    """Outputs of the trunk and of the head on [CLS].

    Attributes:
        tokens: (B, S, H), the last block's, padding included.
        pooled: (B, H), tanh of a dense layer on [CLS].
        logits: (B, C) of the head on it.
    """

    tokens: Tensor
    pooled: Tensor
    logits: Tensor


class Oscar(Stored):
    """The model: ``[CLS] caption [SEP] tags [SEP] PAD ...``, then regions, which have no position and no segment."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.words = Words(config)
        self.regions = Regions(config, config.feature, norm=config.norm)
        self.encoder = Encoder(config)
        self.pooler = nn.Linear(config.hidden, config.hidden)
        self.dropout = nn.Dropout(config.drop)
        self.classify = _classifier(config)
        self.guess_word = Head(config)
        self.apply(initialise)

    def forward(self, text_BL: Tensor, types_BL: Tensor, regions_BRF: Tensor, keep_BR: Tensor) -> Output:
        """Read pairs.

        Args:
            text_BL: int64 ids of word pieces.
            types_BL: int64 segments: 1 for tags, 0 for all else.
            regions_BRF: float features.
            keep_BR: bool, False for padding among the regions.
        """
        embedded_BRH = self.regions(regions_BRF)
        tokens_BSH = self.encoder(*self._join(text_BL, types_BL, embedded_BRH, keep_BR))
        pooled_BH = pool(self.pooler, tokens_BSH[:, 0])
        return Output(tokens_BSH, pooled_BH, self.classify(self.dropout(pooled_BH)))

    def guess(self, tokens_NH: Tensor) -> Tensor:
        """Return the logits (..., V) of the words behind tokens (..., H)."""
        logits: Tensor = self.guess_word(tokens_NH, self.words.word.weight)
        return logits

    def embed_regions(self, regions_BRF: Tensor) -> Tensor:
        """Return (B, R, H): all of the regions that does not depend on a text, to be kept for ``score``."""
        embedded: Tensor = self.regions(regions_BRF)
        return embedded

    def score(self, text_BL: Tensor, types_BL: Tensor, regions_BRH: Tensor, keep_BR: Tensor) -> Tensor:
        """Return (B,) float32, the margin of the two logits, without what ranking does not need.

        The softmax of the reference is 1 for every margin above 17; the margin keeps them apart.

        Args:
            text_BL: as in ``forward``.
            types_BL: as in ``forward``.
            regions_BRH: of ``embed_regions``.
            keep_BR: as in ``forward``.

        Raises:
            BadData: the head has other than two classes.
        """
        if self.config.classes != 2:
            raise BadData(f"a margin needs two classes; this model has {self.config.classes}")
        first_BH = self.encoder.first(*self._join(text_BL, types_BL, regions_BRH, keep_BR))
        logits_B2 = self.classify(self.dropout(pool(self.pooler, first_BH)))
        margin: Tensor = (logits_B2[:, 1] - logits_B2[:, 0]).float()
        return margin

    def _join(self, text_BL: Tensor, types_BL: Tensor, regions_BRH: Tensor, keep_BR: Tensor) -> tuple[Tensor, Tensor]:
        words_BLH = self.words(text_BL, types_BL)
        tokens_BSH = torch.cat([words_BLH, regions_BRH.to(words_BLH.dtype)], dim=1)
        return tokens_BSH, torch.cat([text_BL != self.config.pad, keep_BR], dim=1)


def contrast(logits_BC: Tensor, labels_B: Tensor) -> Tensor:
    """Return the loss of the head on [CLS]: cross-entropy, or with a single class the squared error."""
    if logits_BC.shape[1] == 1:
        return functional.mse_loss(logits_BC[:, 0].float(), labels_B.float())
    return functional.cross_entropy(logits_BC.float(), labels_B)


def _classifier(config: Config) -> nn.Module:
    if config.classifier == "linear":
        return nn.Linear(config.hidden, config.classes)
    inner = config.hidden * config.wide
    return nn.Sequential(nn.Linear(config.hidden, inner), nn.ReLU(), nn.Linear(inner, config.classes))
