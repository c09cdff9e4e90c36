from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate
from torch import Generator, Tensor

from attacks.toys import Linear, pictures, recognizer
from faceveil.attacks import gradient
from faceveil.attacks.budget import L2, Linf, Unlimited
from faceveil.attacks.gradient import GradientAttack, Stop, bim, di2, dim, fgsm, iterations, m_di2, mim, pgd, tim
from faceveil.attacks.transforms import Momentum, VarianceTuning
from faceveil.objectives.base import Objective
from faceveil.objectives.diversity import Affinity, Blocks, Dimming, Padding, Sometimes, Spectrum, scales
from faceveil.objectives.feature import Dodging
from faceveil.objectives.views import JPEG, Gray, OneOf, Rounding

LINF = {
    "fgsm": fgsm(Linf(8)),
    "bim": bim(Linf(8)),
    "pgd": pgd(Linf(8)),
    "mim": mim(Linf(8)),
    "vmim": GradientAttack(Linf(8), transforms=(VarianceTuning(12 / 255, 4), Momentum())),
}
VIEWS = {
    "none": (),
    "padding": (Padding(),),
    "affinity": (Affinity(),),
    "scales": scales(3),
    "spectrum": (Spectrum(),) * 2,
    "blocks": (Blocks(),) * 2,
    "storage": (OneOf((JPEG(), Rounding())),),
}


def dodging(images: torch.Tensor) -> Dodging:
    net = recognizer()
    return Dodging(net, net((images + 0.02).clamp(0, 1)))


@pytest.mark.parametrize("attack", LINF.values(), ids=LINF)
def test_goes_to_the_corner_of_the_budget_where_a_linear_loss_is_least(attack):
    images = pictures(3)
    weights = torch.randn(images.shape)
    assert torch.allclose(attack(images, Linear(weights)), (images - 8 / 255 * weights.sign()).clamp(0, 1), atol=1e-6)


def test_goes_straight_down_a_linear_loss_to_the_edge_of_an_l2_budget():
    images = torch.full((3, 3, 12, 12), 0.5)
    weights = torch.randn(images.shape)
    rms = weights.square().mean((1, 2, 3), keepdim=True).sqrt()
    expected = images - 8 / 255 * weights / rms
    assert torch.allclose(GradientAttack(L2(8))(images, Linear(weights)), expected, atol=1e-6)


@pytest.mark.parametrize("views", VIEWS.values(), ids=VIEWS)
@pytest.mark.parametrize("budget", [Linf(8), L2(4), Unlimited()])
def test_cloaks_each_image_as_if_alone(budget, views):
    images = pictures(3)
    objective = dodging(images)
    attack = GradientAttack(budget, 6, 2 / 255, (VarianceTuning(4 / 255, 2), Momentum(0.5)), True, 7, views)
    together = attack(images, objective)
    alone = [attack(images[i : i + 1], objective[torch.tensor([i])]) for i in range(3)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-3)  # a quarter of a level, where storage rounds
    assert (together - images).abs().amax((1, 2, 3)).min() > 2 / 255


def test_cloaks_each_image_as_if_alone_while_others_stop():
    images = pictures(4)
    objective = dodging(images)
    attack = GradientAttack(Linf(8), 12, 1 / 255, (Momentum(),), True, 3, (Padding(),))
    free = objective(attack(images, objective))
    stop = Stop(objective, float(free.sort().values[2]) + 0.2, every=2)
    together = attack(images, objective, stop)
    for i in range(4):
        chosen = torch.tensor([i])
        alone = attack(images[i : i + 1], objective[chosen], stop[chosen])
        assert torch.allclose(together[i : i + 1], alone, atol=1e-5)
    assert (objective(together) > free + 1e-3).any()


@pytest.mark.parametrize("factors", [(1.0, -3.0), (-3.0, 1.0)])
def test_the_gradient_is_the_mean_through_all_views(factors):
    """Of the weights themselves, and of three times their opposite: their opposite."""
    images, weights = torch.full((1, 3, 8, 8), 0.5), torch.randn(1, 3, 8, 8)
    found = GradientAttack(Linf(8), 1, 8 / 255, views=tuple(map(Dimming, factors)))(images, Linear(weights))
    assert torch.allclose(found, images + 8 / 255 * weights.sign())


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_tim_steps_by_the_blurred_gradient(decay):
    """A Gaussian 7 pixels wide whose edge lies three standard deviations out; summed where there is momentum."""
    images, weights = torch.full((1, 3, 12, 12), 0.5), torch.randn(1, 3, 12, 12)
    taps = np.exp(-(np.linspace(-3, 3, 7) ** 2) / 2)
    smooth = [correlate(channel, np.outer(taps, taps), mode="constant") for channel in weights[0].numpy()]
    found = tim(Linf(8), steps=2, decay=decay)(images, Linear(weights))
    assert np.array_equal((images - found)[0].sign().numpy(), np.sign(smooth))


