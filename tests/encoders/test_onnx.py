"""ONNX files: arithmetic by hand, input and output forms, clear refusals, and YAMNet on real sounds."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from quiver import registry
from quiver.encoders import onnx
from quiver.encoders._pool import unit
from quiver.errors import BadMedia, BadSpec, MissingWeights

Write = Callable[[Path, str, np.ndarray], Path]


@pytest.fixture
def wave(tmp_path: Path, write_onnx: Write) -> tuple[Path, np.ndarray]:
    kernel = np.random.default_rng(0).normal(size=(4, 1, 8)).astype(np.float32)
    return write_onnx(tmp_path / "wave.onnx", "patches", kernel), kernel


@pytest.fixture
def kernel() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(5, 3, 2, 2)).astype(np.float32)


@pytest.mark.parametrize("kind", ["patches", "sounds"])
def test_sound_is_the_mean_of_its_patches(kind: str, tmp_path: Path, write_onnx: Write) -> None:
    kernel = np.random.default_rng(0).normal(size=(4, 1, 8)).astype(np.float32)
    file = write_onnx(tmp_path / "net.onnx", kind, kernel)
    encoder = onnx.load(file=file, input="waveform")
    sounds = [np.random.default_rng(n).normal(size=8 * n).astype(np.float32) for n in (3, 5, 3, 1)]
    expected = [(sound.reshape(-1, 8) @ kernel[:, 0].T).mean(axis=0) for sound in sounds]
    given = encoder.embed("audio", sounds, encoder.spaces("audio")[0])
    np.testing.assert_allclose(given, unit(np.stack(expected)), atol=1e-5)


@pytest.mark.parametrize("kind", ["pictures", "one"])
def test_picture_is_the_mean_of_its_feature_map(
    kind: str, tmp_path: Path, write_onnx: Write, kernel: np.ndarray
) -> None:
    file = write_onnx(tmp_path / "net.onnx", kind, kernel)
    encoder = onnx.load(file=file, input="image", size=6, mean="0.5,0.4,0.3", std="0.2")
    pictures = list(np.random.default_rng(2).integers(0, 256, (3, 6, 6, 3), dtype=np.uint8))
    pixels = (np.stack(pictures) / 255 - [0.5, 0.4, 0.3]) / 0.2
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (2, 2), axis=(1, 2))
    expected = np.einsum("nhwcij,dcij->nd", windows, kernel)
    given = encoder.embed("image", pictures, encoder.spaces("image")[0])
    np.testing.assert_allclose(given, unit(expected), atol=1e-5)


def test_short_sound_is_filled_up_with_silence(wave: tuple[Path, np.ndarray]) -> None:
    encoder = onnx.load(file=wave[0], input="waveform", min_samples=24)
    sound = np.ones(8, np.float32)
    padded = np.pad(sound, (0, 16))
    rows = encoder.embed("audio", [sound, padded], encoder.spaces("audio")[0])
    np.testing.assert_array_equal(rows[0], rows[1])


def test_sound_too_short_for_the_model_is_refused(wave: tuple[Path, np.ndarray]) -> None:
    encoder = onnx.load(file=wave[0], input="waveform")
    with pytest.raises(BadMedia, match=r"wave\.onnx"):
        encoder.embed("audio", [np.ones(5, np.float32)], encoder.spaces("audio")[0])


def test_space_is_named_for_the_file_and_measured_from_it(wave: tuple[Path, np.ndarray]) -> None:
    space = onnx.load(file=wave[0], input="waveform").spaces("audio")[0]
    assert (space.name, space.dim) == ("onnx/wave", 4)


def test_revision_does_not_depend_on_the_place_of_the_file(wave: tuple[Path, np.ndarray]) -> None:
    copy = wave[0].parent / "elsewhere" / "wave.onnx"
    copy.parent.mkdir()
    copy.write_bytes(wave[0].read_bytes())
    first, second = (onnx.load(file=file, input="waveform").spaces("audio") for file in (wave[0], copy))
    assert first == second
    (copy.parent / "wave.onnx.data").write_bytes(b"other weights")
    assert onnx.load(file=copy, input="waveform").spaces("audio") != first
    assert onnx.load(file=wave[0], input="waveform", rate=8000).spaces("audio") != first


def test_at_most_so_many_seconds_are_read(wave: tuple[Path, np.ndarray]) -> None:
    reader = onnx.load(file=wave[0], input="waveform", rate=8000, seconds=0.5).reader("audio")
    assert reader(np.zeros(9000, np.float32)).shape == (4000,)


def test_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"hello")
    with pytest.raises(BadSpec, match=r"bad\.onnx is no ONNX model") as caught:
        onnx.load(file=bad, input="image")
    assert "\n" not in str(caught.value)
    with pytest.raises(MissingWeights, match="no such file"):
        onnx.load(file=tmp_path / "absent.onnx", input="image")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("input=image", "which is no image"),
        ("input=waveform output=z", "has no output 'z': there are y"),
        ("input=smell", "waveform, image"),
    ],
)
def test_model_of_another_kind_is_refused(options: str, message: str, wave: tuple[Path, np.ndarray]) -> None:
    with pytest.raises(BadSpec, match=message):
        registry.load("encoders", f"onnx file='{wave[0]}' {options}")


def test_wrong_layout_is_refused(tmp_path: Path, write_onnx: Write, kernel: np.ndarray) -> None:
    file = write_onnx(tmp_path / "net.onnx", "pictures", kernel)
    with pytest.raises(BadSpec, match=r"net\.onnx does not take an input of \(2, 6, 6, 3\)"):
        onnx.load(file=file, input="image", size=6, layout="nhwc")


@pytest.mark.slow
@pytest.mark.data
def test_yamnet_finds_sounds_of_the_same_kind(packs: Path) -> None:
    weights = packs / "weights" / "yamnet.onnx"
    encoder = registry.load("encoders", f"onnx file='{weights}' input=waveform min_samples=15600")
    with (packs / "esc10" / "meta.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    read = encoder.reader("audio")
    sounds = [read(packs / "esc10" / row["file"]) for row in rows]
    vectors = encoder.embed("audio", sounds, encoder.spaces("audio")[0])
    near = vectors @ vectors.T
    np.fill_diagonal(near, -np.inf)
    labels = np.array([row["label"] for row in rows])
    assert vectors.shape[1] == 1024
    assert (labels[near.argmax(axis=1)] == labels).mean() > 0.96  # measured 0.978


def test_the_largest_patch_counts_where_asked(tmp_path: Path, write_onnx: Write) -> None:
    kernel = np.random.default_rng(4).normal(size=(4, 1, 8))
    file = write_onnx(tmp_path / "m.onnx", "patches", kernel)
    sound = np.random.default_rng(5).normal(size=800).astype(np.float32)
    vectors = {}
    for pool in ("mean", "max"):
        encoder = onnx.load(file=file, input="waveform", pool=pool, min_samples=100)
        vectors[pool] = encoder.embed("audio", [sound], encoder.spaces("audio")[0])[0]
    largest = (sound.reshape(-1, 8) @ kernel[:, 0].T).max(axis=0)
    np.testing.assert_allclose(vectors["max"], largest / np.linalg.norm(largest), atol=1e-5)
    assert not np.allclose(vectors["mean"], vectors["max"], atol=1e-2)
