"""A sound as how fast and how strongly each part of its spectrum swells, and how loud each part is.

The square root of the modulation energy of log-mel bands, in octaves from 0.25 to 31 Hz, averaged over windows of
4 s; beside it the mean log-mel spectrum. Rhythm tells sounds apart that share a spectrum.

Times in seconds, rates in Hz; T frames.
"""

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

from quiver.encoders import _pool
from quiver.types import Floats

RATE = 16_000
BANDS, GROUPS = 40, 8
OCTAVES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 31.25)
DIM = (len(OCTAVES) - 1) * GROUPS + BANDS // 2
#: Share of the spectrum in a cosine, against 1 for the modulation.
SPECTRUM = 0.1
RECIPE = f"1 rate={RATE} bands={BANDS} groups={GROUPS} octaves={OCTAVES} spectrum={SPECTRUM}"

_WINDOW, _HOP = 512, 256  # samples: frames of 32 ms, 62.5 of them in a second
_SPAN = 256  # frames of a modulation window: 4.1 s
_FLOOR = np.float32(1e-4)  # mean power a hiss must pass to be heard
_BLOCK = 4096  # frames transformed at a time, so that an hour of sound fits in memory


def describe(sounds: Sequence[Floats]) -> Floats:
    """Describe sounds, of one length or of many.

    Args:
        sounds: n arrays (samples,) float32 at 16 kHz, about -1 to 1.

    Returns:
        (n, DIM) float32; silence is a row of zeros.
    """
    out = np.zeros((len(sounds), DIM), np.float32)
    for row, sound in zip(out, sounds, strict=True):
        loudness = log_mel(sound)
        if loudness.any():
            swell, spectrum = modulation(loudness), loudness.mean(axis=0).reshape(-1, 2).mean(axis=1)
            parts = _pool.unit(swell[None])[0], np.sqrt(SPECTRUM) * _pool.unit(spectrum[None])[0]
            row[:] = np.concatenate(parts)
    return out


def log_mel(sound: Floats) -> Floats:
    """Measure loudness over time: (T, BANDS) float32, natural log of power over the floor, 0 in silence."""
    padded = np.pad(sound, (0, max(0, _WINDOW - len(sound))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    window = np.hanning(_WINDOW).astype(np.float32)
    power = [
        np.abs(np.fft.rfft(frames[start : start + _BLOCK] * window, axis=1)) ** 2 @ _mel()
        for start in range(0, len(frames), _BLOCK)
    ]
    return np.log1p(np.concatenate(power) / (_FLOOR * np.square(window).sum())).astype(np.float32)


def modulation(loudness: Floats) -> Floats:
    """Measure how strongly groups of bands swell in each octave: (octaves * GROUPS,) float32."""
    energies = [_energy(window) for window in _windows(loudness)]
    grouped = np.mean(energies, axis=0).reshape(len(OCTAVES) - 1, GROUPS, -1).mean(axis=2)
    return np.sqrt(grouped).ravel().astype(np.float32)


def _windows(loudness: Floats) -> Iterator[Floats]:
    """Yield stretches of at most _SPAN frames that overlap by half, the last ending with the sound."""
    last = max(0, len(loudness) - _SPAN)
    for start in [*range(0, last, _SPAN // 2), last]:
        yield loudness[start : start + _SPAN]


def _energy(window: Floats) -> Floats:
    """Return the variance of each band by octave: (octaves, BANDS)."""
    spectrum = np.abs(np.fft.rfft(window - window.mean(axis=0), _SPAN, axis=0)) ** 2
    frequency = np.fft.rfftfreq(_SPAN, _HOP / RATE)
    edges = np.searchsorted(frequency, OCTAVES)
    return (np.add.reduceat(spectrum, edges, axis=0)[:-1] / (_SPAN * len(window))).astype(np.float32)


@cache
def _mel() -> Floats:
    """Return (_WINDOW // 2 + 1, BANDS) triangles from 60 Hz to 8 kHz, equally wide in mel; columns sum to 1."""
    low, high = (2595 * np.log10(1 + hertz / 700) for hertz in (60, RATE / 2))
    corner = 700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)
    hertz = np.fft.rfftfreq(_WINDOW, 1 / RATE)[:, None]
    rising = (hertz - corner[:-2]) / (corner[1:-1] - corner[:-2])
    falling = (corner[2:] - hertz) / (corner[2:] - corner[1:-1])
    weights = np.maximum(0, np.minimum(rising, falling))
    return (weights / weights.sum(axis=0)).astype(np.float32)
