"""UAP, GAP and RHP on objectives whose answers are known, and on toys."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from attacks.toys import Linear, pictures, recognizer
from faceveil.attacks.gap import GAP
from faceveil.attacks.rhp import RHP, RegionNorm
from faceveil.attacks.uap import UAP
from faceveil.attacks.universal import Universal, fooled
from faceveil.errors import SettingError
from faceveil.objectives.base import Objective
from faceveil.objectives.feature import Dodging
from faceveil.recognizers import Recognizer
from faceveil.training import Engine, Examples

CPU = Engine("cpu")


def examples(images, told=""):
    return Examples(len(images), lambda rows: images[torch.from_numpy(rows)], told)


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


@pytest.mark.parametrize("sign", [1, -1])
def test_uap_takes_the_least_change_over_a_plane(sign, tmp_path):
    """For a linear loss DeepFool's step is exact: -w / |w|^2 from loss 0 to -1; what overshoots is 2 %.

    But for the first tenth of a level of noise, which changes the loss by less than 2 %.
    """
    weights = sign * torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(3))
    exact, beyond = (
        UAP(epsilon=255, passes=1, **settings)
        .fit(examples(gray(1)), lambda clear: From(weights, clear), tmp_path / str(settings), CPU)
        .perturbation
        for settings in ({"overshoot": 0.0}, {})
    )
    direction = weights[0] / weights.square().sum()
    assert float((weights * exact).sum()) == pytest.approx(-1, abs=1e-4)
    assert (255 * (exact + direction)).abs().max() < 0.12
    assert torch.allclose(beyond - exact, -0.02 * direction, rtol=0.02, atol=1e-7)


class Fixed(Objective):
    """A loss that nothing changes: minus how white the clear image is."""

    def __init__(self, clear):
        self.clear = clear

    def __call__(self, images, generator=None):
        return 0 * images.sum((1, 2, 3)) - self.clear.mean((1, 2, 3))

    def __getitem__(self, chosen):
        return Fixed(self.clear[chosen])


@pytest.mark.parametrize(("fooled", "passes"), [(5, 1), (4, 1), (3, 3)])
def test_uap_ends_after_a_pass_that_fools_enough(fooled, passes, tmp_path):
    """Four of five are 80 %; a loss of exactly -1 is enough; those of passes before do not count."""
    asked, images = [], (torch.arange(5) < fooled).float()[:, None, None, None].expand(5, 3, 12, 12)

    def aim(clear):
        asked.append(len(clear))
        return Fixed(clear)

    UAP(passes=3).fit(examples(images), aim, tmp_path, CPU)
    assert asked == [5] * passes


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


@pytest.mark.parametrize("stop", [1, 4, 7])
def test_uap_goes_on_where_it_was_stopped(stop, tmp_path):
    """In the first batch, which leaves nothing, at the end of the first pass of four batches, and in the second."""
    net, images, attack = recognizer(size=(12, 12)), pictures(16), UAP(passes=2, rate=1.1, batch=4)
    asked = []

    def aim(clear):
        asked.append(clear)
        return Dodging(net, net(clear).detach())

    def dies(clear):
        if len(asked) == stop:
            raise KeyboardInterrupt
        return aim(clear)

    whole = attack.fit(examples(images), aim, tmp_path / "whole", CPU)
    asked.clear()
    with pytest.raises(KeyboardInterrupt):
        attack.fit(examples(images), dies, tmp_path / "stopped", CPU)
    assert torch.equal(attack.fit(examples(images), aim, tmp_path / "stopped", CPU).perturbation, whole.perturbation)
    assert len(asked) == 8
    again = attack.fit(examples(images), dies, tmp_path / "stopped", CPU)
    assert torch.equal(again.perturbation, whole.perturbation)


@pytest.mark.parametrize("attack", [GAP(width=4, blocks=1, epochs=1), RHP(epochs=1), UAP(passes=1)])
def test_other_images_need_another_folder(attack, tmp_path):
    weights = torch.ones(1, 3, 12, 12)

    def learn(told, **changes):
        replace(attack, **changes).fit(examples(gray(4), told), lambda clear: From(weights, clear), tmp_path, CPU)

    learn("these")
    learn("these")
    with pytest.raises(SettingError, match="data 'these', not 'others'"):
        learn("others")
    with pytest.raises(SettingError, match=r"epsilon 8.0, not 4.0"):
        learn("these", epsilon=4.0)


@pytest.mark.parametrize(
    ("attack", "change", "message"),
    [
        *((attack, {"epsilon": -8.0}, "epsilon is -8; it counts 8-bit levels") for attack in (UAP, GAP, RHP)),
        *((attack, {"epsilon": float("nan")}, "epsilon is nan; it counts") for attack in (UAP, GAP, RHP)),
        *((attack, {"batch": 0}, "batch is 0; choose more than 0") for attack in (UAP, GAP, RHP)),
        *((attack, {"seed": -1}, "seed is -1; choose 0 or more") for attack in (UAP, GAP, RHP)),
        *((attack, {"rate": float("inf")}, "rate is too far from 0") for attack in (UAP, GAP, RHP)),
        *((attack, {"epochs": 0}, "epochs is 0; choose more than 0") for attack in (GAP, RHP)),
        (UAP, {"passes": 0}, "passes is 0; choose more than 0"),
        (UAP, {"steps": 0}, "steps is 0; choose more than 0"),
        (UAP, {"overshoot": -0.1}, "overshoot is -0.1; choose 0 or more"),
        (GAP, {"width": 0}, "width is 0; choose more than 0"),
        (GAP, {"blocks": -1}, "blocks is -1; choose 0 or more"),
        (RHP, {"columns": -1}, "columns is -1; choose 0 or more"),
    ],
)
def test_an_attack_of_numbers_that_make_no_sense_is_refused(attack, change, message):
    with pytest.raises(SettingError, match=message):
        attack(**change)


def test_uap_learns_on_one_device(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SettingError, match="without torchrun"):
        UAP().fit(examples(gray(1)), lambda clear: From(clear, clear), tmp_path, CPU)


def test_who_is_fooled_is_told_by_name_threshold_and_weights():
    first, other = recognizer(), recognizer(seed=1)
    strict = Recognizer(replace(first.card, thresholds={"published": 0.4}), first.network)
    changed = Recognizer(first.card, other.network)
    told = [fooled([net])[0] for net in (first, other, strict, changed)]
    assert len(set(told)) == 4
    assert told[0] == fooled([recognizer()])[0]
    assert told[0].startswith("toy-0 ")


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
