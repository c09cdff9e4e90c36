"""Gradient attacks: one loop with parts; a published attack is a setting of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Generator, Tensor

from faceveil.attacks.budget import L2, Budget, Linf
from faceveil.attacks.transforms import GradientTransform, Momentum, Smoothing, Surroundings
from faceveil.errors import SettingError
from faceveil.objectives.base import Objective, View
from faceveil.objectives.diversity import Padding
from faceveil.types import Images, PerImage

Ball = Linf | L2  # the budgets that have a size


@dataclass(frozen=True)
class Stop:
    """Images whose loss has fallen to `at` are done; looked at every so many steps.

    With a `pace`, so are those whose pace has fallen by less than `slowest` since the last look.
    """

    objective: Objective
    at: float
    every: int = 5
    pace: Objective | None = None
    slowest: float = 0.0

    def __call__(self, cloaked: Images, before: PerImage) -> tuple[Tensor, PerImage]:
        """Which images [n] are done, and their pace now, to be given at the next look."""
        now = self.start(cloaked)
        with torch.no_grad():
            done = self.objective(cloaked) <= self.at
        return done if self.pace is None else done | (before - now < self.slowest), now

    def start(self, images: Images) -> PerImage:
        """Their pace before the first step; 0 where none is looked at."""
        with torch.no_grad():
            return images.new_zeros(len(images)) if self.pace is None else self.pace(images)

    def __getitem__(self, chosen: Tensor) -> "Stop":
        """The same for some of the images."""
        return replace(self, objective=self.objective[chosen], pace=self.pace and self.pace[chosen])


@dataclass(frozen=True)
class GradientAttack:
    """Walks down an objective inside a budget, each image on its own.

    `step_size` is in [0, 1]. With `views`, each step's gradient is the mean of those through each view, so that the
    cloak does not depend on details of one recognizer. All that is random is drawn from `seed`.

    Where the gradient is 0 no image moves, as that of `Dodging` is at an image's own embedding: take a `random_start`,
    or give a `start` with a little noise. Raises `SettingError` for less than one step, or a step not above 0.
    """

    budget: Budget
    steps: int = 10
    step_size: float = 2 / 255
    transforms: tuple[GradientTransform, ...] = ()
    random_start: bool = False
    seed: int = 0
    views: tuple[View, ...] = ()

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.step_size > 0:
            raise SettingError(f"{self.steps} steps of {self.step_size:g} lead nowhere; give 1 or more, each above 0")

    def __call__(
        self, images: Images, objective: Objective, stop: Stop | None = None, start: Images | None = None
    ) -> Images:
        """Cloaked images, by a walk from `start` where it is given; also where gradients are turned off outside.

        Those that `stop` finds good enough are left as they are from then on.
        """
        if not len(images):
            return images
        with torch.inference_mode(False), torch.enable_grad():
            return self._walk(free(images), objective, stop, None if start is None else free(start))

    def _walk(self, images: Images, objective: Objective, stop: Stop | None, start: Images | None) -> Images:
        generator = Generator().manual_seed(self.seed)
        seen = [objective.through(view) for view in self.views] or [objective]
        budget, finished = self.budget, torch.empty_like(images)
        active = torch.arange(len(images), device=images.device)
        if start is None:
            start = budget.start(images, generator) if self.random_start else images
        cloaked = start
        memories = [images.new_zeros(len(images), 1, 1, 1) for _ in self.transforms]
        pace = images.new_zeros(len(images)) if stop is None else stop.start(cloaked)
        for step in range(self.steps):
            gradient = _gradient(cloaked, seen, generator)
            around = Surroundings(partial(_near, cloaked, seen, generator), generator)
            for i, transform in enumerate(self.transforms):
                gradient, memories[i] = transform(gradient, memories[i], around)
            cloaked = budget.project(cloaked + budget.step(gradient, self.step_size), images)
            if stop is not None and (step + 1) % stop.every == 0 and step + 1 < self.steps:
                done, pace = stop(cloaked, pace)
                if done.any():
                    finished[active[done]] = cloaked[done]
                    active, cloaked, images, pace = active[~done], cloaked[~done], images[~done], pace[~done]
                    seen, budget, stop = [each[~done] for each in seen], budget[~done], stop[~done]
                    memories = [memory[~done] for memory in memories]
                if not len(active):
                    break
        finished[active] = cloaked
        return finished


def _near(images: Images, seen: Sequence[Objective], generator: Generator, offset: Tensor) -> Images:
    return _gradient(images + offset, seen, generator)


def _gradient(images: Images, seen: Sequence[Objective], generator: Generator) -> Images:
    images = images.detach().requires_grad_()
    gradients = [torch.autograd.grad(each(images, generator).sum(), images)[0] for each in seen]
    return gradients[0] if len(gradients) == 1 else torch.stack(gradients).mean(0)


def free(images: Images) -> Images:
    """The images, of which gradients may be asked, however they were made."""
    return images.clone() if images.is_inference() else images.detach()


def fgsm(budget: Ball) -> GradientAttack:
    """FGSM: one step as large as the budget (Goodfellow et al., 2014, https://arxiv.org/abs/1412.6572)."""
    return GradientAttack(budget, 1, budget.levels / 255)


def bim(budget: Ball, steps: int | None = None, step_size: float = 1 / 255) -> GradientAttack:
    """BIM, also I-FGSM: small steps (Kurakin et al., 2016, https://arxiv.org/abs/1607.02533), `iterations` of them.

    ILLC is the same walk down the cross-entropy of the clean image's least likely class (section 2.3).
    """
    return GradientAttack(budget, iterations(budget.levels) if steps is None else steps, step_size)


def iterations(epsilon: float) -> int:
    """min(epsilon + 4, 1.25 epsilon), rounded up: enough for steps of one level to reach the budget's edge, and few.

    Kurakin et al., 2016, section 2.2; Ghafourian et al., 2023, "Protector's goal".
    """
    return math.ceil(min(epsilon + 4, 1.25 * epsilon))


def pgd(budget: Ball, steps: int = 40, step_size: float = 2 / 255, seed: int = 0) -> GradientAttack:
    """PGD: BIM from a random start (Madry et al., 2018, https://arxiv.org/abs/1706.06083)."""
    return GradientAttack(budget, steps, step_size, random_start=True, seed=seed)


def mim(budget: Ball, steps: int = 10, decay: float = 1.0, step_size: float | None = None) -> GradientAttack:
    """MIM, also MI-FGSM: with momentum (Dong et al., 2018, https://arxiv.org/abs/1710.06081).

    Steps of epsilon / steps, unless given.
    """
    size = budget.levels / 255 / max(steps, 1) if step_size is None else step_size
    return GradientAttack(budget, steps, size, (Momentum(decay),))


def di2(
    budget: Ball, steps: int = 30, step_size: float = 2 / 255, view: View | None = None, seed: int = 0
) -> GradientAttack:
    """DI2-FGSM: each step sees images through a random view (Xie et al., 2019, https://arxiv.org/abs/1803.06978).

    Steps and step size are those of APF (Zhang et al., 2020, section 4.1). The view is `Padding` at each step unless
    given, as in RobFR (Yang et al., 2020); half of the time, as in the source, is `Sometimes(Padding())`.
    """
    return GradientAttack(budget, steps, step_size, seed=seed, views=(view or Padding(),))


def m_di2(
    budget: Ball,
    steps: int = 30,
    step_size: float = 2 / 255,
    decay: float = 1.0,
    view: View | None = None,
    seed: int = 0,
) -> GradientAttack:
    """M-DI2-FGSM, also DIM: DI2-FGSM with momentum (Xie et al., 2019, https://arxiv.org/abs/1803.06978)."""
    return replace(di2(budget, steps, step_size, view, seed), transforms=(Momentum(decay),))


dim = m_di2


def tim(
    budget: Ball, steps: int = 10, decay: float = 1.0, size: int = 7, step_size: float | None = None
) -> GradientAttack:
    """TIM, also TI-MI-FGSM: smoothed gradients with momentum (Dong et al., 2019, https://arxiv.org/abs/1904.02884).

    The kernel is 7 pixels wide, as RobFR's for faces; the paper's 15 was chosen for ImageNet.
    """
    return replace(mim(budget, steps, decay, step_size), transforms=(Smoothing(size), Momentum(decay)))
