"""A model that tells what changed: the encoder of pairs with one of two generators, and its vocabulary.

It has a copy of the encoder of pairs, so that captioning may go on training it and vectors of the space stay as they
are.
Legend: B pairs, T tokens of a pair, P patches of a picture, F features, D width, L words, V vocabulary.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from quiver.encoders._pieces import FILE, Pieces
from quiver.encoders._saved import Saved
from quiver.encoders.clip4idc import speak, vision
from quiver.encoders.clip4idc.caption import Captioner
from quiver.encoders.clip4idc.caption_config import Telling
from quiver.encoders.clip4idc.duda import Duda
from quiver.encoders.clip4idc.words import Clip, Learnt, Words
from quiver.errors import MissingWeights

#: Folder of this model in the folder of a trained ``Clip4Idc``.
FOLDER = "caption"


class CaptionModel(Saved):
    """The model.

    Args:
        config: what it is made of.

    Attributes:
        pairs: the encoder of two pictures; None with DUDA.
        writer: the generator.
        mean: the mean memory of the training pairs: what a sentence is likely after without its pair.
        words: the vocabulary.
    """

    also: ClassVar[tuple[str, ...]] = (FILE,)
    mean: Tensor

    def __init__(self, config: Telling) -> None:
        super().__init__()
        self.config = config
        shape = config.vision
        self.pairs: vision.Pairs | None = None
        self.writer: Captioner | Duda
        if config.generator == "duda":
            self.writer = Duda(config.duda, config.words, shape.feature)
            mean = torch.zeros(2, shape.feature, shape.rows, shape.columns)
        else:
            self.pairs = vision.Pairs(shape, config.dim)
            self.writer = Captioner(config.writer, config.words, config.dim)
            mean = torch.zeros(2 * (shape.patches + 1), config.dim)
        self.register_buffer("mean", mean)
        self.words: Words | None = None

    def memory(self, pictures: Tensor) -> Tensor:
        """Return what the generator reads: tokens (B, T, D), or feature maps (B, 2, F, rows, columns).

        Args:
            pictures: before and after: (B, 2, S, S, 3) uint8 pixels, or features (B, 2, P, F).
        """
        if self.pairs is not None:
            tokens: Tensor = self.pairs(pictures)
            return tokens
        return pictures.float().transpose(2, 3).unflatten(3, (self.config.vision.rows, self.config.vision.columns))

    def forward(self, pictures: Tensor, ids_BL: Tensor) -> tuple[Tensor, speak.State]:
        """Return log probabilities (B, L, V) of the word after each word, and the state before the first."""
        state = self.writer.start(self.memory(pictures))
        return self.writer.read(state, ids_BL), state

    @torch.inference_mode()
    def tell(self, memory: Tensor, *, beams: int, penalty: float = 1.0) -> list[list[speak.Sentence]]:
        """Return up to ``beams`` sentences about each pair, best first; a batch's rows do not depend on each other."""
        return speak.beam(self.writer, memory, beams=beams, most=self.most, penalty=penalty)

    @property
    def most(self) -> int:
        """Largest number of words of a sentence."""
        return self.config.words.length - 2

    def text(self, sentence: speak.Sentence) -> str:
        """Return the words of a sentence."""
        assert self.words is not None
        return self.words.decode(sentence.ids).strip()

    @torch.inference_mode()
    def prior(self, ids_BL: Tensor) -> Tensor:
        """Return the mean log probability per word (B,) of sentences after the mean memory."""
        return self.likelihood(self.writer.start(self.mean.expand(len(ids_BL), *self.mean.shape)), ids_BL)

    @torch.inference_mode()
    def likelihood(self, state: speak.State, ids_BL: Tensor) -> Tensor:
        """Return the mean log probability per word (B,), end included, of sentences after the state of their pairs."""
        total, count = speak.likelihood(self.writer, state, ids_BL)
        return total / count.clamp(min=1)

    @torch.no_grad()
    def measure(self, memories: Iterator[Tensor]) -> None:
        """Set the mean memory to that of batches of memories."""
        total, count = torch.zeros_like(self.mean, dtype=torch.float64), 0
        for memory in memories:
            total += memory.double().sum(dim=0)
            count += len(memory)
        self.mean.copy_(total / max(count, 1))

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return ids (n, L) int64 of texts, padded to the longest."""
        assert self.words is not None
        return torch.from_numpy(self.words.encode(list(texts), length=self.config.words.length))

    def _save_pretrained(self, save_directory: Path) -> None:
        super()._save_pretrained(save_directory)
        if isinstance(self.words, Learnt):
            self.words.pieces.save(save_directory / FILE)

    @classmethod
    def _made(cls, config: Any, folder: Path, state: Mapping[str, Tensor]) -> Self:
        model = super()._made(config, folder, state)
        model.words = Clip() if config.words.clip else Learnt(Pieces.open(folder / FILE))
        if len(model.words) != config.words.size:
            raise MissingWeights(
                f"{folder}: the model has {config.words.size} word pieces, {FILE} has {len(model.words)}"
            )
        return model
