"""The text tower of MMV: frozen word vectors, a layer per word, and the largest value over the words.

Alayrac et al. 2020, arXiv:2006.16228. Reference: google-deepmind/deepmind-research, mmv/models/mm_embeddings.py
(TextModule), Apache-2.0.
Deviates: nowhere; ``word`` says what becomes of a text before.
Shapes: B texts, W words, V rows of the table, D width of a word vector, H width of the tower.
"""

from torch import Tensor, nn
from torch.nn.functional import relu

from quiver.encoders.mmv.word import Tokeniser, Words

__all__ = ["TextTower", "Tokeniser", "Words"]


class TextTower(nn.Module):
    """Word vectors, Linear, ReLU, maximum over all words; padding (row 0, zeros) takes part, as in the reference.

    Attributes:
        width: H, of its output.
        table: (V, D) float32, a buffer: never trained.
    """

    table: Tensor

    def __init__(self, table: Tensor, width: int) -> None:
        super().__init__()
        self.width = width
        self.register_buffer("table", table)
        self.word = nn.Linear(table.shape[1], width)

    def forward(self, ids_BW: Tensor) -> Tensor:
        """Map rows of the table (B, W) int64 to (B, H)."""
        return relu(self.word(self.table[ids_BW]).amax(dim=1))  # ReLU grows: it may as well come last
