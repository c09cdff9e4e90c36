"""UAP, GAP and RHP on objectives whose answers are known, and on toys."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from attacks.toys import Linear, pictures, recognizer
from faceveil.attacks.gap import GAP
from faceveil.attacks.rhp import RHP, RegionNorm
from faceveil.attacks.uap import UAP
from faceveil.attacks.universal import Universal
from faceveil.errors import SettingError
from faceveil.objectives.base import Objective
from faceveil.objectives.feature import Dodging
from faceveil.training import Engine, Examples

CPU = Engine("cpu")


def examples(images):
    return Examples(len(images), lambda rows: images[torch.from_numpy(rows)])


@dataclass(frozen=True)
class From(Objective):
    """How far the sum of weights times images has come from the clear ones', one each image's own."""

    weights: torch.Tensor
    clear: torch.Tensor

    def __call__(self, images, generator=None):
        return Linear(self.weights.expand_as(self.clear))(images - self.clear)

    def __getitem__(self, chosen):
        return From(self.weights, self.clear[chosen])


def gray(count, side=12):
    return torch.full((count, 3, side, side), 0.5)


def test_uap_takes_the_least_change_over_a_plane(tmp_path):
    """For a linear loss DeepFool's step is exact: -w / |w|^2 from loss 0 to -1; what overshoots is 2 %."""
    weights = torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    attack = UAP(epsilon=255, passes=1, overshoot=0.02)
    found = attack.fit(examples(gray(1)), lambda clear: From(weights, clear), tmp_path).perturbation
    start = (weights * found).sum() + 1  # 0, but for the first tenth of a level of noise and the overshoot
    assert abs(float(start)) < 0.05
    direction = weights[0] / weights.square().sum()
    assert torch.allclose(found, -1.02 * direction, atol=2e-3)


def test_uap_adds_up_inside_its_budget(tmp_path):
    """Two images that want opposite changes: the second undoes the first, and nothing leaves the budget."""
    weights = torch.ones(1, 3, 12, 12)
    found = UAP(epsilon=0.2, passes=3).fit(examples(gray(3)), lambda clear: From(weights, clear), tmp_path)
    assert found.perturbation.abs().max() <= 0.2 / 255 + 1e-7
    assert torch.allclose(found.perturbation, torch.full((3, 12, 12), -0.2 / 255), atol=1e-6)


@pytest.mark.parametrize(
    "attack", [GAP(width=4, blocks=1, rate=2e-2, epochs=6, batch=8), UAP(passes=2)], ids=["gap", "uap"]
)
def test_toys_that_were_not_seen_are_hidden(attack, tmp_path):
    """Better than by noise of the same size; the same again from the same seed."""
    net = recognizer(size=(12, 12))

    def aim(clear):
        return Dodging(net, net(clear).detach())

    images, others = pictures(16), pictures(16, seed=1)
    learned = attack.fit(examples(images), aim, tmp_path / "one", CPU)
    noise = (2 * torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(3)) - 1).sign() * 8 / 255
    assert learned.perturbation.abs().max() <= 8 / 255 + 1e-7
    assert aim(others)(learned(others)).mean() < 1.3 * aim(others)(Universal(noise)(others)).mean()
    assert torch.equal(learned.perturbation, attack.fit(examples(images), aim, tmp_path / "two", CPU).perturbation)


def test_rhp_goes_down_the_columns_of_a_plane(tmp_path):
    """Where all images want the same, each column goes against its weights' sum, whatever varies along it."""
    columns = torch.tensor([1.0, -2, 3, -1, 2, -3, 1, 2, -1, -2, 3, 1])
    weights = columns + 0.5 * torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    attack = RHP(rate=1e-3, epochs=5, batch=8)
    found = attack.fit(examples(gray(16)), lambda clear: From(weights, clear), tmp_path, CPU).perturbation
    assert torch.allclose(found, (-8 / 255 * columns.sign()).expand(3, 12, 12))


def test_a_region_norm_is_a_batch_norm_of_each_region():
    norm = RegionNorm((2, 3))
    nn.init.ones_(norm.norm.weight)
    x = torch.randn(4, 3, 4, 6) * torch.arange(1, 7)
    normed = norm(x).detach()
    cells = [normed[:, :, r : r + 2, c : c + 2] for r in (0, 2) for c in (0, 2, 4)]
    assert all(abs(float(cell.mean())) < 1e-5 for cell in cells)
    assert all(abs(float(cell.var(correction=0)) - 1) < 1e-3 for cell in cells)
    first = x[:, :, :2, :2]
    expected = (first - first.mean()) / (first.var(correction=0) + 1e-5).sqrt()
    assert torch.allclose(cells[0], expected, atol=1e-5)


def test_regions_must_divide_the_image():
    with pytest.raises(SettingError, match="2 x 3 regions do not divide images of 4 x 7"):
        RegionNorm((2, 3))(torch.zeros(1, 3, 4, 7))
