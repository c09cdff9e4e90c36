from dataclasses import replace

import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Generator

from attacks.toys import pictures, recognizer
from faceveil.attacks.budget import Linf
from faceveil.methods.lowkey import Blur, LowKey
from faceveil.methods.scene import Scene
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


@pytest.mark.parametrize("price", [0.0, 1.0, 1e4])
def test_a_step_is_down_equation_1(price):
    """With two networks whose features have lengths of their own, where the lower half of the image is left alone."""
    nets, images = (recognizer(0, (32, 32)), recognizer(1, (32, 32), normalized=False)), pictures(2, size=32)
    share = torch.ones(2, 1, 32, 32)
    share[:, :, 20:] = 0
    begin = Linf(1.275, share).start(images, Generator().manual_seed(0)).requires_grad_()
    loss = price * Dissimilarity(images, share, 3)(begin)
    for net in nets:
        for seen in (begin, Blur(7, 3.0)(begin)):
            loss = loss - (net(seen) - net(images)).square().sum(1) / net(images).square().sum(1) / 4
    (gradient,) = torch.autograd.grad(loss.sum(), begin)
    expected = (begin - 0.6375 / 255 * gradient.sign() * share).clamp(0, 1)
    cloaked = LowKey(nets, steps=1, price=price).cloak(replace(Scene.aligned(images, nets), share=share))
    told = gradient.abs() > 1e-5 * gradient.abs().amax()
    assert torch.allclose(cloaked[told], expected[told], atol=1e-6)


def test_steps_and_start_are_as_much_smaller_as_the_share_is(nets):
    images, share = pictures(2, size=32).clamp(0.1, 0.9), torch.rand(2, 1, 32, 32)
    cloaked = LowKey(nets, steps=1).cloak(replace(Scene.aligned(images, nets), share=share))
    assert (255 * (cloaked - images).abs() <= (1.275 + 0.6375) * share + 1e-4).all()


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
