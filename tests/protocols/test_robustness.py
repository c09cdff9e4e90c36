import io

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from skimage.restoration import denoise_tv_chambolle

from faceveil.errors import SettingError
from faceveil.metrics import psnr
from faceveil.protocols.robustness import LADDERS, names, reduce_depth, treated, treatment
from people import portrait


@pytest.fixture(scope="module")
def face():
    return portrait()[80:211, 80:180]  # 131 x 100


@pytest.mark.parametrize("name", names())
def test_every_treatment_keeps_the_size_and_something_of_the_photo(name, face):
    after = treatment(name)(face)
    assert after.shape == face.shape
    assert after.dtype == np.uint8
    assert psnr(face, after) > 18
    assert (after != face).any()


@pytest.mark.parametrize("kind", LADDERS)
def test_a_ladder_grows_harsher(kind, face):
    quality = [psnr(face, treatment(f"{kind} {strength:g}")(face)) for strength in LADDERS[kind].strengths]
    assert quality == sorted(quality, reverse=True)


@pytest.mark.parametrize("name", names())
def test_white_stays_white(name):
    white = np.full((40, 60, 3), 255, np.uint8)
    assert treatment(name)(white).min() >= 254


def test_jpeg_is_pillows(face):
    stream = io.BytesIO()
    Image.fromarray(face).save(stream, "JPEG", quality=60)
    assert (treatment("JPEG 60")(face) == np.array(Image.open(stream))).all()


@pytest.mark.parametrize("kind", ["JPEG", "WebP"])
@pytest.mark.parametrize("quality", [59.6, 60.4])
def test_a_quality_is_the_nearest_whole_one(kind, quality, face):
    stream = io.BytesIO()
    Image.fromarray(face).save(stream, kind, quality=60)
    assert (treatment(f"{kind} {quality}")(face) == np.array(Image.open(stream).convert("RGB"))).all()


def test_smaller_is_lanczos_and_back_is_bicubic(face):
    small = Image.fromarray(face).resize((27, 35), Image.Resampling.LANCZOS)  # 26.7 and 34.977
    expected = np.array(small.resize((100, 131), Image.Resampling.BICUBIC))
    assert (treatment("size 0.267")(face) == expected).all()


def test_images_are_rounded_to_8_bits_before_they_are_treated():
    images = torch.rand(2, 3, 20, 30)
    assert torch.allclose(treated(images, np.copy), (255 * images).round() / 255)


def test_blur_is_nearly_scipys_gaussian(face):
    expected = ndimage.gaussian_filter(face.astype(float), (2, 2, 0), mode="nearest")
    assert np.abs(treatment("blur 2")(face) - expected).mean() < 2


def test_the_median_is_scipys(face):
    expected = ndimage.median_filter(face, (3, 3, 1))
    assert (treatment("median 3")(face)[1:-1, 1:-1] == expected[1:-1, 1:-1]).all()


def test_tvm_is_scikit_images_and_takes_noise_off():
    noisy = (128 + np.random.default_rng(0).normal(0, 10, (40, 40, 3))).astype(np.uint8)
    after = treatment("TVM 0.1")(noisy)
    expected = denoise_tv_chambolle(noisy, weight=0.1, channel_axis=2)
    assert np.abs(after - 255 * expected).max() <= 0.5 + 1e-9
    assert after.std() < 0.3 * noisy.std()


@given(st.integers(1, 8))
def test_as_many_levels_remain_as_the_bits_can_count(bits):
    every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    after = reduce_depth(every, bits)
    assert len(np.unique(after)) == 2**bits
    assert (reduce_depth(after, bits) == after).all()
    assert np.abs(after.astype(int) - every).max() <= 255 / (2**bits - 1) / 2 + 0.5


def test_images_are_treated_as_their_pixels_would_be(face):
    images = torch.from_numpy(face).permute(2, 0, 1)[None] / 255
    after = treated(images.repeat(2, 1, 1, 1), treatment("JPEG 75"))
    assert after.shape == (2, 3, 131, 100)
    assert ((after[1] * 255).round().permute(1, 2, 0).numpy() == treatment("JPEG 75")(face)).all()


@pytest.mark.parametrize("name", ["JPEG", "JPEG high", "sepia 3", "", "75"])
def test_an_unknown_treatment_is_refused(name):
    with pytest.raises(SettingError, match="is no treatment; say one of JPEG, WebP"):
        treatment(name)


@pytest.mark.parametrize("name", ["JPEG 0", "bits 9", "size 0", "TVM -1", "blur nan", "median inf"])
def test_an_impossible_strength_is_refused(name):
    with pytest.raises(SettingError, match="; choose from"):
        treatment(name)
