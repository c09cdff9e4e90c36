"""The device's part: the gradient of one photo, by a small recognizer, the probe (APF, Zhang et al., 2020, 3.3)."""

from collections.abc import Callable, Mapping

import torch
from torch import Generator

from faceveil.attacks.budget import Linf
from faceveil.attacks.gradient import GradientAttack, bim, di2, fgsm, m_di2, mim
from faceveil.methods.settings import one_of
from faceveil.objectives.base import Objective
from faceveil.objectives.diversity import Chain, Padding, Sometimes, Tinting, Turning
from faceveil.types import Images

STIR = 0.1  # 8-bit levels

# Section 4.1: rescaling, rotation and color conversion, each with probability 0.5; how much, in the released code.
DIVERSITY = Chain((Sometimes(Tinting(5)), Sometimes(Padding(110 / 112)), Sometimes(Turning(15))))

# By their names in Table 2: a budget, steps, a step's size in 8-bit levels, the momentum's decay, a seed.
ATTACKS: Mapping[str, Callable[[Linf, int, float, float, int], GradientAttack]] = {
    "fgsm": lambda budget, steps, size, decay, seed: fgsm(budget),
    "i-fgsm": lambda budget, steps, size, decay, seed: bim(budget, steps, size / 255),
    "mi-fgsm": lambda budget, steps, size, decay, seed: mim(budget, steps, decay, size / 255),
    "di2": lambda budget, steps, size, decay, seed: di2(budget, steps, size / 255, DIVERSITY, seed),
    "m-di2": lambda budget, steps, size, decay, seed: m_di2(budget, steps, size / 255, decay, DIVERSITY, seed),
}


def build(name: str, epsilon: float, steps: int, step_size: float, decay: float, seed: int) -> GradientAttack:
    """The attack of that name of `ATTACKS`; raises `SettingError` for another, and for a budget that makes no sense."""
    one_of(ATTACKS, attack=name)
    return ATTACKS[name](Linf(epsilon), steps, step_size, decay, seed)


def gradient(images: Images, objective: Objective, attack: GradientAttack) -> Images:
    """What an attack adds to images: the image-specific gradient g, within the attack's budget.

    In the paper g = epsilon sign(grad L) (Eq. 1), the finished change for attacks of several steps. The walk starts
    `STIR` levels of noise away, since the distance from a face's own embedding has no gradient at the face itself.
    """
    noise = 2 * torch.rand(images.shape[1:], generator=Generator().manual_seed(attack.seed)) - 1
    start = (images + STIR / 255 * noise.to(images)).clamp(0, 1)
    return attack.budget.project(attack(start, objective), images) - images