def test_tim_has_momentum():
    images = pictures(2)
    first, other = (tim(Linf(8), decay=decay)(images, dodging(images)) for decay in (1.0, 0.0))
    assert not torch.equal(first, other)


def test_pgd_starts_at_random_inside_its_budget():
    images = torch.full((1, 3, 12, 12), 0.5)
    one, other = (255 * (pgd(Linf(8), seed=s)(images, Linear(torch.zeros_like(images))) - images) for s in (0, 1))
    assert 6 < one.abs().max() <= 8.001
    assert not torch.equal(one, other)


@dataclass(frozen=True)
class Fourth(Objective):
    """The sum of fourth powers, whose gradient is four times the cubes."""

    def __call__(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        return images.pow(4).sum((1, 2, 3))

    def __getitem__(self, chosen: Tensor) -> "Fourth":
        return self


def test_variance_tuning_looks_around_where_the_cloaked_image_is():
    """Wang and He, 2021, Algorithm 1, written out, with the same draws."""
    images, draw = 0.3 + 0.4 * pictures(1), Generator().manual_seed(0)
    found = GradientAttack(L2(100), 3, 20 / 255, (VarianceTuning(0.2, 5),))(images, Fourth())
    cloaked, variance = images, torch.zeros_like(images)
    for _ in range(3):
        near = [cloaked + 0.2 * (2 * torch.rand(3, 12, 12, generator=draw) - 1) for _ in range(5)]
        gradient = 4 * cloaked**3
        step = gradient + variance
        variance = sum(4 * each**3 for each in near) / 5 - gradient
        cloaked = cloaked - 20 / 255 * step / step.square().mean().sqrt()
    assert torch.allclose(found, cloaked.clamp(0, 1), atol=1e-4)


def test_stops_where_the_loss_is_low_enough():
    images = torch.full((2, 3, 4, 4), 0.5)
    objective = Linear(torch.stack([torch.full((3, 4, 4), 2.0), torch.ones(3, 4, 4)]))
    stop = Stop(objective, float(objective(images - 3 / 255)[0]) + 1e-4, every=1)
    cloaked = GradientAttack(Linf(8), 6, 1 / 255)(images, objective, stop)
    assert (255 * (images - cloaked)[0]).round().unique().tolist() == [3]


@pytest.mark.parametrize("wrapped", [lambda view: view, lambda view: Sometimes(view, 1.0)], ids=["bare", "sometimes"])
def test_where_one_image_stops_early_the_other_keeps_its_own_view(wrapped):
    """The first stops after three steps; of the second, seen in gray, all channels move alike, against their mean."""
    images, gray = torch.full((2, 3, 4, 4), 0.5), torch.tensor([False, True])
    weights = torch.stack([torch.full((3, 4, 4), 2.0), torch.tensor([30.0, -10, -10])[:, None, None].expand(3, 4, 4)])
    objective = Linear(weights)
    stop = Stop(objective, float(objective(images - 3 / 255)[0]) + 1e-4, every=1)
    found = GradientAttack(Linf(8), 6, 1 / 255, views=(wrapped(Gray(gray)),))(images, objective, stop)
    levels = (255 * (images - found)).round()
    assert [each.unique().tolist() for each in levels] == [[3], [6]]


def test_stops_where_the_pace_is_too_slow():
    """Each step of one level moves the pace by the sum of the weights / 255; the slow image stops at the first look."""
    images = torch.full((2, 3, 4, 4), 0.5)
    objective = Linear(torch.stack([torch.full((3, 4, 4), 0.01), torch.ones(3, 4, 4)]))
    stop = Stop(objective, -1e9, 1, objective, slowest=0.1)
    cloaked = GradientAttack(Linf(8), 6, 1 / 255)(images, objective, stop)
    assert (255 * (images - cloaked)).amax((1, 2, 3)).round().tolist() == [1, 6]


def test_the_same_seed_gives_the_same_cloak():
    images = pictures(2)
    attacks = [m_di2(Linf(8), 5, seed=seed) for seed in (1, 1, 2)]
    first, again, other = (attack(images, dodging(images)) for attack in attacks)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("make", [fgsm, bim, pgd, mim, di2, m_di2, dim, tim, partial(mim, decay=0.5)])
@pytest.mark.parametrize("budget", [Linf(4), L2(4)])
def test_every_published_attack_dodges_inside_its_budget(make, budget):
    images = pictures(3)
    objective = dodging(images)
    cloaked = make(budget)(images, objective)
    assert torch.allclose(budget.project(cloaked, images), cloaked, atol=1e-6)
    assert (objective(cloaked) < objective(images) - 0.1).all()


def test_the_number_of_iterations_is_kurakins():
    assert [iterations(epsilon) for epsilon in (4, 8, 16, 32, 64, 128)] == [5, 10, 20, 36, 68, 132]
    assert gradient.bim(Linf(32)).steps == 36
