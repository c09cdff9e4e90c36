import pytest
import torch
from torch import Generator

from attacks.toys import Linear, pictures
from faceveil.objectives.base import Drawn, Through
from faceveil.objectives.diversity import Dimming

DOUBLE = Dimming(2.0)


@pytest.fixture
def images():
    return pictures(3)


@pytest.fixture
def pair(images):
    return Linear(torch.randn(images.shape)), Linear(torch.randn(images.shape))


def test_objectives_add_and_scale(images, pair):
    a, b = pair
    assert torch.allclose((a + 0.1 * b)(images), a(images) + 0.1 * b(images))


def test_one_of_several_is_drawn_each_time(images, pair):
    drawn, generator = Drawn(pair), Generator().manual_seed(0)
    losses = [drawn(images, generator) for _ in range(20)]
    kinds = [[torch.equal(loss, term(images)) for term in pair] for loss in losses]
    assert all(sum(kind) == 1 for kind in kinds)
    assert 4 <= sum(kind[0] for kind in kinds) <= 16
    assert torch.allclose(drawn(images), (pair[0](images) + pair[1](images)) / 2)


def test_sees_through_a_view(images, pair):
    assert torch.allclose(pair[0].through(DOUBLE)(images), 2 * pair[0](images))


@pytest.mark.parametrize("chosen", [torch.tensor([2, 0]), torch.tensor([True, False, True])])
def test_some_images_can_be_chosen(images, pair, chosen):
    a, b = pair
    for objective in (a + b, 3.0 * a, Drawn(pair), Through(a, DOUBLE)):
        assert torch.allclose(objective[chosen](images[chosen]), objective(images)[chosen])
