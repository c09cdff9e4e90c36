"""The same network, budget and steps give the same adversarial images in foolbox and, with momentum, by its paper.

foolbox's momentum adds up gradients as they are, not of L1 norm 1 as in the paper; so the paper's equations stand here.
"""

import math

import pytest
import torch
from torch import Tensor, nn

from attacks.toys import pictures, recognizer
from faceveil.attacks.budget import L2, Linf
from faceveil.attacks.cw import CarliniWagner
from faceveil.attacks.gradient import GradientAttack, bim, fgsm, m_di2, mim
from faceveil.objectives.base import Objective
from faceveil.objectives.diversity import Dimming
from faceveil.objectives.feature import Dodging


class Classifier(nn.Module):
    """Two classes of which the first is likely where the loss is high: to leave it is to lower the loss."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, images: Tensor) -> Tensor:
        losses = self.objective(images)
        return torch.stack([losses, torch.zeros_like(losses)], 1)


@pytest.fixture
def images() -> Tensor:
    return pictures(4)


@pytest.fixture
def objective(images) -> Objective:
    net = recognizer()
    return Dodging(net, net((images + 0.02).clamp(0, 1)))


LABELS = torch.zeros(4, dtype=torch.long)
EPSILON, STEP = 8 / 255, 2 / 255
OURS = {
    "fgsm": fgsm(Linf(8)),
    "bim": bim(Linf(8), 10, STEP),
    "l2": GradientAttack(L2(8), 10, STEP),
}


@pytest.mark.parametrize("name", ["fgsm", "bim", "l2"])
def test_equals_foolbox(name, images, objective):
    foolbox = pytest.importorskip("foolbox")
    root = math.sqrt(images[0].numel())
    theirs = {
        "fgsm": foolbox.attacks.LinfFastGradientAttack,
        "bim": lambda: foolbox.attacks.LinfBasicIterativeAttack(steps=10, abs_stepsize=STEP),
        "l2": lambda: foolbox.attacks.L2PGD(steps=10, abs_stepsize=STEP * root, random_start=False),
    }[name]()
    model = foolbox.PyTorchModel(Classifier(objective).eval(), bounds=(0, 1), device="cpu")
    epsilon = EPSILON * root if name == "l2" else EPSILON
    _, expected, _ = theirs(model, images, LABELS, epsilons=epsilon)
    assert torch.allclose(OURS[name](images, objective), expected, atol=1e-5)


def test_the_smallest_cloak_equals_foolboxs(images, objective):
    foolbox = pytest.importorskip("foolbox")
    theirs = foolbox.attacks.L2CarliniWagnerAttack(4, 40, initial_const=0.1, abort_early=False)
    shifted = Shifted(objective)
    model = foolbox.PyTorchModel(Classifier(shifted).eval(), bounds=(0, 1), device="cpu")
    _, expected, _ = theirs(model, images, LABELS, epsilons=None)
    cloaked = CarliniWagner(4, 40, constant=0.1)(images, objective, -1.0)
    assert (objective(cloaked) <= -1.0).all()
    assert torch.allclose(cloaked, expected, atol=1e-4)


class Shifted(Objective):
    """A loss that is 0 where the face is no longer recognized."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return self.objective(images) + 1

    def __getitem__(self, chosen: Tensor) -> "Shifted":
        return Shifted(self.objective[chosen])


def mi_fgsm(model: nn.Module, images: Tensor, decay: float) -> Tensor:
    """Dong et al., 2018, Algorithm 1, for each image: g = mu g + grad J / |grad J|_1; x = x + alpha sign(g)."""
    cloaked, g = images, torch.zeros_like(images)
    for _ in range(10):
        cloaked = cloaked.detach().requires_grad_()
        loss = nn.functional.cross_entropy(model(cloaked), LABELS, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, cloaked)
        g = decay * g + gradient / gradient.abs().sum((1, 2, 3), keepdim=True)
        cloaked = (cloaked + STEP * g.sign()).clamp(images - EPSILON, images + EPSILON).clamp(0, 1)
    return cloaked.detach()


@pytest.mark.parametrize("decay", [1.0, 0.6])
def test_momentum_equals_its_papers_equations(decay, images, objective):
    ours = mim(Linf(8), 10, decay, STEP)(images, objective)
    assert torch.allclose(ours, mi_fgsm(Classifier(objective), images, decay), atol=1e-5)


@pytest.mark.parametrize("decay", [1.0, 0.6])
def test_momentum_through_a_view_equals_its_papers_equations(decay, images, objective):
    view = Dimming(0.5)
    ours = m_di2(Linf(8), 10, STEP, decay, view)(images, objective)
    assert torch.allclose(ours, mi_fgsm(Classifier(objective.through(view)), images, decay), atol=1e-5)
