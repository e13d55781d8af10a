"""FashionBERT: one BERT reads a text and an 8 x 8 grid of patches, and says whether they belong together.

Gao et al. 2020, arXiv:2005.09801.
Reference: alibaba/EasyTransfer, ``modeling_imagebert`` and ``scripts/fashion_bert``, Apache-2.0.
Deviates: padding is masked by minus infinity (see block); a hidden patch is exactly zero (see mask); [CLS] is
scored by the margin of its two logits, where the reference sorts by the second alone; how near text and picture are
by themselves may be added to it (see align).
Shapes: B pairs, L word pieces, P patches, S = L + P tokens, F features of a patch, H width of a token, V pieces of
the vocabulary, N words and M patches to guess in the whole batch.
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from quiver.encoders.fashionbert.align import Align
from quiver.encoders.fashionbert.block import Encoder, Head, initialise, pool
from quiver.encoders.fashionbert.config import Config
from quiver.encoders.fashionbert.embed import Patches, Words
from quiver.encoders.fashionbert.store import Stored
from quiver.errors import BadData


class Output(NamedTuple):
    """Outputs of the three heads.

    Attributes:
        match: (B, 2) logits of class 0, another product, and class 1, the same.
        words: (N, V) logits of the words to guess, pair after pair.
        patches: (M, F), the guessed features of hidden patches, as logits over their F places, pair after pair.
    """

    match: Tensor
    words: Tensor
    patches: Tensor


class FashionBert(Stored):
    """The model.

    ``[CLS] pieces [SEP] PAD ...`` come first, then the patches, with no separator after them. Text is segment 0;
    patches have position and type tables of their own. Attention is full and leaves out padding only.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.words = Words(config)
        self.patches = Patches(config)
        self.encoder = Encoder(config)
        self.pooler = nn.Linear(config.hidden, config.hidden)
        self.match = nn.Linear(config.hidden, 2)
        self.guess_word = Head(config)
        self.guess_patch = nn.Linear(config.hidden, config.feature, bias=False)
        self.align = Align(config) if config.align else None
        self.apply(initialise)

    def forward(
        self, text_BL: Tensor, patches_BPF: Tensor, picked_BL: Tensor | None = None, hidden_BP: Tensor | None = None
    ) -> Output:
        """Read pairs.

        Args:
            text_BL: int64 ids of word pieces, already corrupted where words are to be guessed.
            patches_BPF: float features, as they came from the extractor.
            picked_BL: bool, words to guess; None for none.
            hidden_BP: bool, patches to zero and to guess; None for none.

        Raises:
            BadData: sizes that are not those of the configuration.
        """
        self._check(text_BL, patches_BPF, self.config.feature)
        embedded = self.words(text_BL), self.patches(patches_BPF, hidden_BP)
        tokens_BSH, keep_BS = self._join(text_BL, *embedded)
        out_BSH = self.encoder(tokens_BSH, keep_BS)
        words_BLH, patches_BPH = out_BSH.split([text_BL.shape[1], patches_BPF.shape[1]], dim=1)
        none = out_BSH[0, :0]  # (0, H)
        return Output(
            self._match(out_BSH[:, 0], text_BL, *embedded),
            self.guess_word(none if picked_BL is None else words_BLH[picked_BL], self.words.word.weight),
            self.guess_patch(none if hidden_BP is None else patches_BPH[hidden_BP]),
        )

    def cross(self, text_NL: Tensor, patches_NPF: Tensor, group: int) -> Tensor:
        """Return (G, g, g), the margin of every text (row) with every picture (column) of its group, all N = G g long.

        Raises:
            BadData: sizes that are not those of the configuration.
        """
        self._check(text_NL, patches_NPF, self.config.feature)
        words_NLH, patches_NPH = self.words(text_NL), self.patches(patches_NPF)
        text, words = (x.unflatten(0, (-1, group, 1)).expand(-1, -1, group, *x.shape[1:]) for x in (text_NL, words_NLH))
        seen = patches_NPH.unflatten(0, (-1, 1, group)).expand(-1, group, -1, *patches_NPH.shape[1:])
        text_BL, words_BLH, patches_BPH = (x.flatten(0, 2) for x in (text, words, seen))
        tokens_BSH, keep_BS = self._join(text_BL, words_BLH, patches_BPH)
        logits_B2 = self._match(self.encoder.first(tokens_BSH, keep_BS), text_BL, words_BLH, patches_BPH)
        return (logits_B2[:, 1] - logits_B2[:, 0]).float().unflatten(0, (-1, group, group))

    def embed_patches(self, patches_BPF: Tensor) -> Tensor:
        """Return (B, P, H): all of a picture that does not depend on a text, to be kept for ``score``.

        Raises:
            BadData: sizes that are not those of the configuration.
        """
        self._check(None, patches_BPF, self.config.feature)
        embedded: Tensor = self.patches(patches_BPF)
        return embedded

    def score(self, text_BL: Tensor, patches_BPH: Tensor) -> Tensor:
        """Return (B,) float32, the margin of the two logits: larger means a better match.

        It is what ``forward`` gives, by a cheaper way: patches embedded before, text cut to its longest, the last
        block for [CLS] alone, no other head. A text or picture given once goes with all of the others.

        Args:
            text_BL: int64 ids, (B, L) or (1, L).
            patches_BPH: of ``embed_patches``, (B, P, H) or (1, P, H), in any float type.

        Raises:
            BadData: sizes that are not those of the configuration, or do not go together.
        """
        self._check(text_BL, patches_BPH, self.config.hidden)
        text_BL = text_BL[:, : int((text_BL != self.config.pad).sum(dim=1).amax())]
        words_BLH = self.words(text_BL)
        tokens_BSH, keep_BS = self._join(text_BL, words_BLH, patches_BPH)
        first_BH = self.encoder.first(tokens_BSH, None if keep_BS.all() else keep_BS)
        logits_B2 = self._match(first_BH, text_BL, words_BLH, patches_BPH)
        return (logits_B2[:, 1] - logits_B2[:, 0]).float()

    def lower(self, dtype: torch.dtype = torch.bfloat16) -> Self:
        """Turn embeddings and encoder, but not the heads, into a lower precision, for scoring only; returns itself."""
        for part in (self.words, self.patches, self.encoder):
            part.to(dtype)
        return self

    def shared(self) -> list[nn.Parameter]:
        """Return the parameters by which adaptive weights measure gradients: the last block's."""
        return list(self.encoder.blocks[-1].parameters())

    def _join(self, text_BL: Tensor, words_BLH: Tensor, patches_BPH: Tensor) -> tuple[Tensor, Tensor]:
        """Join words and patches in one row, (B, S, H), and return the mask of tokens other than padding, (B, S)."""
        batch = max(len(words_BLH), len(patches_BPH))
        parts = [part.expand(batch, -1, -1) for part in (words_BLH, patches_BPH.to(words_BLH.dtype))]
        seen_BP = text_BL.new_ones((1, patches_BPH.shape[1]), dtype=torch.bool)
        keep_BS = torch.cat([(text_BL != self.config.pad).expand(batch, -1), seen_BP.expand(batch, -1)], dim=1)
        return torch.cat(parts, dim=1), keep_BS

    def _match(self, first_BH: Tensor, text_BL: Tensor, words_BLH: Tensor, patches_BPH: Tensor) -> Tensor:
        logits_B2: Tensor = self.match(pool(self.pooler, first_BH))
        if self.align is None:
            return logits_B2
        near_B = self.align(text_BL, words_BLH, patches_BPH)
        return logits_B2 + torch.stack([torch.zeros_like(near_B), near_B], dim=1)

    def _check(self, text_BL: Tensor | None, patches: Tensor, width: int) -> None:
        config = self.config
        if patches.ndim != 3 or patches.shape[1:] != (config.patches, width):
            raise BadData(f"patches must be (B, {config.patches}, {width}), not {tuple(patches.shape)}")
        if text_BL is None:
            return
        if text_BL.ndim != 2 or text_BL.shape[1] > config.max_text:
            raise BadData(f"text must be (B, at most {config.max_text}), not {tuple(text_BL.shape)}")
        if len(text_BL) != len(patches) and 1 not in (len(text_BL), len(patches)):
            raise BadData(f"{len(text_BL)} texts do not go with {len(patches)} pictures")
