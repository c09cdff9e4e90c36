import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from faceveil.metrics.mmd import WIDTHS
from faceveil.protocols.quality import Summary, quality
from people import portrait


def images() -> torch.Tensor:
    pixels = torch.from_numpy(portrait()).permute(2, 0, 1) / 255
    return torch.stack([pixels[:, :96, :96], pixels[:, 96:192, 96:192]]).clamp(8 / 255, 1 - 8 / 255)


def test_every_number_is_that_of_the_image_and_its_own_original():
    clear = images()
    cloaked = clear + torch.tensor([4.0, -8.0]).reshape(2, 1, 1, 1) / 255 * torch.sin(torch.arange(96.0)).round()
    found = quality(clear, cloaked)
    for i in range(2):
        one, other = ((255 * some[i]).round().permute(1, 2, 0).to(torch.uint8).numpy() for some in (clear, cloaked))
        assert found.ssim[i] == pytest.approx(structural_similarity(one, other, channel_axis=2))
        assert found.psnr[i] == pytest.approx(peak_signal_noise_ratio(one, other))
        assert found.dssim[i] == pytest.approx((1 - found.ssim[i]) / 2)
    assert found.largest_change.tolist() == [4, 8]
    assert found.mean_change[1] == pytest.approx(2 * found.mean_change[0])


def test_a_change_of_one_level_has_closed_forms():
    found = quality(images(), images() + 1 / 255)
    assert found.psnr == pytest.approx([20 * math.log10(255)] * 2)
    assert found.mean_change == pytest.approx([1, 1])
    expected = 2 * sum(1 - math.exp(-3 * 96 * 96 / (2 * width)) for width in WIDTHS)
    assert found.mmd == pytest.approx([expected] * 2, rel=1e-4)


def test_what_no_file_could_hold_does_not_count():
    found = quality(images(), images() + 0.4 / 255)
    assert found.ssim.tolist() == [1, 1]
    assert found.largest_change.tolist() == [0, 0]


def test_a_summary_is_numpys():
    values = np.arange(5.0) ** 2
    assert Summary.of(values) == Summary(6, np.std(values), 0, (1, 4, 9), 16)
