"""UAP (Moosavi-Dezfooli et al., 2017): Universal Adversarial Perturbations. https://arxiv.org/abs/1610.08401"""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from faceveil.attacks.universal import Aim, TrainedAttack, Universal
from faceveil.device import choose
from faceveil.errors import SettingError
from faceveil.files import remove_leftovers
from faceveil.objectives.base import Objective
from faceveil.training import CHECKPOINT, Engine, Examples, Track, from_0, keep, positive, resume, untracked, writable
from faceveil.types import Images


@dataclass(frozen=True)
class UAP(TrainedAttack):
    """Algorithm 1: image by image, the least change that carries it over the boundary is added, and clipped.

    The boundary is not one between classes but the recognizer's threshold: a face is over it where its loss is -1 or
    less. The least change is DeepFool's, found in up to `steps` linear steps and overshot by `overshoot`. Passes over
    the images end when `rate` of them are fooled (the paper's 80 %), or after `passes`. One starts from noise of a
    tenth of a level, as a face has no direction away from itself. Images wait in batches, but are seen one by one, and
    on one device; what was found is kept after each batch.
    """

    epsilon: float = 8.0
    rate: float = 0.8
    passes: int = 5
    steps: int = 10
    overshoot: float = 0.02
    batch: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(rate=self.rate, passes=self.passes, steps=self.steps)
        from_0(overshoot=self.overshoot)

    def fit(
        self, images: Examples, aim: Aim, folder: Path, engine: Engine | None = None, track: Track = untracked
    ) -> Universal:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise SettingError("UAP sees one image after another, on one device; start it without torchrun")
        device = choose((engine or Engine()).device)
        generator = Generator().manual_seed(self.seed)
        orders = [torch.randperm(images.count, generator=generator).numpy() for _ in range(self.passes)]
        size = images.read(orders[0][:1]).shape[1:]
        noise = (2 * torch.rand(size, generator=generator) - 1) / (10 * 255)
        settings = {"attack": "uap", "data": images.told, **asdict(self)}
        writable(folder)
        remove_leftovers(folder)
        state: dict[str, Any] = {"found": noise, "passes": 0, "batches": 0, "fooled": 0}
        state |= resume(folder / CHECKPOINT, settings, device)
        found = state["found"].to(device)
        for number in range(state["passes"], self.passes):
            batches = [orders[number][start : start + self.batch] for start in range(0, images.count, self.batch)]
            for chosen in track(batches[state["batches"] :], f"UAP: pass {number + 1} of {self.passes}"):
                found, fooled = self._learn(found, images.read(chosen).to(device), aim)
                state |= {"found": found.cpu(), "batches": state["batches"] + 1, "fooled": state["fooled"] + fooled}
                keep(folder / CHECKPOINT, settings, state)
            if state["fooled"] >= self.rate * images.count:
                break
            state |= {"passes": number + 1, "batches": 0, "fooled": 0}
        return Universal(found.cpu())

    def _learn(self, found: Tensor, clear: Images, aim: Aim) -> tuple[Tensor, int]:
        """What is found after a batch, and how many of it are fooled by that."""
        objective = aim(clear)
        for i in range(len(clear)):
            one = torch.tensor([i], device=clear.device)
            found = self._add(found, clear[one], objective[one])
        with torch.no_grad():
            return found, int((objective((clear + found).clamp(0, 1)) <= -1).sum())

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
