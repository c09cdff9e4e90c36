import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.fft import dctn, idctn
from torch import Generator

from attacks.toys import Linear, pictures
from faceveil.faces.align import warp
from faceveil.objectives.diversity import (
    Affinity,
    Blocks,
    Chain,
    Dimming,
    Padding,
    Sometimes,
    Spectrum,
    Tinting,
    Turning,
    scales,
)
from faceveil.objectives.views import JPEG, Alignment, Gray, Halving, OneOf, Rounding

RANDOM = [
    JPEG(),
    OneOf((Dimming(0.5), Rounding())),
    Sometimes(Dimming(0.5)),
    Padding(0.5),
    Affinity(),
    Turning(),
    Tinting(),
    Spectrum(),
    Blocks(),
]
PLAIN = [Sometimes(Dimming(0.5)), Padding(), Affinity(), Turning(), Tinting(), Spectrum(), Blocks(), Dimming(1.0)]


def seeded(seed=0):
    return Generator().manual_seed(seed)


def gradient(view, images, weights, generator=None):
    images = images.clone().requires_grad_()
    return torch.autograd.grad(Linear(weights).through(view)(images, generator).sum(), images)[0]


@pytest.mark.parametrize("view", RANDOM, ids=lambda view: type(view).__name__)
def test_draws_the_same_for_every_image_and_the_same_from_a_seed(view):
    images = pictures(3, size=32)
    together = view(images, seeded())
    assert torch.allclose(together[1:2], view(images[1:2], seeded()), atol=1e-5)
    assert any(not torch.equal(together, view(images, seeded(seed))) for seed in range(1, 9))


@pytest.mark.parametrize("view", PLAIN, ids=lambda view: type(view).__name__)
def test_shows_images_as_they_are_where_nothing_is_drawn(view):
    images = pictures(2)
    assert torch.equal(view(images, None), images)


@pytest.mark.parametrize("view", RANDOM, ids=lambda view: type(view).__name__)
def test_gradients_pass(view):
    images = pictures(2, size=32)
    assert gradient(view, images, torch.randn(images.shape), seeded()).abs().amax((1, 2, 3)).min() > 0


@pytest.mark.parametrize("quality", [40, 75, 95])
def test_jpeg_is_pillows(quality):
    images = pictures(2, size=48)
    stored = JPEG(quality, quality)(images)
    for image, seen in zip(images, stored, strict=True):
        stream = io.BytesIO()
        Image.fromarray((255 * image).round().byte().permute(1, 2, 0).numpy()).save(stream, "JPEG", quality=quality)
        assert np.array_equal((255 * seen).round().permute(1, 2, 0), np.asarray(Image.open(stream)))


def test_every_jpeg_quality_of_the_range_is_drawn_and_no_other():
    images, draw = pictures(1, size=32), seeded()
    seen = {tuple((255 * JPEG(60, 64)(images, draw)).round().flatten().tolist()) for _ in range(60)}
    each = [tuple((255 * JPEG(quality, quality)(images)).round().flatten().tolist()) for quality in range(60, 65)]
    assert seen == set(each)
    assert tuple((255 * JPEG(60, 64)(images)).round().flatten().tolist()) == each[0]


@pytest.mark.parametrize("view", [JPEG(), Rounding()])
def test_storage_passes_the_gradient_as_if_nothing_were_stored(view):
    images, weights = pictures(2), torch.randn(2, 3, 12, 12)
    assert torch.equal(gradient(view, images, weights), weights)


def test_rounding_gives_whole_levels():
    images = torch.rand(2, 3, 12, 12)
    assert torch.allclose(Rounding()(images), (255 * images).round() / 255, atol=1e-6)


def test_gray_images_are_seen_gray():
    images = pictures(2)
    seen = Gray(torch.tensor([True, False]))(images)
    assert torch.allclose(seen[0], images[0].mean(0).expand(3, -1, -1))
    assert torch.equal(seen[1], images[1])


