"""C&W: the smallest cloak that is good enough."""

from dataclasses import dataclass

import torch
from torch import Tensor

from faceveil.attacks.gradient import free
from faceveil.objectives.base import Objective
from faceveil.types import Images, PerImage


@dataclass(frozen=True)
class CarliniWagner:
    """The least L2 change with which an objective falls to a mark (Carlini and Wagner, 2017, section VI-A).

    Adam walks down |cloak|^2 + c max(loss - mark + confidence, 0), pixels as tanh; c is searched for each image, from
    `constant`: ten times larger until a cloak is good enough, then by bisection. `step_size` is Adam's in tanh's space.
    https://arxiv.org/abs/1608.04644
    """

    searches: int = 9
    steps: int = 1000
    step_size: float = 0.01
    constant: float = 1e-3
    confidence: float = 0.0

    def __call__(self, images: Images, objective: Objective, mark: float = 0.0) -> Images:
        """Cloaked images whose loss is at most `mark - confidence`; an image for which none was found is as it was.

        So is one at which the loss has no gradient, such as that of `Dodging` at an image's own embedding. Works also
        where gradients are turned off outside.
        """
        if not len(images):
            return images
        with torch.inference_mode(False), torch.enable_grad():
            return self._search(free(images), objective, mark)

    def _search(self, images: Images, objective: Objective, mark: float) -> Images:
        best, least = images.clone(), images.new_full((len(images),), torch.inf)
        constant = torch.full_like(least, self.constant)
        low, high = torch.zeros_like(least), torch.full_like(least, torch.inf)
        for _ in range(self.searches):
            found, size = self._walk(images, objective, mark - self.confidence, constant)
            better = size < least
            best, least = torch.where(better[:, None, None, None], found, best), torch.minimum(size, least)
            enough = size.isfinite()
            high = torch.where(enough, torch.minimum(high, constant), high)
            low = torch.where(enough, low, torch.maximum(low, constant))
            constant = torch.where(high.isfinite(), (low + high) / 2, 10 * constant)
        return best

    def _walk(self, images: Images, objective: Objective, mark: float, constant: PerImage) -> tuple[Images, PerImage]:
        """With those constants, the nearest images that are good enough, and their squared distance (else infinite)."""
        place = torch.atanh((2 * images - 1) * (1 - 1e-6)).requires_grad_()
        start = _from_tanh(place.detach())
        optimizer = torch.optim.Adam([place], self.step_size)
        best, least = images.clone(), images.new_full((len(images),), torch.inf)
        for _ in range(self.steps):
            cloaked = _from_tanh(place)
            size = (cloaked - start).square().sum((1, 2, 3))
            loss = objective(cloaked)
            better = (loss <= mark) & (size < least)
            best = torch.where(better[:, None, None, None], cloaked, best).detach()
            least = torch.where(better, size, least).detach()
            total = (size + constant * (loss - mark).clamp(min=0)).sum()
            (place.grad,) = torch.autograd.grad(total, place)
            optimizer.step()
        return best, least


def _from_tanh(place: Tensor) -> Images:
    return (place.tanh() + 1) / 2
