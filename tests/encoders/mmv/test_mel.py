"""The spectrogram against the reference's, and what follows from its definition."""

from typing import Any

import numpy as np
import pytest
import torch
from tests.encoders.mmv.golden import load, tensor

from quiver.encoders.mmv.mel import logmel, triangles
from quiver.errors import BadData, BadSpec

GOLDEN = load("logmel")
WAVE = tensor(GOLDEN["in/wave_int16"].astype(np.float32) / 32768)[None]
CASES: dict[str, dict[str, Any]] = {
    "mmv_like_2048_1024_80_padend/out/spec": {},
    "mmv_like_2048_1024_80_padend/out/minmax01": {"minmax": True},
    "2048_1024_80_nopad/out/spec": {"pad_end": False},
    "function_defaults_2048_1024_40/out/spec": {"bands": 40},
    "raw_audio_to_spectrogram_defaults_1536_768_80/out/spec": {"window": 1536, "hop": 768},
}


@pytest.mark.parametrize("case", CASES)
def test_spectrogram_equals_the_reference(case: str) -> None:
    ours, theirs = logmel(WAVE, rate=int(GOLDEN["in/sample_rate"]), **CASES[case])[0].numpy(), GOLDEN[case]
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 1e-4


def test_magnitudes_equal_the_reference() -> None:
    ours, theirs = logmel(WAVE, log_scale=None)[0].numpy(), GOLDEN["linear_mel_no_log_2048_1024_80/out/spec"]
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 1e-2


def test_triangles_equal_the_reference() -> None:
    ours = triangles(rate=48_000, window=2048, bands=80, low=80, high=7600)
    theirs = GOLDEN["mel_weight_matrix_80x1025/out/W_bins_by_mel"]
    assert np.abs(ours - theirs).max() < 3e-5  # theirs is computed in float32
    assert np.array_equal(np.flatnonzero(ours.sum(axis=0) == 0), GOLDEN["mel_weight_matrix_80x1025/out/empty_mel_bins"])


def test_triangles_are_not_linear_in_hertz() -> None:
    off = float(GOLDEN["mel_weight_matrix_80x1025/librosa_htk_norm_none_max_abs_diff"])
    corners = np.linspace(*(1127 * np.log1p(hertz / 700) for hertz in (np.array(80), np.array(7600))), 82)
    hertz, edge = np.fft.rfftfreq(2048, 1 / 48_000)[:, None], 700 * np.expm1(corners / 1127)
    linear = np.minimum((hertz - edge[:-2]) / np.diff(edge)[:-1], (edge[2:] - hertz) / np.diff(edge)[1:]).clip(0)
    ours = triangles(rate=48_000, window=2048, bands=80, low=80, high=7600)
    assert np.abs(ours - linear).max() == pytest.approx(off, abs=1e-4)


@pytest.mark.parametrize("pad_end", [True, False])
def test_a_clip_of_3_2_seconds_has_as_many_frames(pad_end: bool) -> None:
    count = logmel(torch.zeros(1, 153_600), pad_end=pad_end).shape[1]
    assert count == GOLDEN[f"frames_for_153600_samples/pad_end_{pad_end}"] == (150 if pad_end else 149)


def test_silence_is_zero_and_not_nan() -> None:
    assert logmel(torch.zeros(1, 4096), minmax=True).abs().max() == GOLDEN["silence/out/minmax01_max"] == 0


def test_a_row_does_not_see_the_others() -> None:
    batch = torch.cat([WAVE, 0.1 * WAVE.flip(1), torch.zeros_like(WAVE)])
    for minmax in (False, True):
        torch.testing.assert_close(logmel(batch, minmax=minmax)[1:2], logmel(batch[1:2], minmax=minmax))


def test_a_tone_is_loudest_in_its_band() -> None:
    seconds, corners = torch.arange(8192) / 16_000, np.linspace(*1127 * np.log1p(np.array([80, 7600]) / 700), 42)
    hertz = 700 * np.expm1(corners[21] / 1127)  # the top of triangle 20
    mel = logmel(torch.sin(2 * torch.pi * hertz * seconds)[None], rate=16_000, window=1024, hop=512, bands=40)
    assert (mel[0, :-2].argmax(1) == 20).all()


def test_a_short_sound_needs_padding() -> None:
    assert logmel(torch.ones(1, 100)).shape == (1, 1, 80)
    with pytest.raises(BadData, match="at least 2048 samples, not 100"):
        logmel(torch.ones(1, 100), pad_end=False)


@pytest.mark.parametrize("samples", [torch.zeros(4096), torch.zeros(1, 4096, dtype=torch.int16)])
def test_what_is_no_batch_of_floats_is_refused(samples: torch.Tensor) -> None:
    with pytest.raises(BadData, match=r"samples must be \(B, N\) floats"):
        logmel(samples)


def test_bands_beyond_half_the_rate_are_refused() -> None:
    with pytest.raises(BadSpec, match="80 to 7600 Hz do not fit a rate of 8000 Hz"):
        logmel(torch.zeros(1, 4096), rate=8000)
