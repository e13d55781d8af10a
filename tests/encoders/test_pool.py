import numpy as np
import pytest

from quiver.encoders import _pool
from quiver.encoders._tower import averaged
from quiver.errors import BadMedia


def test_rows_have_length_one_whatever_their_scale() -> None:
    rows = _pool.unit([[3, 4], [3e30, 4e30], [-3e-38, 4e-38]])
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0.6, 0.8], [-0.6, 0.8]], rtol=1e-5)
    assert rows.dtype == np.float32


def test_row_of_zeros_points_everywhere_alike() -> None:
    np.testing.assert_allclose(_pool.unit(np.zeros((1, 4))), [[0.5, 0.5, 0.5, 0.5]])


def test_scaling_leaves_its_input_alone() -> None:
    given = np.array([[3, 4], [0, 0]], np.float32)
    _pool.unit(given)
    np.testing.assert_array_equal(given, [[3, 4], [0, 0]])


def test_row_that_is_not_finite_is_named() -> None:
    with pytest.raises(BadMedia, match=r"place \[1\]"):
        _pool.unit([[1, 2], [np.nan, 1], [3, 4]])


def test_runs_are_averaged() -> None:
    rows = [[1, 2], [3, 4], [5, 9], [1, 1], [0, 2]]
    np.testing.assert_allclose(_pool.mean(rows, [1, 3, 1]), [[1, 2], [3, 14 / 3], [0, 2]])
    assert _pool.mean(np.empty((0, 2)), []).shape == (0, 2)


def test_equal_frames_of_several_clips_are_embedded_once():
    frames = [np.full((40, 40, 3), level, np.uint8) for level in range(5)]
    almost = frames[2].copy()
    almost[1, 1] = 9  # between the rows and columns that are looked at first
    asked = []

    def features(batch):
        asked.extend(batch)
        return np.stack([[each.mean() + 1, each[1, 1, 0] + 1] for each in batch]).astype(np.float32)

    clips = [np.stack(frames[:3]), np.stack(frames[1:4]), np.stack([almost, frames[4], frames[4]])]
    found = averaged(features, at_once=2)(clips)
    assert len(asked) == 6
    for clip, row in zip(clips, found, strict=True):
        assert row == pytest.approx(averaged(features, at_once=64)([clip])[0], abs=1e-6)
