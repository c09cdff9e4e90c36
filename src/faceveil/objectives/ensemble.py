"""Several recognizers as one objective, each with its forward and backward pass on a core of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor
from torch.autograd.function import once_differentiable

from faceveil.cores import side_by_side
from faceveil.objectives.base import Objective, View
from faceveil.types import Aligned, Images, PerImage


@dataclass(frozen=True)
class Ensemble(Objective):
    """The sum of `terms`, each beside the number of the view through which it sees the images.

    A view is made once, for all that look through it. The terms draw nothing, so that their order does not matter.
    """

    views: tuple[View, ...]
    terms: tuple[tuple[int, Objective], ...]

    def __call__(self, images: Images, generator: Generator | None = None) -> PerImage:
        seen = [view(images, generator) for view in self.views]
        if torch.is_grad_enabled():
            losses: PerImage = _Descent.apply(self.terms, *seen)  # type: ignore[no-untyped-call]
            return losses
        return torch.stack(side_by_side([partial(term, seen[i]) for i, term in self.terms], images.device)).sum(0)

    def __getitem__(self, chosen: Tensor) -> "Ensemble":
        views = tuple(view[chosen] for view in self.views)
        return Ensemble(views, tuple((i, term[chosen]) for i, term in self.terms))


class _Descent(torch.autograd.Function):
    """The losses, added, with the gradients of all terms made on the way forward, where they can be side by side."""

    @staticmethod
    def forward(ctx: Any, terms: Sequence[tuple[int, Objective]], *seen: Tensor) -> PerImage:
        def descend(i: int, term: Objective) -> tuple[PerImage, Aligned]:
            with torch.enable_grad():
                images = seen[i].detach().requires_grad_()
                losses = term(images)
                return losses.detach(), torch.autograd.grad(losses.sum(), images)[0]

        found = side_by_side([partial(descend, *each) for each in terms], seen[0].device)
        gradients = [torch.zeros_like(images) for images in seen]
        for (i, _), (_, gradient) in zip(terms, found, strict=True):
            gradients[i] += gradient
        ctx.save_for_backward(*gradients)
        return torch.stack([losses for losses, _ in found]).sum(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slopes: PerImage) -> tuple[Tensor | None, ...]:
        return None, *(slopes[:, None, None, None] * gradient for gradient in ctx.saved_tensors)
