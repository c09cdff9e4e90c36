"""How plainly a change is seen, against SSIMULACRA2's own package."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter1d
from skimage import data

from faceveil.bench.held_out import ssimulacra2
from faceveil.metrics.visibility import Visibility, _linear, _means, error, score


def face() -> torch.Tensor:
    return torch.from_numpy(data.astronaut()[20:196, 140:316].copy()).permute(2, 0, 1)[None] / 255


def waves(length: float) -> torch.Tensor:
    """Waves of brightness on the face's middle, in levels of 1."""
    ticks = torch.arange(176)
    wave = torch.sin(2 * torch.pi * (ticks + ticks[:, None] / 2) / length)
    window = torch.hann_window(176)
    return (wave * window * window[:, None])[None, None]


def enlarged(images: torch.Tensor) -> np.ndarray:
    """Images as they are looked at, in four times the size."""
    large = F.interpolate(images, (704, 704), mode="bicubic").clamp(0, 1)
    return (255 * large[0]).round().byte().permute(1, 2, 0).numpy()


@pytest.mark.parametrize("length", [8, 16, 32])
@pytest.mark.parametrize("levels", [6, 12])
def test_a_smooth_change_scores_as_with_the_package_on_the_enlarged_face(length, levels):
    clear, changed = face(), (face() + levels / 255 * waves(length)).clamp(0, 1)
    expected = ssimulacra2(enlarged(clear), enlarged(changed))
    assert score(float(Visibility(clear)(changed))) == pytest.approx(expected, abs=4)


def test_a_change_of_blue_alone_scores_as_with_the_package():
    clear, changed = face(), face()
    changed[:, 2:] = (clear[:, 2:] + 24 / 255 * waves(32)).clamp(0, 1)
    expected = ssimulacra2(enlarged(clear), enlarged(changed))
    assert score(float(Visibility(clear)(changed))) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(("level", "light"), [(0.0, 0.0), (0.04, 0.04 / 12.92), (0.5, 0.21404114), (1.0, 1.0)])
def test_light_is_that_of_srgb(level, light):
    """IEC 61966-2-1."""
    assert _linear(torch.full((1, 3, 2, 2), level)).mean().item() == pytest.approx(light, abs=1e-6)


@pytest.mark.parametrize("shape", [(20, 30), (9, 8)])
def test_the_window_is_scipys_gaussian_mirrored_at_the_edges(shape):
    planes = torch.rand(2, 1, *shape)
    expected = planes.numpy()
    for axis in (2, 3):
        expected = gaussian_filter1d(expected, 1.5, axis, mode="reflect", radius=5)
    assert np.allclose(_means(planes)[0], expected, atol=1e-5)


def test_equal_images_have_no_error():
    assert Visibility(face())(face()).item() == pytest.approx(0, abs=1e-5)


def test_an_error_and_its_score_belong_together():
    assert score(error(70.0)) == pytest.approx(70)
    assert score(0.0) == 100
    assert score(error(-20.0)) == pytest.approx(-20, abs=1e-3)


def test_a_change_is_seen_less_where_the_picture_is_busy():
    busy, change = face(), 8 / 255 * waves(8)
    flat = busy.mean((2, 3), keepdim=True).expand_as(busy)
    assert Visibility(busy)(busy + change) < Visibility(flat)(flat + change)


def test_an_images_error_does_not_depend_on_the_others():
    clear = torch.cat([face(), face().flip(3) / 2])
    changed = (clear + 8 / 255 * waves(12)).clamp(0, 1)
    both = Visibility(clear)
    assert torch.allclose(both(changed)[1:], Visibility(clear[1:])(changed[1:]), atol=1e-4)
    assert torch.equal(both[torch.tensor([False, True])](changed[1:]), both[torch.tensor([1])](changed[1:]))


def test_the_gradient_is_that_of_finite_differences():
    clear = face()[..., 60:92, 60:92].double()
    changed = (clear + 0.02 * torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))).requires_grad_()
    assert torch.autograd.gradcheck(Visibility(clear), changed, eps=1e-6, atol=1e-2, rtol=1e-3, fast_mode=True)


def test_small_pictures_are_looked_at_as_far_as_they_go():
    clear = face()[..., :12, :12]
    assert Visibility(clear)((clear + 0.05).clamp(0, 1) * torch.eye(12)).item() > 0


def test_only_the_middle_counts_where_a_face_is_small():
    """As the middle cut out and enlarged, and nothing else of the image."""
    clear, changed = face(), (face() + 8 / 255 * waves(12)).clamp(0, 1)
    small = Visibility(clear, torch.tensor([0.5]))
    middle = [F.interpolate(each[..., 44:132, 44:132], (176, 176), mode="bilinear") for each in (clear, changed)]
    assert small(changed).item() == pytest.approx(Visibility(middle[0])(middle[1]).item(), rel=0.02)
    outside = clear.clone()
    outside[..., :40] += 0.1
    assert small(outside).item() == pytest.approx(0, abs=1e-4)
    assert Visibility(clear)(outside).item() > 1


def test_a_whole_image_is_itself_beside_a_small_one():
    clear = torch.cat([face(), face().flip(3)])
    changed = (clear + 8 / 255 * waves(12)).clamp(0, 1)
    mixed = Visibility(clear, torch.tensor([0.5, 1.0]))
    assert torch.equal(mixed(changed)[1], Visibility(clear)(changed)[1])
    assert torch.equal(mixed[torch.tensor([0])](changed[:1])[0], mixed(changed)[0])
