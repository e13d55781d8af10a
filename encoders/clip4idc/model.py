"""CLIP4IDC: ordered pairs of pictures, and sentences about what changed between them, in one space.

Guo, Wang, Laaksonen, "CLIP4IDC: CLIP for Image Difference Captioning", AACL 2022, arXiv:2206.00629: the model of stage
one, which is adapted to retrieval before a caption generator is trained on its tokens. Reference:
sushizixin/CLIP4IDC, MIT; see ``vision`` and ``text`` for the parts.
Legend: B pairs, P patches of a picture, L ids, F features, D dim; T = 2 (P + 1) tokens of a pair.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import torch
from huggingface_hub import ModelCard
from torch import Tensor, nn
from torch.nn import functional

from quiver.encoders._patch.extract import FILE as PATCHES
from quiver.encoders._pieces import FILE as PIECES
from quiver.encoders._saved import Saved
from quiver.encoders.clip4idc import text, vision, words
from quiver.encoders.clip4idc.config import Config
from quiver.encoders.clip4idc.words import Learnt, Words
from quiver.errors import MissingWeights

#: Largest logarithm of what cosines are multiplied by.
LARGEST = math.log(100)


class Contrast(NamedTuple):
    """Inputs of the loss: unit vectors (B, D) of sentences and of pairs, and what cosines are multiplied by."""

    text: Tensor
    pair: Tensor
    scale: Tensor


class Clip4Idc(Saved):
    """The model.

    Args:
        config: what it is made of.

    Attributes:
        pairs: the encoder of two pictures.
        sentences: the encoder of sentences.
        scale: logarithm of what cosines are multiplied by.
        words: the vocabulary; None where a frozen encoder reads sentences, or nobody has set it.
    """

    also: ClassVar[tuple[str, ...]] = (PIECES, PATCHES, "encoders/*", "files.json")

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.pairs = vision.Pairs(config.vision, config.dim)
        self.sentences = text.make(config.text, config.dim)
        self.scale = nn.Parameter(torch.tensor(-math.log(config.temperature)))
        self.words: Words | None = None

    def tokens(self, pictures: Tensor) -> Tensor:
        """Return all tokens of pairs, (B, T, D): what a caption generator reads.

        Token 0 is the class token of the picture before, tokens 1 to P its patches in reading order; token P + 1 is
        the class token of the picture after, and the rest its patches. They are not normalised.

        Args:
            pictures: before and after: (B, 2, S, S, 3) uint8 pixels, or features (B, 2, P, F).
        """
        tokens: Tensor = self.pairs(pictures)
        return tokens

    def pool(self, tokens: Tensor) -> Tensor:
        """Return unit vectors (B, D) of pairs from their tokens: the mean of the two class tokens."""
        return functional.normalize(self.pairs.pool(tokens).float(), dim=1)

    def embed_pair(self, pictures: Tensor) -> Tensor:
        """Return unit vectors (B, D) of ordered pairs of pictures."""
        return self.pool(self.tokens(pictures))

    def embed_text(self, given: Tensor) -> Tensor:
        """Return unit vectors (B, D) of sentences.

        Args:
            given: ids (B, L), or vectors (B, F) of the frozen text encoder.
        """
        return functional.normalize(self.sentences(given).float(), dim=1)

    def forward(self, batch: tuple[Tensor, Tensor]) -> Contrast:
        """Embed sentences and pairs of pictures."""
        if self.training:  # as the reference does after every update
            with torch.no_grad():
                self.scale.clamp_(max=LARGEST)
        given, pictures = batch
        return Contrast(self.embed_text(given), self.embed_pair(pictures), self.scale.exp())

    def generate_model_card(self) -> ModelCard:
        """Return the README that is saved next to the weights: description and use of the model."""
        return ModelCard(
            "---\nlibrary_name: quiver-search\ntags:\n- multimodal\n- retrieval\n---\n"
            f"# {self.config.name}\n\nSentences about what changed between two pictures, and ordered pairs of "
            f"pictures, in one space: `clip4idc/{self.config.name}` ({self.config.dim}).\n\n"
            "`quiver` takes it as `clip4idc checkpoint=FOLDER`.\n"
        )

    def _save_pretrained(self, save_directory: Path) -> None:
        super()._save_pretrained(save_directory)
        if isinstance(self.words, Learnt):
            self.words.pieces.save(save_directory / PIECES)

    @classmethod
    def _made(cls, config: Any, folder: Path, state: Mapping[str, Tensor]) -> Self:
        model = super()._made(config, folder, state)
        model.words = words.open(config.text, folder)
        if model.words is not None and len(model.words) != config.text.vocabulary:
            raise MissingWeights(
                f"{folder}: the model has {config.text.vocabulary} word pieces, {PIECES} has {len(model.words)}"
            )
        return model


def translate(state: Mapping[str, Tensor], *, length: int, sentences: bool = True) -> dict[str, Tensor]:
    """Rename the reference's weights of stage one, or those of a CLIP, to those of ``Clip4Idc``.

    Args:
        state: by name, without the prefix ``clip.``.
        length: most ids of a sentence.
        sentences: whether the text tower's are returned too.
    """
    seen = {name.removeprefix("visual."): each for name, each in state.items() if name.startswith("visual.")}
    out = {f"pairs.{name}": each for name, each in vision.translate(seen).items()} | {"scale": state["logit_scale"]}
    read = text.translate(state, length) if sentences else {}
    return out | {f"sentences.{name}": each for name, each in read.items()}
