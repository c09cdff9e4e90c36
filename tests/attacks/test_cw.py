import torch
from torch import Generator

from attacks.toys import Linear, pictures, recognizer
from faceveil.attacks.cw import CarliniWagner
from faceveil.objectives.feature import Dodging


def test_finds_the_nearest_point_of_a_plane():
    """The least change that lowers w x by a is a w / |w|^2."""
    images = torch.full((2, 3, 4, 4), 0.5)
    weights = torch.randn(images.shape, generator=Generator().manual_seed(0))
    objective = Linear(weights)
    mark = float(objective(images).min()) - 0.5
    cloaked = CarliniWagner(searches=8, steps=200)(images, objective, mark)
    fall = (objective(images) - mark)[:, None, None, None]
    expected = images - fall * weights / weights.square().sum((1, 2, 3), keepdim=True)
    assert (objective(cloaked) <= mark + 1e-5).all()
    assert torch.allclose(cloaked, expected, atol=0.01)


def test_cloaks_each_image_as_if_alone():
    images, net = pictures(3), recognizer()
    objective = Dodging(net, net((images + 0.02).clamp(0, 1)))
    attack = CarliniWagner(searches=3, steps=30, constant=0.1)
    together = attack(images, objective, -1.0)
    alone = [attack(images[i : i + 1], objective[torch.tensor([i])], -1.0) for i in range(3)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)
    assert (objective(together) <= -1.0).all()


def test_an_image_that_cannot_be_cloaked_is_as_it_was():
    images = pictures(1)
    assert torch.equal(CarliniWagner(2, 3)(images, Linear(torch.zeros(images.shape)), -1.0), images)
