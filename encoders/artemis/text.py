"""Words into a vector: recurrent networks over learned or GloVe vectors, or the features of a frozen text model.

After ARTEMIS (see ``composer``): BiGRU, 256 units each way, its two final states side by side; or LSTM, 1,024 units,
the maximum over time, dropout 0.1, a linear layer. Both end with length 1.
Deviates: the LSTM's maximum is over real words only (``padding=True`` is the authors', whose vectors depend on what
else is in the batch).

Legend: B texts, L ids (id 0 pads, at the end), W width of a word, D width of the space.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.rnn import pack_padded_sequence

from quiver.encoders.artemis.config import Config
from quiver.encoders.artemis.word import SPECIALS, Vocabulary
from quiver.errors import BadData
from quiver.types import Floats


class Bigru(nn.Module):
    """Ids (B, L) to (B, D) of length 1; padding changes nothing."""

    def __init__(self, count: int, width: int, dim: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(count, width)
        self.rnn = nn.GRU(width, dim // 2, batch_first=True, bidirectional=True)

    def forward(self, ids_BL: Tensor) -> Tensor:
        """Return the final states of both directions; repeated texts of a batch are read once."""
        ids_BL, place_B = ids_BL.unique(dim=0, return_inverse=True)
        lengths = (ids_BL != 0).sum(dim=1).clamp_min(1).cpu()
        packed = pack_padded_sequence(self.embed(ids_BL), lengths, batch_first=True, enforce_sorted=False)
        _, last_2BD = self.rnn(packed)
        return normalize(torch.cat([last_2BD[0], last_2BD[1]], dim=1), dim=1)[place_B]


class Lstm(nn.Module):
    """Ids (B, L) to (B, D) of length 1; padding changes nothing, unless it is asked to."""

    def __init__(self, count: int, width: int, dim: int, *, hidden: int = 1024, padding: bool = False) -> None:
        super().__init__()
        self.embed = nn.Embedding(count, width)
        self.rnn = nn.LSTM(width, hidden, batch_first=True)
        self.project = nn.Sequential(nn.Dropout(0.1), nn.Linear(hidden, dim))
        self.padding = padding

    def forward(self, ids_BL: Tensor) -> Tensor:
        """Return the projected maximum over time."""
        steps_BLH, _ = self.rnn(self.embed(ids_BL))
        if not self.padding:
            steps_BLH = steps_BLH.masked_fill((ids_BL == 0)[..., None], -torch.inf)
        return normalize(self.project(steps_BLH.amax(dim=1)), dim=1)


class Feature(nn.Module):
    """Features (B, W) made beforehand to (B, D), projected where asked."""

    def __init__(
        self, width: int, dim: int, *, project: bool = True, unit: bool = True, hidden: int = 0, drop: float = 0.0
    ) -> None:
        super().__init__()
        self.project = nn.Linear(hidden or width, dim) if project else nn.Identity()
        self.hidden = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(drop)) if hidden else nn.Identity()
        self.unit = unit

    @property
    def first(self) -> nn.Linear:
        """The layer that takes the features, of those that are projected."""
        return next(each for each in (*self.hidden.children(), self.project) if isinstance(each, nn.Linear))

    def forward(self, features_BW: Tensor) -> Tensor:
        """Return vectors, of unit length if ``unit``."""
        rows = self.project(self.hidden(features_BW))
        return normalize(rows, dim=1) if self.unit else rows


def build(config: Config) -> nn.Module | None:
    """Return the text tower of a model, or None if its composer reads no words, or reads them itself."""
    if config.composer == "cirplant" or "text" not in config.holds:
        return None
    if width := config.wide("text"):
        return Feature(width, config.dim, project=config.project)
    kind = Bigru if config.text == "bigru" else Lstm
    return kind(Vocabulary.of(config).size, config.embedding, config.dim)


def glove(path: Path, words: Sequence[str], *, width: int = 300) -> tuple[Floats, int]:
    """Read the vectors of a vocabulary from a GloVe text file.

    Args:
        path: lines of a word and ``width`` numbers, such as ``glove.840B.300d.txt``.
        words: those of ``Config.words``.
        width: of a vector.

    Returns:
        (5 + words, width) float32, rows of NaN where the file has no such word, and how many words were found. The
        others keep their random vectors, as in ARTEMIS.

    Raises:
        BadData: a line has something else than numbers after its word, or no word is found.
    """
    places = {word: len(SPECIALS) + place for place, word in enumerate(words)}
    rows = np.full((len(SPECIALS) + len(words), width), np.nan, np.float32)
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            word, *values = line.rstrip().rsplit(" ", width)
            if word not in places:
                continue
            try:
                rows[places[word]] = values
            except ValueError as error:
                raise BadData(f"{path} line {number} has no {width} numbers after its word") from error
    if not (found := int(np.isfinite(rows[:, 0]).sum())):
        raise BadData(f"{path} has none of the {len(words)} words with {width} numbers: is it as wide as that?")
    return rows, found


def fill(embed: nn.Embedding, rows: Floats) -> None:
    """Set the word vectors that ``glove`` found."""
    found = torch.from_numpy(np.isfinite(rows).all(axis=1))
    with torch.no_grad():
        embed.weight[found] = torch.from_numpy(rows)[found].to(embed.weight)
