import pytest
import torch
from scipy.ndimage import gaussian_filter

from attacks.toys import pictures, recognizer
from faceveil.methods.lowkey import Blur, LowKey
from faceveil.objectives.dissimilarity import Dissimilarity


@pytest.fixture(scope="module")
def nets():
    return recognizer(0, (32, 32)), recognizer(1, (32, 32))


def test_the_released_numbers_are_the_defaults(nets):
    method = LowKey(nets)
    levels = (method.epsilon / 255, method.step_size / 255, method.start / 255)
    assert levels == pytest.approx((0.05, 0.0025, 0.005))
    assert (method.steps, method.kernel, method.sigma) == (50, 7, 3)


def test_the_blur_is_a_gaussian():
    images = pictures(2, size=20)
    expected = [gaussian_filter(image.numpy(), 3, axes=(1, 2), radius=3, mode="nearest") for image in images]
    assert torch.allclose(Blur(7, 3.0)(images), torch.stack(list(map(torch.from_numpy, expected))), atol=1e-6)


def test_blurred_faces_are_away_from_their_sources_too(nets):
    images = pictures(3, size=32)
    cloaked = LowKey(nets).aligned(images)
    for net in nets:
        clear, blurred = net(images), net(Blur(7, 3.0)(images))
        assert ((net(cloaked) - clear).norm(dim=1) > 0.5).all()
        assert ((net(Blur(7, 3.0)(cloaked)) - clear).norm(dim=1) > (blurred - clear).norm(dim=1)).all()


def test_the_price_buys_likeness(nets):
    images = pictures(3, size=32)
    unlike = [Dissimilarity(images, scales=2)(LowKey(nets, price=price).aligned(images)) for price in (0.0, 50.0)]
    assert (unlike[1] < 0.8 * unlike[0]).all()
