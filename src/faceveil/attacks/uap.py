"""UAP (Moosavi-Dezfooli et al., 2017): Universal Adversarial Perturbations. https://arxiv.org/abs/1610.08401"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor

from faceveil.attacks.universal import Aim, TrainedAttack, Universal
from faceveil.device import choose
from faceveil.objectives.base import Objective
from faceveil.training import Engine, Examples, Track, untracked
from faceveil.types import Images


@dataclass(frozen=True)
class UAP(TrainedAttack):
    """Algorithm 1: image by image, the least change that carries it over the boundary is added, and clipped.

    The boundary is not one between classes but the recognizer's threshold: a face is over it where its loss is -1 or
    less. The least change is DeepFool's, found in up to `steps` linear steps and overshot by `overshoot`. Passes over
    the images end when `rate` of them are fooled (the paper's 80 %), or after `passes`. One starts from noise of a
    tenth of a level, as a face has no direction away from itself. Images wait in batches, but are seen one by one.
    """

    epsilon: float = 8.0
    rate: float = 0.8
    passes: int = 5
    steps: int = 10
    overshoot: float = 0.02
    batch: int = 50
    seed: int = 0

    def fit(
        self, images: Examples, aim: Aim, folder: Path, engine: Engine | None = None, track: Track = untracked
    ) -> Universal:
        device = choose((engine or Engine()).device)
        generator = Generator().manual_seed(self.seed)
        orders = [torch.randperm(images.count, generator=generator).numpy() for _ in range(self.passes)]
        size = images.read(orders[0][:1]).shape[1:]
        found = (2 * torch.rand(size, generator=generator) - 1).to(device) / (10 * 255)
        for number, order in enumerate(orders, 1):
            batches = [order[start : start + self.batch] for start in range(0, len(order), self.batch)]
            fooled = 0
            for chosen in track(batches, f"UAP: pass {number} of {self.passes}"):
                clear = images.read(chosen).to(device)
                objective = aim(clear)
                for i in range(len(clear)):
                    one = torch.tensor([i], device=device)
                    found = self._add(found, clear[one], objective[one])
                with torch.no_grad():
                    fooled += int((objective((clear + found).clamp(0, 1)) <= -1).sum())
            if fooled >= self.rate * images.count:
                break
        return Universal(found.cpu())

    def _add(self, found: Tensor, image: Images, objective: Objective) -> Tensor:
        change = torch.zeros_like(found)
        for _ in range(self.steps):
            seen = (image + found + change).clamp(0, 1).requires_grad_()
            loss = objective(seen)[0]
            if loss <= -1:
                break
            (gradient,) = torch.autograd.grad(loss, seen)
            change = change - (loss.detach() + 1) / gradient.square().sum().clamp(min=1e-12) * gradient[0]
        return (found + (1 + self.overshoot) * change).clamp(-self.radius, self.radius)
