"""By how much more a pixel may change where a picture is busy, against closed forms."""

import pytest
import torch

from faceveil.metrics.masking import STABILITY, masking


def test_nothing_is_masked_on_flat_ground():
    assert torch.allclose(masking(torch.full((2, 3, 20, 20), 0.5)), torch.ones(2, 1, 20, 20), atol=1e-4)


def test_random_noise_masks_as_its_variance_says():
    noise = 0.1 * torch.randn(1, 1, 120, 120, generator=torch.Generator().manual_seed(0))
    expected = (2 * 25.5**2 * 48 / 49 / STABILITY + 1) ** 0.5  # 49 pixels have 48 degrees of freedom
    assert masking((0.5 + noise).expand(1, 3, -1, -1)).mean().item() == pytest.approx(expected, rel=0.02)


def test_busy_places_may_change_more_than_smooth_ones():
    images = torch.full((1, 3, 40, 40), 0.5)
    images[..., 20:] += 0.2 * (torch.arange(40)[:, None] + torch.arange(20)).remainder(2)
    found = masking(images)[0, 0]
    assert found[20, 35] > 3 * found[20, 5]
