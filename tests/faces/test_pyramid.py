import numpy as np
import pytest
import torch

from faceveil.faces.pyramid import Atlas, Pyramid

CPU = torch.device("cpu")


def ramp(height: int, width: int) -> np.ndarray:
    """Red counts columns, green rows: a pixel's levels say where its center lies, less a half."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns, rows, 0 * rows], 2).astype(np.uint8)


def patches(photos, photo, corners, sides, size, samples=1):
    atlas = Atlas([Pyramid(p) for p in photos], CPU)
    return atlas.patches(torch.tensor(photo), torch.tensor(corners), torch.tensor(sides), size, samples)


def test_a_patch_on_the_pixels_is_the_pixels():
    photos = [np.random.default_rng(seed).integers(0, 256, (40 + seed, 50, 3), np.uint8) for seed in range(3)]
    cut = patches(photos, [2, 0, 1], [[3.0, 4.0], [26.0, 16.0], [0.0, 0.0]], [24.0] * 3, 24)
    places = [(2, 4, 3), (0, 16, 26), (1, 0, 0)]
    expected = np.stack([photos[photo][y : y + 24, x : x + 24] for photo, y, x in places])
    np.testing.assert_array_equal(cut.permute(0, 2, 3, 1), expected)


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("side", [10.0, 24.0, 40.0, 100.5, 150.0])
def test_a_patch_shows_the_place_it_was_asked_for(side, samples):
    red, green, _ = patches([ramp(211, 255)], [0], [[60.3, 31.8]], [side], 24, samples)[0]
    centers = (torch.arange(24) + 0.5) / 24 * side - 0.5
    torch.testing.assert_close(red, (60.3 + centers).expand(24, 24), atol=1, rtol=0)
    torch.testing.assert_close(green, (31.8 + centers)[:, None].expand(24, 24), atol=1, rtol=0)
    assert abs((red - (60.3 + centers)).mean()) < 0.5  # halvings are rounded to 8 bits, half a level up at most


def test_outside_of_the_photo_is_gray():
    white = np.full((30, 30, 3), 255, np.uint8)
    inside, left, around = patches(
        [white], [0, 0, 0], [[0.0, 0.0], [-40.0, 0.0], [-15.0, -15.0]], [30.0, 24.0, 60.0], 24
    )
    assert (inside[:, 1:-1, 1:-1] == 255).all()
    assert (left == 127.5).all()
    assert (around[:, 8:16, 8:16] == 255).all()
    assert (around[:, :5] == 127.5).all()


@pytest.mark.parametrize("scale", [1, 0.7071, 0.5, 0.3536, 0.25])
@pytest.mark.parametrize("shape", [(200, 250), (201, 247)])
def test_a_level_shows_the_whole_photo(shape, scale):
    height, width = shape
    level = Pyramid(ramp(*shape)).at(scale).astype(float)
    assert level.shape == (round(height * scale), round(width * scale), 3)
    columns = (np.arange(level.shape[1]) + 0.5) / level.shape[1] * width - 0.5
    np.testing.assert_allclose(level[10, 3:-3, 0], columns[3:-3], atol=1.5)
