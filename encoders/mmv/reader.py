"""Readers of MMV's inputs that ``quiver.media`` has no reader for; they import no torch and travel to workers.

Shapes: W windows, L samples, K words.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quiver.encoders.mmv.word import Tokeniser, split
from quiver.errors import BadMedia, QuiverError
from quiver.media import AudioReader, TextReader
from quiver.types import Floats, Rows


@dataclass(frozen=True, slots=True)
class SoundReader:
    """Reads windows of a sound.

    Attributes:
        rate: samples per second (Hz).
        seconds: of a window.
        windows: W, in the middles of as many equal parts of the sound; they may overlap.
    """

    rate: int
    seconds: float
    windows: int

    def __call__(self, source: Any) -> Floats:
        """Return (W, L) float32; a sound shorter than a window is followed by silence.

        Raises:
            BadMedia: there is no sound in it, or it cannot be read.
        """
        return self._cut(AudioReader(self.rate)(source))

    def moments(self, source: str, spans: Sequence[tuple[float, float]]) -> Iterator[Floats | QuiverError]:
        """Yield the same for windows of one file, or the error of each; see ``quiver.protocols.Reader``."""
        for sound in AudioReader(self.rate).moments(source, spans):
            yield sound if isinstance(sound, QuiverError) else self._cut(sound)

    def _cut(self, sound: Floats) -> Floats:
        length = round(self.seconds * self.rate)
        spare = max(0, len(sound) - length)
        windows = np.zeros((self.windows, length), np.float32)
        for number in range(self.windows):
            start = spare * (2 * number + 1) // (2 * self.windows)
            part = sound[start : start + length]
            windows[number, : len(part)] = part
        return windows


@dataclass(frozen=True, slots=True)
class WordReader:
    """Reads a text as rows of a word table.

    Attributes:
        tokeniser: of the model's vocabulary.
    """

    tokeniser: Tokeniser

    def __call__(self, source: Any) -> Rows:
        """Return (K,) int64; nothing but padding for a text without words that count, such as ``?!``.

        Raises:
            BadMedia: the text is empty, or has words and none is known, so that it would be like any other such text.
        """
        text = TextReader()(source)
        ids = self.tokeniser.ids(text)
        if not ids.any() and split(text):
            raise BadMedia(f"no word of {text[:60]!r} is in the vocabulary of {len(self.tokeniser.tokens)} words")
        return ids