def test_halving_takes_the_mean_of_four_pixels_and_keeps_what_is_smooth():
    board = (torch.arange(8)[:, None] + torch.arange(8)).remainder(2).float().expand(1, 3, 8, 8)
    assert torch.allclose(Halving()(board), torch.full((1, 3, 8, 8), 0.5))
    smooth = torch.linspace(0, 1, 64).expand(1, 3, 64, 64).contiguous()
    assert (Halving()(smooth) - smooth).abs().max() < 0.02


MATRICES = torch.tensor([[[0.9, 0.1, 2.0], [-0.1, 0.9, 3.0]], [[1.1, 0.0, 1.0], [0.0, 1.1, 0.0]]])


def test_alignment_is_the_warp_and_its_jitter_has_the_deviations_given():
    images = pictures(2, size=32)
    plain = Alignment(MATRICES, (24, 20))
    assert torch.allclose(plain(images), warp(images, MATRICES, (24, 20)))
    jitter = Alignment(MATRICES, (24, 20), (0.1, 0.2, 0.05))
    assert torch.allclose(jitter(images), plain(images))
    generator = seeded()
    drawn = torch.stack([jitter._jitter(generator) for _ in range(2000)])
    scale = drawn[:, :, :2].det().sqrt().log()
    turn = torch.atan2(drawn[:, 1, 0], drawn[:, 0, 0])
    shift = (drawn @ torch.tensor([10.0, 12.0, 1.0]) - torch.tensor([10.0, 12.0])) / torch.tensor([20.0, 24.0])
    assert scale.std() == pytest.approx(0.1, rel=0.1)
    assert turn.std() == pytest.approx(0.2, rel=0.1)
    assert shift.std(0).tolist() == pytest.approx([0.05, 0.05], rel=0.1)


def test_a_view_of_some_images_keeps_their_own_settings():
    images = pictures(2, size=32)
    chain = Chain((Gray(torch.tensor([True, False])), Alignment(MATRICES, (24, 20))))
    for chosen in (torch.tensor([1]), torch.tensor([False, True])):
        assert torch.equal(chain[chosen](images[chosen], None), chain(images, None)[chosen])


def test_padding_shrinks_and_sets_on_black():
    white = torch.ones(1, 3, 40, 40)
    for seed in range(20):
        seen = Padding(0.8)(white, seeded(seed))[0, 0]
        rows, columns = (seen.amax(1) > 0).sum(), (seen.amax(0) > 0).sum()
        assert seen.shape == (40, 40)
        assert rows == columns
        assert 32 <= rows <= 40
        assert torch.allclose(seen.sum(), rows.float() ** 2)


def test_padding_draws_every_size_and_place():
    white, draw = torch.ones(1, 3, 40, 40), seeded()
    found = [Padding(0.8)(white, draw)[0, 0].nonzero() for _ in range(1500)]
    boxes = [(*map(int, inside.amin(0)), int(inside[-1, 0] - inside[0, 0]) + 1) for inside in found]
    assert {size for _, _, size in boxes} == set(range(32, 41))
    for size in range(32, 41):
        tops, lefts = ({box[axis] for box in boxes if box[2] == size} for axis in (0, 1))
        assert tops == lefts == set(range(41 - size))
    assert any(top > left for top, left, _ in boxes)
    assert any(top < left for top, left, _ in boxes)


def test_turning_turns_about_the_center():
    image = torch.zeros(1, 3, 41, 41)
    image[:, :, 20, 36] = 1  # 16 pixels right of the center
    seen = Turning(90.0)(image, seeded())[0, 0]
    row, column = divmod(int(seen.argmax()), 41)
    angle = math.radians(90) * (2 * float(torch.rand((), generator=seeded())) - 1)
    assert (column - 20, row - 20) == pytest.approx((16 * math.cos(angle), -16 * math.sin(angle)), abs=0.8)


@pytest.mark.parametrize("count", [1, 4])
def test_one_of_several_draws_each_and_shows_the_first_where_nothing_is_drawn(count):
    white, draw = torch.ones(1, 3, 2, 2), seeded()
    view = OneOf([Dimming(2.0**-i) for i in range(count)])
    assert {float(view(white, draw).max()) for _ in range(60)} == {2.0**-i for i in range(count)}
    assert torch.equal(view(white), white)


