"""How much a pixel may change, against scikit-image's SSIM and closed forms."""

import numpy as np
import pytest
import torch
from skimage import data

from faceveil.metrics import ssim
from faceveil.metrics.masking import STABILITY, allowance


def face() -> torch.Tensor:
    return torch.from_numpy(data.astronaut()[20:196, 140:316].copy()).permute(2, 0, 1)[None] / 255


def test_on_a_flat_picture_the_cost_is_the_closed_form():
    images, share = torch.full((2, 3, 20, 20), 0.5), torch.ones(2, 1, 20, 20)
    levels = allowance(images, share, torch.full((2,), 0.1), 100.0)
    square = levels.square() / 2
    assert torch.allclose(square / (STABILITY + square), torch.tensor(0.1), atol=1e-3)


def test_a_random_change_of_that_size_costs_about_as_much_of_scikit_images_ssim():
    levels = allowance(face(), torch.ones(1, 1, 176, 176), torch.tensor([0.1]), 100.0)
    signs = torch.randint(2, levels.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    change = 0.5**0.5 * levels * signs  # of mean square levels^2 / 2, alike in all channels
    pixels, others = (
        (images[0].permute(1, 2, 0).clamp(0, 255).round().byte().numpy())
        for images in (255 * face(), 255 * face() + change)
    )
    assert 1 - ssim(pixels, others) == pytest.approx(0.1, abs=0.03)


def test_busy_places_may_change_more_than_smooth_ones_and_nothing_without_a_share():
    images = torch.full((1, 3, 40, 40), 0.5)
    images[..., 20:] += 0.2 * (torch.arange(40)[:, None] + torch.arange(20)).remainder(2)
    share = torch.ones(1, 1, 40, 40)
    share[:, :, :5] = 0
    levels = allowance(images, share, torch.tensor([0.1]), 100.0)[0, 0]
    assert levels[20, 35] > 1.5 * levels[20, 5] > 0
    assert levels[:5].max() == 0


def test_no_pixel_may_change_by_more_than_the_largest_and_a_cost_beyond_reach_takes_all():
    levels = allowance(face(), torch.ones(1, 1, 176, 176), torch.tensor([0.9]), 6.0)
    assert levels.max() == 6
    assert np.median(levels) == pytest.approx(6, abs=0.1)


def test_an_images_levels_do_not_depend_on_the_others():
    images = torch.cat([face(), face().flip(3) / 2])
    share = torch.ones(2, 1, 176, 176)
    together = allowance(images, share, torch.tensor([0.1, 0.2]), 24.0)
    assert torch.equal(together[1:], allowance(images[1:], share[1:], torch.tensor([0.2]), 24.0))
