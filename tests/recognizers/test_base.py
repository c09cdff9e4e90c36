from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import local_response_norm

from attacks.toys import recognizer
from faceveil import recognizers
from faceveil.errors import SettingError, WeightsError


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(SettingError, match=r"there are .*dlib"):
        recognizers.load("dlip")


def test_gradients_reach_the_images_and_never_the_weights():
    recognizer = recognizers.load("dlib")
    images = torch.full((1, 3, 150, 150), 0.5).requires_grad_()
    recognizer(images).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert all(weights.grad is None for weights in recognizer.parameters())


@pytest.mark.parametrize("channels", ["gbr", "RGB", "gray", ""])
def test_channels_are_in_one_of_two_orders(channels):
    with pytest.raises(SettingError, match=f"^channels are '{channels}'; they are rgb or bgr$"):
        replace(recognizer().card.input, channels=channels)


def test_a_network_without_weights_is_a_recognizer_too():
    means = recognizers.Recognizer(recognizer(normalized=False).card, nn.Sequential(nn.AvgPool2d(12), nn.Flatten()))
    images = torch.rand(2, 3, 12, 12)
    expected = 2 * images.mean((2, 3)) - 1  # the card maps 0 to 255 onto -1 to 1
    assert torch.allclose(means(images), expected, atol=1e-6)
    assert torch.allclose(means.surrogate()(images), expected, atol=1e-6)


class Stray(nn.Module):
    """A network that gives what it is told to."""

    def __init__(self, give):
        super().__init__()
        self.give = give
        self.kind = nn.Parameter(torch.zeros(()))  # a network tells its precision by its parameters

    def forward(self, x):
        return self.give(x.mean((2, 3)))


@pytest.mark.parametrize(
    ("give", "guides", "told"),
    [
        (lambda x: x.repeat(1, 3)[:, :7], False, r"gives \(2, 7\), and its card says \(2, 8\)"),
        (lambda x: (x, x), False, "fails on images of (12, 12)"),
        (lambda x: x.repeat(1, 3)[:, :8] / 0, False, "gives what is no number, or infinite"),
        (lambda x: x.repeat(1, 3)[:, :8].detach(), True, "passes no gradient, and can guide no cloak"),
        (lambda x: x.repeat(1, 3)[:, :8].detach(), False, ""),
        (lambda x: local_response_norm(x[:, :, None, None], 5)[:, [0] * 8, 0, 0], True, "fails on images of (12, 12)"),
        (lambda x: local_response_norm(x[:, :, None, None], 5)[:, [0] * 8, 0, 0], False, ""),
        (lambda x: x.repeat(1, 3)[:, :8], True, ""),
    ],
)
def test_a_network_of_ones_own_is_tried_once(give, guides, told):
    own = recognizers.Recognizer(recognizer(normalized=False).card, Stray(give))
    if not told:
        own.check(guides=guides)
        return
    with pytest.raises(WeightsError, match=told.replace("(12, 12)", r"\(12, 12\)")):
        own.check(guides=guides)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_a_script_is_no_network():
    with pytest.raises(SettingError, match="its network is a script; give the module that it was made from"):
        recognizers.Recognizer(recognizer().card, torch.jit.script(nn.Flatten()))
