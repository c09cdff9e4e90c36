import numpy as np
import pytest
import torch

from attacks.toys import pictures
from faceveil.metrics.mmd import mmd
from faceveil.objectives.naturalness import Naturalness


@pytest.mark.parametrize(("count", "expected"), [(1, 37.2285385), (2, 13.8822117), (4, 5.7712579)])
def test_equals_the_released_code(count, expected):
    """TIP-IM's mmd_loss, executed on these pictures (tests/reference; it divides by their number)."""
    i = torch.arange(count * 3 * 112 * 112)
    original = i * 7 % 256
    cloaked = (original + (13 * i) % 25 - 12).clamp(0, 255)
    images, others = ((levels.float() / 255).view(count, 3, 112, 112) for levels in (cloaked, original))
    assert float(mmd(images, others)) / count == pytest.approx(expected, abs=2e-5)


def test_gradient_equals_the_released_codes():
    i = torch.arange(3 * 112 * 112)
    original = i * 7 % 256
    cloaked = ((original + (13 * i) % 25 - 12).clamp(0, 255).float() / 255).view(1, 3, 112, 112).requires_grad_()
    (gradient,) = torch.autograd.grad(mmd(cloaked, (original.float() / 255).view(1, 3, 112, 112)), cloaked)
    assert float(gradient.abs().mean() / 255) == pytest.approx(4.734446e-06, rel=1e-4)


def test_nothing_lies_between_pictures_and_themselves():
    assert float(mmd(pictures(3), pictures(3))) == pytest.approx(0, abs=1e-5)


def test_a_picture_stands_for_itself_its_mirror_image_and_both_of_them_moved():
    images, originals = pictures(2), pictures(2, seed=1)

    def batch(image):
        both = image.numpy(), image.numpy()[:, :, ::-1]
        moves = [(0, 0), (2, 0), (-2, 0), (0, 2), (0, -2)]
        return torch.from_numpy(np.stack([np.roll(each, move, (1, 2)) for move in moves for each in both]))

    expected = [float(mmd(batch(one), batch(other))) for one, other in zip(images, originals, strict=True)]
    assert Naturalness(originals)(images).tolist() == pytest.approx(expected, rel=1e-4)


def test_a_larger_cloak_is_less_natural():
    images = pictures(2, size=32)
    objective = Naturalness(images)
    near, far = (objective((images + levels / 255).clamp(0, 1)) for levels in (2, 12))
    assert torch.allclose(objective(images), torch.zeros(2), atol=1e-4)
    assert (far > near).all()
    assert (near > 0).all()
