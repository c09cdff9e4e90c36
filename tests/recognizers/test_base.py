from dataclasses import replace

import pytest
import torch
from torch import nn

from attacks.toys import recognizer
from faceveil import recognizers
from faceveil.errors import SettingError


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
