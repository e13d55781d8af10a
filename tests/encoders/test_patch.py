"""The grid and its features."""

import numpy as np
import pytest
import torch
from torch import nn

from quiver.encoders._patch.grid import Averaged, Cells, Pixels, cut
from quiver.errors import BadMedia, BadSpec

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def shades(height: int, width: int) -> np.ndarray:
    """Cell k of an 8 x 8 grid is of grey level 4 k; what the grid leaves over is white."""
    picture = np.full((height, width, 3), 255, np.uint8)
    cells = (4 * np.arange(64, dtype=np.uint8)).reshape(8, 8).repeat(height // 8, 0).repeat(width // 8, 1)
    picture[: cells.shape[0], : cells.shape[1]] = cells[..., None]
    return picture


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.ReLU()).eval()


@pytest.mark.parametrize(("height", "width"), [(64, 64), (71, 49), (8, 15)])
def test_cells_are_in_reading_order_and_the_rest_is_dropped(height, width):
    cells = cut(shades(height, width))
    assert cells.shape == (64, height // 8, width // 8, 3)
    assert (cells == 4 * np.arange(64)[:, None, None, None]).all()


def test_cells_cover_a_picture_that_divides_evenly():
    picture = np.random.default_rng(0).integers(0, 256, (16, 24, 3), np.uint8)
    back = cut(picture, 2, 3).reshape(2, 3, 8, 8, 3).swapaxes(1, 2).reshape(16, 24, 3)
    assert np.array_equal(back, picture)


def test_a_picture_smaller_than_the_grid_is_refused():
    with pytest.raises(BadMedia, match="64x7 px is too small for a grid of 8x8"):
        cut(shades(64, 64)[:7])


def test_pixels_are_normalised_values_of_each_cell():
    found = Pixels(side=2, **PLAIN)([shades(64, 64), shades(71, 49)])
    assert found.shape == (2, 64, 12)
    np.testing.assert_allclose(found[0], np.repeat(4 * np.arange(64) / 255, 12).reshape(64, 12), atol=1e-6)
    np.testing.assert_allclose(found[1], found[0], atol=1e-6)
    shifted = Pixels(side=2, mean=(0.5, 0.0, 0.0), std=(0.5, 1.0, 1.0))([shades(64, 64)])[0]
    np.testing.assert_allclose(shifted[:, 0], 2 * found[0][:, 0] - 1, atol=1e-6)
    np.testing.assert_allclose(shifted[:, 1:3], found[0][:, 1:3], atol=1e-6)


def test_a_cell_by_itself_is_what_the_network_makes_of_it(network):
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    found = Cells(network=network, size=8, at_once=7, **PLAIN)([picture])
    cell = torch.from_numpy(picture[8:16, 16:24].copy()).permute(2, 0, 1)[None].float() / 255  # row 1, column 2
    with torch.no_grad():
        expected = network(cell).mean(dim=(2, 3))[0].numpy()
    assert found.shape == (1, 64, 6)
    np.testing.assert_allclose(found[0, 10], expected, atol=1e-6)


def test_averages_of_a_map_equal_single_cells_where_the_network_sees_no_further(network):
    pictures = list(np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), np.uint8))
    cells = Cells(network=network, size=8, **PLAIN)(pictures)
    averaged = Averaged(network=network, size=64, at_once=2, **PLAIN)(pictures)
    np.testing.assert_allclose(averaged, cells, atol=1e-5)


def test_a_map_coarser_than_the_grid_is_refused(network):
    with pytest.raises(BadSpec, match="map of 7x7 cannot be averaged over 8x8 patches: give a size above 28"):
        Averaged(network=network, size=28)([shades(64, 64)])
