import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from faceveil import metrics
from faceveil.errors import SettingError


def pair(height=40, width=50):
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return pixels, (pixels + random.integers(-9, 10, pixels.shape)).clip(0, 255).astype(np.uint8)


def test_ssim_is_the_mean_of_scikit_images_over_the_channels():
    one, other = pair()
    each = [structural_similarity(one[..., i], other[..., i]) for i in range(3)]
    assert metrics.ssim(one, other) == pytest.approx(np.mean(each))


def test_psnr_is_scikit_images_and_infinite_for_equal_pictures():
    one, other = pair()
    assert metrics.psnr(one, other) == pytest.approx(peak_signal_noise_ratio(one, other))
    assert metrics.psnr(one, one) == np.inf


def test_largest_change_does_not_wrap_around():
    assert metrics.largest_change(np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 250, np.uint8)) == 250


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (6, 4), (7, 7)])
def test_small_pictures_are_equal_to_themselves(shape):
    one, _ = pair(*shape)
    assert metrics.ssim(one, one) == pytest.approx(1)


@pytest.mark.parametrize("measure", [metrics.ssim, metrics.psnr, metrics.largest_change])
@pytest.mark.parametrize("shape", [(1, 50, 3), (40, 1, 3), (0, 50, 3)])
def test_pictures_have_one_size(measure, shape):
    one, _ = pair()
    for pictures in ((one, np.zeros(shape, np.uint8)), (np.zeros(shape, np.uint8), one)):
        with pytest.raises(SettingError, match=r"give two of one size, uint8 \[height, width, 3\]$"):
            measure(*pictures)
