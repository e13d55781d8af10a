"""The descriptor of motion: what moves where to, and nothing of how it looks."""

import numpy as np
import pytest

from quiver import registry
from quiver.encoders import _pool, motion
from quiver.errors import BadSpec

SIDE = motion.SIDE


def ball(path, frames=16, light=180, stripes=3):
    """Draw a striped disc; ``path`` gives centre, radius and angle of frame t."""
    y, x = np.mgrid[:SIDE, :SIDE]
    clip = np.zeros((frames, SIDE, SIDE, 3), np.uint8)
    for t in range(frames):
        cx, cy, radius, angle = path(t)
        inside = np.clip(radius - np.hypot(x - cx, y - cy) + 0.5, 0, 1)
        texture = 0.6 + 0.4 * np.sin(stripes * np.arctan2(y - cy, x - cx) + angle)
        clip[t] = (40 + light * inside * texture)[..., None]
    return clip


def described(*clips):
    return _pool.unit(motion.describe(clips))


def along(angle, speed=0.7):
    return lambda t: (32 + speed * np.cos(angle) * (t - 8), 32 + speed * np.sin(angle) * (t - 8), 10, 0)


@pytest.mark.parametrize("k", range(motion.DIRECTIONS))
def test_flow_is_counted_in_its_direction(k):
    angle = 2 * np.pi * k / motion.DIRECTIONS
    whole = motion.describe([ball(along(angle))])[0][: motion.DIRECTIONS]
    assert whole.argmax() == k
    assert whole[(k + motion.DIRECTIONS // 2) % motion.DIRECTIONS] < 0.5 * whole[k]


def test_flow_of_a_shifted_texture_is_its_shift():
    y, x = np.mgrid[:32, :32]
    frames = [0.5 + 0.2 * np.sin(0.5 * (x - 0.3 * t)) + 0.2 * np.sin(0.5 * (y + 0.2 * t)) for t in range(4)]
    found = motion.flow(np.stack(frames).astype(np.float32))[:, 1:-1, 1:-1]
    np.testing.assert_allclose(np.median(found, axis=(0, 1, 2)), [0.3, -0.2], atol=0.03)


def test_look_hardly_matters_and_motion_does():
    def sway(t):
        return 32 + 4 * np.sin(t), 32, 10, 0

    def rise(t):
        return 32, 32 + 4 * np.sin(t), 10, 0

    rows = described(ball(sway), ball(sway, light=120, stripes=5), ball(rise))
    assert rows[0] @ rows[1] > 0.97
    assert rows[0] @ rows[1] > 0.1 + rows[0] @ rows[2]


@pytest.mark.parametrize(
    ("path", "entry"),
    [
        (lambda t: (32, 32, 6 + 0.5 * t, 0), 0),
        (lambda t: (32, 32, 14 - 0.5 * t, 0), 1),
        (lambda t: (32, 32, 10, -0.4 * t), 2),
        (lambda t: (32, 32, 10, 0.4 * t), 3),
    ],
    ids=["grows", "shrinks", "turns clockwise", "turns back"],
)
def test_growth_and_turns_are_told_apart(path, entry):
    start = 5 * motion.DIRECTIONS + 1
    kinds = motion.describe([ball(path)])[0][start : start + 4]
    opposite = entry ^ 1
    assert kinds[entry] > kinds[opposite] + 0.05


def test_a_clip_at_rest_and_one_of_a_single_frame_are_alike_and_have_a_direction():
    still = ball(along(0, speed=0), frames=6)
    rows = described(still, still[:1])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert rows[0] @ rows[1] > 0.99
    moving = described(ball(along(0)))
    assert rows[0] @ moving[0] < 0.5


def test_noise_of_a_clip_at_rest_counts_as_rest():
    rng = np.random.default_rng(0)
    clip = np.clip(ball(along(0, speed=0)) + rng.normal(0, 2, (16, SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
    whole = motion.describe([clip])[0][: 5 * motion.DIRECTIONS + 1]
    assert whole.argmax() == 5 * motion.DIRECTIONS


def test_it_embeds_videos_alone_and_refuses_a_single_frame():
    assert registry.load("encoders", "motion frames=4").keys == ("video",)
    with pytest.raises(BadSpec, match="at least 2"):
        registry.load("encoders", "motion frames=1")
