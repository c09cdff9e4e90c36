"""By how much more a pixel may change where a picture is busy, against closed forms."""

import pytest
import torch

from faceveil.metrics.masking import detail, detail_masking, masking

STABILITY = (0.03 * 255) ** 2  # SSIM's C2 (Wang et al., 2004)


def test_nothing_is_masked_on_flat_ground():
    assert torch.allclose(masking(torch.full((2, 3, 20, 20), 0.5)), torch.ones(2, 1, 20, 20), atol=1e-4)


def test_random_noise_masks_as_its_variance_says():
    noise = 0.1 * torch.randn(1, 1, 120, 120, generator=torch.Generator().manual_seed(0))
    expected = (2 * 25.5**2 * 48 / 49 / STABILITY + 1) ** 0.5  # 49 pixels have 48 degrees of freedom
    assert masking((0.5 + noise).expand(1, 3, -1, -1)).mean().item() == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(("channel", "share"), [(0, 0.299), (1, 0.587), (2, 0.114)])
def test_a_channel_masks_by_its_share_of_brightness(channel, share):
    """ITU-R BT.601's."""
    images = torch.full((1, 3, 120, 120), 0.5)
    images[:, channel] += 0.1 * torch.randn(120, 120, generator=torch.Generator().manual_seed(0))
    expected = (2 * (share * 25.5) ** 2 * 48 / 49 / STABILITY + 1) ** 0.5
    assert masking(images).mean().item() == pytest.approx(expected, rel=0.01)


def test_windows_are_7_pixels_wide():
    """Those around a bright pixel, and the means over them: 13 each way."""
    images = torch.full((1, 3, 40, 40), 0.5)
    images[..., 20, 20] = 1
    assert int((masking(images) > 1 + 1e-4).sum()) == 13 * 13


def test_busy_places_may_change_more_than_smooth_ones():
    images = torch.full((1, 3, 40, 40), 0.5)
    images[..., 20:] += 0.2 * (torch.arange(40)[:, None] + torch.arange(20)).remainder(2)
    found = masking(images)[0, 0]
    assert found[20, 35] > 3 * found[20, 5]


def test_detail_is_what_binomial_weights_take_away():
    ticks = torch.arange(40, dtype=torch.float64)
    wave = torch.cos(0.8 * ticks).expand(1, 1, 40, 40)
    passed = (1 + torch.cos(torch.tensor(0.8))) / 2  # the response of weights of 1/4, 1/2, 1/4
    assert torch.allclose(detail(wave)[..., 1:-1], ((1 - passed) * wave)[..., 1:-1], atol=1e-6)


def test_a_blurred_edge_masks_no_detail_and_a_sharp_pattern_masks_it_as_all_else():
    blurred = torch.sigmoid((torch.arange(40) - 20) / 3).expand(1, 3, 40, 40)
    assert masking(blurred).max() > 5
    assert detail_masking(blurred).max() < 0.4
    checks = 0.5 + 0.2 * (torch.arange(40)[:, None] + torch.arange(40)).remainder(2).expand(1, 3, 40, 40)
    inside = slice(8, -8)
    found, whole = (mask(checks)[..., inside, inside] for mask in (detail_masking, masking))
    assert torch.allclose((found.square() + 1).sqrt(), whole, rtol=0.02)


def test_without_any_detail_none_may_change():
    assert torch.allclose(detail_masking(torch.full((2, 3, 20, 20), 0.5)), torch.zeros(2, 1, 20, 20), atol=1e-3)