@pytest.mark.parametrize("probability", [0.0, 0.2, 0.9, 1.0])
def test_a_view_is_left_out_as_often_as_it_is_told(probability):
    white, draw, view = torch.ones(1, 3, 2, 2), seeded(), Sometimes(Dimming(0.5), probability)
    shown = sum(float(view(white, draw).max()) == 0.5 for _ in range(300)) / 300
    assert shown == pytest.approx(probability, abs=4 * (probability * (1 - probability) / 300) ** 0.5)


def test_a_tint_shifts_each_channel_up_or_down_by_up_to_its_levels():
    gray, draw = torch.full((1, 3, 4, 4), 0.5), seeded()
    shifts = torch.stack([255 * (Tinting(5.0)(gray, draw) - gray)[0] for _ in range(300)])
    assert torch.allclose(shifts, shifts[..., :1, :1].expand_as(shifts))
    shifts = shifts[..., 0, 0]
    assert 4.8 < shifts.amax() <= 5.001
    assert -5.001 <= shifts.amin() < -4.8
    assert torch.allclose(shifts.std(0), torch.full((3,), 10 / 12**0.5), rtol=0.1)  # of uniform numbers
    assert shifts.T.corrcoef().triu(1).abs().max() < 0.2


RAMP = torch.linspace(-1, 1, 40)


def places(view, count=400):
    """Where the middle, and what is 10 pixels right of it, come from: x and y [count, 2] in halves of the image."""
    images = torch.stack([RAMP.expand(40, 40), RAMP[:, None].expand(40, 40), torch.zeros(40, 40)])[None]
    draw = seeded()
    drawn = torch.stack([view(images, draw)[0, :2, 19:21] for _ in range(count)])
    return [drawn[..., column - 1 : column + 1].mean((2, 3)) for column in (20, 30)]


def test_an_affine_map_has_the_spreads_given():
    """Of the shift, of how the map grows, and again of how it turns."""
    middle, right = places(Affinity(0.05, 0.05))
    assert middle.std(0).tolist() == pytest.approx([0.05, 0.05], rel=0.1)
    slopes = (right - middle) / (RAMP[30] - RAMP[20])
    assert slopes.std(0).tolist() == pytest.approx([0.05, 0.05 * 2**0.5], rel=0.1)


@pytest.mark.parametrize("least", [0.0, 0.1])
def test_the_spread_of_an_affine_map_is_drawn_between_two(least):
    """The mean square of numbers between a and b is (a a + a b + b b) / 3."""
    middle, _ = places(Affinity(least, 0.1))
    assert middle.square().mean().item() == pytest.approx((least**2 + least * 0.1 + 0.1**2) / 3, rel=0.15)


def test_blocks_are_all_there():
    images = pictures(1, size=32)
    seen = Blocks(2, degrees=0.0)(images, seeded())
    assert not torch.equal(seen, images)
    assert torch.allclose(seen.flatten().sort().values, images.flatten().sort().values, atol=1e-5)


def test_scales_halve_each_time():
    images = pictures(1)
    assert [float(view(images).sum() / images.sum()) for view in scales()] == pytest.approx(
        [1, 1 / 2, 1 / 4, 1 / 8, 1 / 16]
    )


def test_spectrum_scales_the_frequencies_of_the_noisy_image():
    images = pictures(1)
    seen = Spectrum(sigma=4.0, rho=0.3)(images, seeded())
    generator = seeded()
    noise = 4 / 255 * torch.randn(3, 12, 12, generator=generator)
    mask = 0.7 + 0.6 * torch.rand(3, 12, 12, generator=generator)
    frequencies = dctn((images[0] + noise).numpy(), axes=(1, 2), norm="ortho")
    assert np.allclose(seen[0], idctn(mask.numpy() * frequencies, axes=(1, 2), norm="ortho"), atol=1e-5)
