"""Readers of MMV's inputs that ``quiver.media`` has no reader for; they import no torch and travel to workers.

Shapes: W windows, L samples, K words.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quiver.encoders.mmv.word import Tokeniser, split
from quiver.errors import BadMedia, QuiverError
from quiver.media import AudioReader, TextReader, sound_parts
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
        parts = sound_parts(source, self._places, rate=self.rate, length=self._length)
        return self._filled(parts)

    def moments(self, source: str, spans: Sequence[tuple[float, float]]) -> Iterator[Floats | QuiverError]:
        """Yield the same for windows of one file, or the error of each; see ``quiver.protocols.Reader``."""
        for sound in AudioReader(self.rate).moments(source, spans):
            yield sound if isinstance(sound, QuiverError) else self._cut(sound)

    @property
    def _length(self) -> int:
        return round(self.seconds * self.rate)

    def _places(self, total: int) -> list[int]:
        """Return where the windows of a sound of so many samples begin."""
        spare = max(0, total - self._length)
        return [spare * (2 * number + 1) // (2 * self.windows) for number in range(self.windows)]

    def _cut(self, sound: Floats) -> Floats:
        return self._filled([sound[start : start + self._length] for start in self._places(len(sound))])

    def _filled(self, parts: Sequence[Floats]) -> Floats:
        windows = np.zeros((self.windows, self._length), np.float32)
        for number, part in enumerate(parts):
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
