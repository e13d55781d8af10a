"""The descriptors without weights: what each is made of, and how well it does on real data."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from quiver.encoders import classic
from quiver.encoders.classic import audio, image, text
from quiver.errors import BadSpec

SIDE = image.SIDE


def by_direction(picture: np.ndarray) -> np.ndarray:
    """How much of each of the 8 directions is in a picture."""
    return image.edges(picture[None])[0].reshape(4, image.DIRECTIONS, -1).sum(axis=(0, 2))


def test_step_to_the_right_lies_in_direction_zero_and_to_the_left_opposite() -> None:
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    picture[:, SIDE // 2 :] = 255
    right, left = by_direction(picture), by_direction(255 - picture)
    assert right.argmax() == 0
    assert left.argmax() == 4
    assert right[[2, 4, 6]].max() == left[[0, 2, 6]].max() == 0
    assert by_direction(picture.transpose(1, 0, 2)).argmax() == 2


def test_oblique_step_is_shared_by_its_neighbours() -> None:
    # At 45 degrees: cos(0) = 1 into direction 1, cos(45)^3 = 0.354 into directions 0 and 2, before the square root.
    down, across = np.mgrid[:SIDE, :SIDE]
    ramp = np.repeat(((down + across) / (2 * SIDE))[..., None] ** 2 * 255, 3, axis=2).astype(np.uint8)
    strengths = by_direction(ramp)
    assert strengths.argmax() == 1
    assert strengths[0] == pytest.approx(strengths[2], rel=0.02)
    assert strengths[0] / strengths[1] == pytest.approx(math.cos(math.pi / 4) ** 1.5, rel=0.05)


def test_flat_picture_has_no_edges() -> None:
    assert not image.edges(np.full((1, 50, 70, 3), 90, np.uint8)).any()


def test_colours_are_square_roots_of_shares() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (1, 40, 40, 3), dtype=np.uint8)
    shares = image.colours(picture).reshape(5, image.PROTOTYPES) ** 2
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(shares[0], shares[1:].mean(axis=0), atol=1e-5)


def test_quarters_hold_their_own_colours() -> None:
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[:20, :20] = (255, 0, 0)
    _, corner, *others = image.colours(picture[None]).reshape(5, -1)
    assert corner @ others[0] < 0.01
    np.testing.assert_allclose(others, [others[0]] * 3, atol=1e-6)


def test_near_colours_are_nearer_than_far_ones() -> None:
    colours = [(200, 30, 30), (180, 45, 40), (200, 140, 40), (30, 60, 200)]
    rows = image.colours(np.array(colours, np.uint8).reshape(4, 1, 1, 3).repeat(12, 1).repeat(12, 2))
    same, near, far, opposite = rows @ rows[0]
    assert same > near > far == opposite == 0


def test_lab_of_white_black_and_red_is_that_of_the_standard() -> None:
    # sRGB red under D65 is L* 53.2, a* 80.1, b* 67.2; the table holds the middles of 32 levels, hence the margin.
    lab = image._lab()
    np.testing.assert_allclose(lab[-1], [100, 0, 0], atol=1.5)
    np.testing.assert_allclose(lab[0], [0, 0, 0], atol=4)
    np.testing.assert_allclose(lab[31 << 10], [53.2, 80.1, 67.2], atol=5)


def test_size_of_a_picture_hardly_matters() -> None:
    small = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    large = small.repeat(2, 0).repeat(2, 1)
    first, second = image.describe([small, large])
    assert first @ second > 0.95


def test_swelling_shows_in_its_octave() -> None:
    rng, time = np.random.default_rng(0), np.arange(6 * audio.RATE) / audio.RATE
    for hertz, octave in ((0.7, 1), (1.5, 2), (5.5, 4), (11.0, 5)):
        noise = rng.normal(0, 0.2, len(time)) * (1 + np.sin(2 * np.pi * hertz * time)) / 2
        swell = audio.modulation(audio.log_mel(noise.astype(np.float32)))
        assert swell.reshape(7, audio.GROUPS).sum(axis=1).argmax() == octave, hertz


def test_tone_sounds_in_the_band_of_its_pitch() -> None:
    # 1 kHz is 1000 mel; 42 corners lie evenly from 92 mel (60 Hz) to 2840 mel (8 kHz), 67 mel apart.
    time = np.arange(audio.RATE) / audio.RATE
    loudness = audio.log_mel(np.sin(2 * np.pi * 1000 * time).astype(np.float32))
    assert loudness.mean(axis=0).argmax() == round((1000 - 92.4) / 67.0) - 1
    assert loudness.shape == ((audio.RATE - 512) // 256 + 1, audio.BANDS)


def test_loudness_is_the_logarithm_of_power_over_the_floor() -> None:
    # White noise of variance v has power v in every bin, once the window's own power is divided out.
    noise = np.random.default_rng(0).normal(0, 0.1, 20 * audio.RATE).astype(np.float32)
    power = np.expm1(audio.log_mel(noise)) * 1e-4
    np.testing.assert_allclose(power.mean(axis=0), 0.01, rtol=0.1)


def test_silence_is_all_zero() -> None:
    assert not audio.describe([np.zeros(3, np.float32), np.zeros(audio.RATE, np.float32)]).any()


def test_sound_in_a_loop_sounds_like_itself() -> None:
    time = np.arange(5 * audio.RATE) / audio.RATE
    sound = (np.sin(2 * np.pi * 440 * time) * (np.sin(2 * np.pi * 3 * time) > 0)).astype(np.float32)
    once, loop = audio.describe([sound, np.tile(sound, 6)])
    assert once @ loop / np.linalg.norm(once) / np.linalg.norm(loop) > 0.99


def test_long_sound_is_read_in_blocks_without_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, 50_000).astype(np.float32)
    whole = audio.log_mel(sound)
    monkeypatch.setattr(audio, "_BLOCK", 7)
    np.testing.assert_allclose(audio.log_mel(sound), whole, rtol=1e-5)


def test_words_of_many_scripts() -> None:
    assert text.words("STRASSE straße, naïve-C++!") == ["strasse", "strasse", "naïve", "c++"]
    assert text.words("हिन्दी में\u00a0लिखा। 赤い車 🙂") == ["हिन्दी", "में", "लिखा", "赤い車", "🙂"]


def test_text_is_words_and_pieces_at_hashed_places() -> None:
    # "ab" is the word and the pieces <a ab b> <ab ab> <ab>: 7 features, that of the word 1 / 0.3 as heavy.
    row = text.Describer(1 << 20)(["ab"])[0]
    np.testing.assert_allclose(np.sort(np.abs(row[row != 0])), [0.3] * 6 + [1.0], atol=1e-6)


def test_repeated_word_counts_by_the_logarithm() -> None:
    once, thrice = text.Describer(512)(["red", "red RED red"])
    np.testing.assert_allclose(thrice, once * (1 + math.log(3)), rtol=1e-6)


def test_hash_is_the_same_in_every_process() -> None:
    row = text.Describer(8)(["ball"])[0]
    np.testing.assert_allclose(row, [0.4, 0, -0.3, 0.3, 0, 0.6, 0.9, -0.3], atol=1e-6)


def test_inflected_word_is_nearer_than_another() -> None:
    singular, plural, other = text.Describer(1024)(["blue skirt", "blue skirts", "blue shoes"])
    assert singular @ plural > singular @ other


def test_pair_is_before_after_and_their_difference() -> None:
    rng = np.random.default_rng(0)
    one, two = (rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(2))
    there, back = classic.describe_pairs([(one, two), (two, one)]).reshape(2, 3, -1)
    np.testing.assert_allclose(there, [back[1], back[0], -back[2]], atol=1e-6)
    np.testing.assert_allclose(there[2], there[1] - there[0], atol=1e-6)


def test_options_that_make_no_sense_are_refused() -> None:
    with pytest.raises(BadSpec, match="positive"):
        classic.load(dim=0)
    with pytest.raises(BadSpec, match="positive"):
        classic.load(frames=0)


def rows_of(packs: Path, pack: str, count: int | None = None) -> list[dict[str, str]]:
    with (packs / pack / "meta.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    places = np.random.default_rng(5).permutation(len(rows))[:count]
    return [rows[place] for place in sorted(places)]


def embedded(packs: Path, pack: str, rows: list[dict[str, str]], key: str, column: str) -> np.ndarray:
    encoder = classic.load()
    read = encoder.reader(key)
    inputs = [read(row[column] if key == "text" else packs / pack / row[column]) for row in rows]
    return encoder.embed(key, inputs, encoder.spaces(key)[0])


def agreement(vectors: np.ndarray, rows: list[dict[str, str]], label: str) -> float:
    """Share of items whose nearest other item has their label."""
    near = vectors @ vectors.T
    np.fill_diagonal(near, -np.inf)
    labels = np.array([row[label] for row in rows])
    return float((labels[near.argmax(axis=1)] == labels).mean())


@pytest.mark.data
def test_nearest_photo_agrees_in_type_and_colour(packs: Path) -> None:
    # Measured on 1,000: 0.71 and 0.48; the commonest label has 0.18 and 0.23.
    rows = rows_of(packs, "fashion_products", 1000)
    vectors = embedded(packs, "fashion_products", rows, "image", "file")
    assert agreement(vectors, rows, "article_type") > 0.66
    assert agreement(vectors, rows, "base_colour") > 0.42


@pytest.mark.data
def test_nearest_sound_agrees_in_label(packs: Path) -> None:
    rows = rows_of(packs, "esc10")
    assert agreement(embedded(packs, "esc10", rows, "audio", "file"), rows, "label") > 0.81  # measured 0.85


@pytest.mark.data
def test_nearest_product_name_agrees_in_type(packs: Path) -> None:
    rows = rows_of(packs, "fashion_products", 2000)
    vectors = embedded(packs, "fashion_products", rows, "text", "name")
    assert agreement(vectors, rows, "article_type") > 0.82  # measured 0.86


@pytest.mark.data
def test_still_finds_a_clip_of_its_sign(packs: Path) -> None:
    rows = rows_of(packs, "asl_video", 120)
    stills = embedded(packs, "asl_video", rows, "image", "still")
    clips = embedded(packs, "asl_video", rows, "video", "file")
    letters = np.array([row["letter"] for row in rows])
    assert (letters[(stills @ clips.T).argmax(axis=1)] == letters).mean() > 0.4
