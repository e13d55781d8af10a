"""Clips are changed as drawn, all frames alike, and back to themselves when nothing is drawn."""

import colorsys

import numpy as np
import pytest
import torch

from quiver.encoders.mmv.augment import Jitter, centre, change_audio, change_video, crop, draw_boxes, draw_colours
from quiver.errors import BadSpec

STILL = Jitter(flip=0, scale=0, colour=0, hue=0)


def clips(count=3, frames=4, side=12):
    rng = np.random.default_rng(3)
    return torch.from_numpy(rng.integers(0, 256, (count, frames, side, side, 3), dtype=np.uint8))


def test_box_of_whole_pixels_is_a_slice():
    video = clips()
    boxes = np.array([[2, 1, 8, 8], [0, 4, 8, 8], [4, 0, 8, 8]], np.float32)
    cut = crop(video, boxes, 8)
    for number, (left, top) in enumerate([(2, 1), (0, 4), (4, 0)]):
        want = video[number, :, top : top + 8, left : left + 8].float() / 255
        torch.testing.assert_close(cut[number], want, atol=1e-5, rtol=0)
    torch.testing.assert_close(crop(video, np.full((3, 4), (2, 2, 8, 8), np.float32), 8), centre(video, 8))


def test_whole_pixels_are_the_same_sliced_and_sampled():
    video = clips(count=2)
    boxes = np.array([[2, 1, 8, 8], [9, 3, -8, 8]], np.float32)
    sampled = crop(torch.cat([video, video[:1]]), np.concatenate([boxes, [[0, 0, 9.5, 9]]]).astype(np.float32), 8)
    torch.testing.assert_close(crop(video, boxes, 8), sampled[:2], atol=1e-5, rtol=0)


def test_unscaled_boxes_are_whole_pixels_anywhere():
    boxes = draw_boxes(2000, 11, 8, jitter=Jitter(flip=0, scale=0), rng=np.random.default_rng(0))
    assert (boxes[:, 2:] == 8).all()
    assert np.unique(boxes[:, :2]).tolist() == [0, 1, 2, 3]


def test_negative_width_mirrors():
    video = clips()
    plain = crop(video, np.full((3, 4), (1, 2, 8, 8), np.float32), 8)
    turned = crop(video, np.full((3, 4), (9, 2, -8, 8), np.float32), 8)
    torch.testing.assert_close(turned, plain.flip(3))


def test_larger_box_makes_things_smaller():
    ramp = torch.arange(16, dtype=torch.uint8)[None, None, None, :, None].expand(1, 1, 16, 16, 3)
    cut = crop(ramp, np.array([[0, 0, 16, 16]], np.float32), 8)[0, 0, 0, :, 0] * 255
    torch.testing.assert_close(cut, torch.arange(8) * 2 + 0.5, atol=1e-4, rtol=0)


def test_boxes_lie_in_the_picture_and_are_as_often_mirrored_as_asked():
    boxes = draw_boxes(4000, 72, 64, jitter=Jitter(flip=0.25, scale=0.3), rng=np.random.default_rng(0))
    corners = np.stack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
    assert corners.min() >= 0
    assert corners.max() <= 72.001
    assert np.mean(boxes[:, 2] < 0) == pytest.approx(0.25, abs=0.03)
    sides = np.abs(boxes[:, 2:])
    assert np.mean((sides == 64).all(axis=1)) == pytest.approx(0.2, abs=0.03)  # often=0.8
    assert sides.min() == pytest.approx(64 / 1.3, rel=0.01)
    assert not np.allclose(sides[:, 0], sides[:, 1])  # each axis by itself


def test_nothing_drawn_changes_nothing_but_the_place_of_the_crop():
    video = clips(side=8)
    changed = change_video(video, 8, jitter=STILL, rng=np.random.default_rng(1))
    torch.testing.assert_close(changed, video.float() / 255, atol=2e-5, rtol=0)


