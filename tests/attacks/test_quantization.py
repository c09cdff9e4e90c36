import numpy as np
import pytest
import torch

from faceveil.attacks.quantization import Grid
from faceveil.errors import SettingError


@pytest.mark.parametrize("values", [2, 3, 4, 17, 255])
def test_a_grid_keeps_the_nearest_of_its_values(values):
    noise = torch.linspace(-9 / 255, 9 / 255, 3 * 64).reshape(1, 3, 8, 8)
    allowed = np.linspace(-8, 8, values)
    found = 255 * Grid(8, values)(noise).flatten().double().numpy()
    nearest = np.abs(np.clip(255 * noise.flatten().double().numpy(), -8, 8)[:, None] - allowed).min(1)
    assert np.abs(found[:, None] - allowed).min(1).max() < 1e-5
    assert np.abs(found - np.clip(255 * noise.flatten().double().numpy(), -8, 8)) == pytest.approx(nearest, abs=1e-5)
    assert torch.equal(Grid(8, values)(Grid(8, values)(noise)), Grid(8, values)(noise))


def test_two_values_are_the_sign():
    noise = torch.tensor([-1e-6, 0.0, 1e-6]).reshape(1, 3, 1, 1)
    assert (255 * Grid(4, 2)(noise)).flatten().tolist() == pytest.approx([-4, 4, 4])


@pytest.mark.parametrize("wrong", [(0, 2), (256, 2), (8, 1), (8, 257)])
def test_a_grid_has_bounds(wrong):
    with pytest.raises(SettingError):
        Grid(*wrong)
