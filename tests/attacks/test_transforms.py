import math

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate
from torch import Generator

from attacks.toys import pictures
from faceveil.attacks.transforms import Colorless, Momentum, Smoothing, Surroundings, VarianceTuning
from faceveil.errors import SettingError


def quadratic(center: torch.Tensor) -> Surroundings:
    """Around a place where the gradient is itself: that of |x|^2 / 2."""
    return Surroundings(lambda offset: center + offset, Generator().manual_seed(0))


def test_momentum_sums_gradients_of_mean_magnitude_one():
    gradient = torch.stack([torch.full((3, 2, 2), 5.0), torch.full((3, 2, 2), -0.1)])
    direction, memory = Momentum(0.5)(gradient, torch.ones_like(gradient), quadratic(gradient))
    assert torch.equal(direction, memory)
    assert torch.allclose(direction[:, 0, 0, 0], torch.tensor([1.5, -0.5]))


@pytest.mark.parametrize("channels", [1, 3])
def test_smoothing_is_a_gaussian_blur_of_each_channel(channels):
    gradient = pictures(1)[:, :channels]
    smooth, _ = Smoothing(5, 2.0)(gradient, torch.zeros(()), quadratic(gradient))
    taps = np.exp(-(np.array([-2, -1, 0, 1, 2]) ** 2) / 2)
    kernel = np.outer(taps, taps) / taps.sum() ** 2
    expected = [correlate(channel, kernel, mode="constant") for channel in gradient[0].numpy()]
    assert np.allclose(smooth[0], expected, atol=1e-6)


def test_smoothing_of_a_pixel_is_none_and_an_even_width_has_no_middle():
    gradient = pictures(1)
    assert torch.equal(Smoothing(1)(gradient, torch.zeros(()), quadratic(gradient))[0], gradient)
    with pytest.raises(SettingError, match="size is 4; give an odd number"):
        Smoothing(4)


def test_variance_tuning_remembers_what_the_neighborhood_has_beyond_the_gradient():
    gradient = torch.randn(3, 12, 12, generator=Generator().manual_seed(1)).expand(2, -1, -1, -1)
    tuning = VarianceTuning(0.3, neighbors=400)
    direction, memory = tuning(gradient, torch.ones_like(gradient), quadratic(gradient))
    assert torch.equal(direction, gradient + 1)
    assert memory.abs().max() < 5 * 0.3 / math.sqrt(3 * 400)  # the mean of 400 uniform numbers
    assert torch.equal(memory[0], memory[1])


def test_colorless_moves_all_channels_alike_by_the_loss_of_a_common_shift():
    gradient = torch.randn(2, 3, 4, 4, generator=Generator().manual_seed(0))
    direction, _ = Colorless()(gradient, torch.zeros_like(gradient), quadratic(torch.zeros_like(gradient)))
    assert torch.allclose(direction, gradient.sum(1, keepdim=True))
