"""Gradient attacks: one loop with parts; a published attack is a setting of it."""

from dataclasses import dataclass

import torch
from torch import Generator

from faceveil.attacks.budget import Budget
from faceveil.attacks.transforms import GradientTransform
from faceveil.objectives.base import Objective
from faceveil.types import Images


@dataclass(frozen=True)
class Stop:
    """Images whose loss has fallen to `at` are done; looked at every so many steps."""

    objective: Objective
    at: float
    every: int = 5


@dataclass(frozen=True)
class GradientAttack:
    """Walks down an objective inside a budget, each image on its own.

    `step_size` is in [0, 1]. The views of a random objective, and the random start, are drawn from `seed`.
    """

    budget: Budget
    steps: int = 10
    step_size: float = 2 / 255
    transforms: tuple[GradientTransform, ...] = ()
    random_start: bool = False
    seed: int = 0

    def __call__(self, images: Images, objective: Objective, stop: Stop | None = None) -> Images:
        """Cloaked images; those that `stop` finds good enough are left as they are from then on."""
        generator = Generator().manual_seed(self.seed)
        budget, finished = self.budget, images.clone()
        active = torch.arange(len(images), device=images.device)
        cloaked = budget.start(images, generator) if self.random_start else images
        memories = [torch.zeros_like(images) for _ in self.transforms]
        for step in range(self.steps):
            cloaked = cloaked.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(objective(cloaked, generator).sum(), cloaked)
            for i, transform in enumerate(self.transforms):
                gradient, memories[i] = transform(gradient, memories[i])
            cloaked = budget.project(cloaked.detach() + budget.step(gradient, self.step_size), images)
            if stop is not None and (step + 1) % stop.every == 0:
                with torch.no_grad():
                    done = stop.objective(cloaked) <= stop.at
                if done.any():
                    finished[active[done]] = cloaked[done]
                    active, cloaked, images = active[~done], cloaked[~done], images[~done]
                    objective, budget = objective[~done], budget[~done]
                    memories = [memory[~done] for memory in memories]
                    stop = Stop(stop.objective[~done], stop.at, stop.every)
                if not len(active):
                    break
        finished[active] = cloaked.detach()
        return finished
