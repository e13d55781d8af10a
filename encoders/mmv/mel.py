"""Sound as a log-mel spectrogram, as MMV hears it.

Alayrac et al. 2020, Self-Supervised MultiModal Versatile Networks, arXiv:2006.16228: 80 bands; window and hop are those
of google-research/google-research, vatt/data/processing.py, Apache-2.0, which repeats MMV's setup.
Magnitudes of a periodic Hann window, frames from sample 0; triangles linear in mel (HTK's, 1127 ln(1 + f / 700)) with
peak 1 and nothing from the constant part; ln(1 + 10000 x).
Deviates: nowhere; whether MMV itself scaled each clip to 0..1 (``minmax``) is not known.
Shapes: B sounds, N samples, T frames, F bands, K frequencies. Rates and frequencies in Hz.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from quiver.errors import BadData, BadSpec
from quiver.types import Floats


def logmel(  # noqa: PLR0913 - settings of one transform, each by name
    samples_BN: Tensor,
    *,
    rate: float = 48_000,
    window: int = 2048,
    hop: int = 1024,
    bands: int = 80,
    low: float = 80.0,
    high: float = 7600.0,
    log_scale: float | None = 10_000,
    pad_end: bool = True,
    minmax: bool = False,
) -> Tensor:
    """Compute log-mel spectrograms, on the device of the samples.

    Args:
        samples_BN: (B, N) float, -1 to 1.
        rate: of the samples, in Hz.
        window: samples of a frame.
        hop: samples from frame to frame.
        bands: F.
        low: where the first triangle begins, in Hz.
        high: where the last one ends, in Hz, at most rate / 2.
        log_scale: c in ln(1 + c x); None leaves magnitudes as they are.
        pad_end: fill the end up with silence so that there are ceil(N / hop) frames.
        minmax: scale each sound to 0..1; one that is the same everywhere, such as silence, becomes 0.

    Returns:
        (B, T, F) of the samples' type.

    Raises:
        BadData: not (B, N) floats, or too short for one frame.
        BadSpec: a range of frequencies that cannot be.
    """
    frames_BTN = _frames(samples_BN, window=window, hop=hop, pad_end=pad_end)
    hann, triangles_KF = _tables(rate, window, bands, low, high)
    waves_BTK2 = torch.view_as_real(torch.fft.rfft(frames_BTN * hann.to(samples_BN)))
    spectrum_BTK = waves_BTK2.square().sum(-1).sqrt()  # abs() guards against overflow, at three times the time
    mel_BTF = spectrum_BTK @ triangles_KF.to(samples_BN)
    if log_scale is not None:
        mel_BTF = torch.log1p(log_scale * mel_BTF)
    return _spread(mel_BTF) if minmax else mel_BTF


def triangles(*, rate: float, window: int, bands: int, low: float, high: float) -> Floats:
    """Return the weight of each frequency in each band, (window // 2 + 1, bands) float32.

    Raises:
        BadSpec: not 0 <= low < high <= rate / 2.
    """
    if not 0 <= low < high <= rate / 2:
        raise BadSpec(f"mel bands from {low:g} to {high:g} Hz do not fit a rate of {rate:g} Hz")
    hertz = np.fft.rfftfreq(window, 1 / rate)
    mel, corners = _mel(hertz)[:, None], np.linspace(_mel(low), _mel(high), bands + 2)
    rising = (mel - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - mel) / (corners[2:] - corners[1:-1])
    weights = np.maximum(0, np.minimum(rising, falling))
    weights[0] = 0  # what does not swing is not heard, whatever low is
    return weights.astype(np.float32)


def _mel(hertz: Floats | float) -> Floats:
    return 1127 * np.log1p(np.asarray(hertz) / 700)


def _frames(samples_BN: Tensor, *, window: int, hop: int, pad_end: bool) -> Tensor:
    if samples_BN.ndim != 2 or not samples_BN.is_floating_point():
        raise BadData(f"samples must be (B, N) floats, not {tuple(samples_BN.shape)} {samples_BN.dtype}")
    count = samples_BN.shape[1]
    least = 1 if pad_end else window
    if count < least:
        raise BadData(f"a spectrogram needs at least {least} samples, not {count}")
    if pad_end:
        whole = -(-count // hop) * hop - hop + window
        samples_BN = pad(samples_BN, (0, max(0, whole - count)))[:, :whole]
    return samples_BN.unfold(1, window, hop)


def _spread(mel_BTF: Tensor) -> Tensor:
    least, most = mel_BTF.amin((1, 2), keepdim=True), mel_BTF.amax((1, 2), keepdim=True)
    span = most - least
    return (mel_BTF - least) / span.where(span > 0, 1)


@lru_cache(maxsize=8)
def _tables(rate: float, window: int, bands: int, low: float, high: float) -> tuple[Tensor, Tensor]:
    hann = torch.hann_window(window, periodic=True, dtype=torch.float64).float()
    return hann, torch.from_numpy(triangles(rate=rate, window=window, bands=bands, low=low, high=high))