def test_same_seed_changes_alike_and_the_input_stays():
    video, before = clips(), clips()
    draws = [np.random.default_rng(seed) for seed in (5, 5, 6)]
    first, again, other = (change_video(video, 8, jitter=Jitter(), rng=rng) for rng in draws)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(video, before)
    assert (first.shape, first.dtype) == ((3, 4, 8, 8, 3), torch.float32)
    assert 0 <= first.min() <= first.max() <= 1


def test_all_frames_of_a_clip_are_changed_alike():
    video = clips()[:, :1].expand(-1, 4, -1, -1, -1)
    changed = change_video(video, 8, jitter=Jitter(), rng=np.random.default_rng(2))
    assert all(torch.allclose(changed[:, 0], changed[:, number], rtol=0, atol=1e-6) for number in range(1, 4))


def test_grey_keeps_its_hue_and_hue_turns_by_what_was_drawn():
    jitter = Jitter(colour=0, hue=0.1, often=1)
    matrix, offset = draw_colours(200, jitter=jitter, rng=np.random.default_rng(0))
    np.testing.assert_allclose(matrix @ np.ones(3), 1, atol=1e-5)
    assert not offset.any()
    planes = np.array([colorsys.rgb_to_yiq(*(each @ np.array([0.6, 0.4, 0.4])))[1:] for each in matrix])
    angles = np.angle(planes @ [1, 1j]) / (2 * np.pi)
    own = np.angle(np.array(colorsys.rgb_to_yiq(0.6, 0.4, 0.4)[1:]) @ [1, 1j]) / (2 * np.pi)
    assert 0.09 < np.abs(angles - own).max() <= 0.101
    assert np.abs(np.abs(planes @ [1, 1j]) - np.abs(planes[0] @ [1, 1j])).max() < 0.01  # no more and no less colour


def test_contrast_stretches_about_the_mean_and_brightness_adds():
    video = torch.tensor([100, 120], dtype=torch.uint8)[None, None, None, :, None].expand(1, 1, 2, 2, 3)
    jitter = Jitter(flip=0, scale=0, colour=1, hue=0, often=1)
    spreads, means = [], []
    for seed in range(200):
        changed = change_video(video, 2, jitter=jitter, rng=np.random.default_rng(seed)) * 255
        spreads.append((changed.max() - changed.min()).item())
        means.append(changed.mean().item() - 110)
    assert min(spreads) == pytest.approx(12.5, abs=0.6)  # 20 times 0.6 to 1.4
    assert max(spreads) == pytest.approx(27.5, abs=0.6)
    assert min(means) == pytest.approx(-31, abs=1.1)
    assert max(means) == pytest.approx(31, abs=1.1)


def test_sound_gets_louder_and_noisier_as_asked():
    sound = torch.full((500, 64), 0.1)
    assert torch.equal(change_audio(sound, jitter=STILL, rng=np.random.default_rng(0)), sound)
    louder = change_audio(sound, jitter=Jitter(gain=6), rng=np.random.default_rng(0))
    assert louder.std(dim=1).max() == 0
    assert louder.min() == pytest.approx(0.0505, rel=0.02)  # 6 dB are twice
    assert louder.max() == pytest.approx(0.199, rel=0.02)
    noisy = change_audio(sound, jitter=Jitter(noise=0.02), rng=np.random.default_rng(0))
    assert 0.015 < (noisy - sound).std(dim=1).max() < 0.026
    assert change_audio(torch.ones(2, 8), jitter=Jitter(gain=20), rng=np.random.default_rng(0)).max() <= 1


@pytest.mark.parametrize("options", [{"flip": 1.5}, {"hue": 0.6}, {"scale": -0.1}, {"noise": float("nan")}])
def test_impossible_strength_is_refused(options):
    with pytest.raises(BadSpec, match=next(iter(options))):
        Jitter(**options)
