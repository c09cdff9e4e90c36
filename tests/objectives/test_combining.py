import pytest
import torch

from attacks.toys import Linear, pictures
from faceveil.objectives.base import Largest, Through


def double(images, generator):
    return 2 * images


@pytest.fixture
def images():
    return pictures(3)


@pytest.fixture
def pair(images):
    return Linear(torch.randn(images.shape)), Linear(torch.randn(images.shape))


def test_objectives_add_and_scale(images, pair):
    a, b = pair
    assert torch.allclose((a + 0.1 * b)(images), a(images) + 0.1 * b(images))


def test_the_largest_counts(images, pair):
    a, b = pair
    assert torch.equal(Largest(pair)(images), torch.maximum(a(images), b(images)))


def test_sees_through_a_view(images, pair):
    assert torch.allclose(pair[0].through(double)(images), 2 * pair[0](images))


@pytest.mark.parametrize("chosen", [torch.tensor([2, 0]), torch.tensor([True, False, True])])
def test_some_images_can_be_chosen(images, pair, chosen):
    a, b = pair
    for objective in (a + b, 3.0 * a, Largest(pair), Through(a, double)):
        assert torch.allclose(objective[chosen](images[chosen]), objective(images)[chosen])
