"""Several recognizers as one: the same losses and gradients as one after the other."""

import pytest
import torch
from torch import Generator

from attacks.toys import pictures, recognizer
from faceveil.objectives.ensemble import Ensemble
from faceveil.objectives.feature import PLAIN, Dodging
from faceveil.objectives.views import Alignment

JITTER = (0.1, 0.1, 0.1)


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def views():
    still = torch.eye(2, 3).expand(4, 2, 3)
    return Alignment(still, (12, 12), JITTER), Alignment(still, (12, 12), (0.0, 0.1, 0.0))


@pytest.fixture
def terms():
    nets = [recognizer(seed) for seed in range(3)]
    sources = [net(pictures(4, seed=1)).detach() for net in nets]
    return tuple((i % 2, (i + 1) * Dodging(net, sources[i], PLAIN)) for i, net in enumerate(nets))


def in_turn(views, terms, images):
    """The same by PyTorch's own gradient of the sum."""
    draw = Generator().manual_seed(0)
    seen = [view(images, draw) for view in views]
    return sum(term(seen[i]) for i, term in terms)


def test_loss_and_gradient_are_those_of_the_sum(threads, views, terms):
    images = pictures(4).requires_grad_()
    ways = torch.tensor([1.0, -2.0, 0.5, 0.0])  # how much each image's loss counts
    found = Ensemble(views, terms)(images, Generator().manual_seed(0))
    wanted = in_turn(views, terms, images)
    assert torch.allclose(found, wanted, atol=1e-6)
    gradients = [torch.autograd.grad(losses, images, ways)[0] for losses in (found, wanted)]
    assert gradients[1].abs().amax((1, 2, 3)).gt(0).tolist() == [True, True, True, False]
    assert torch.allclose(*gradients, atol=1e-6)


def test_needs_no_gradient(threads, views, terms):
    images = pictures(4)
    with torch.no_grad():
        losses = Ensemble(views, terms)(images, Generator().manual_seed(0))
    assert not losses.requires_grad
    assert torch.allclose(losses, in_turn(views, terms, images), atol=1e-6)


@pytest.mark.parametrize("chosen", [torch.tensor([2, 0]), torch.tensor([True, False, True, False])])
def test_some_images_can_be_chosen(threads, views, terms, chosen):
    images, ensemble = pictures(4), Ensemble(views, terms)
    assert torch.allclose(ensemble[chosen](images[chosen]), ensemble(images)[chosen], atol=1e-6)
