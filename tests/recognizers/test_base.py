import pytest
import torch

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
