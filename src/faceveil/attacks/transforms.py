"""Gradient transforms: what happens to a gradient before the step."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from faceveil.types import Images


class GradientTransform(ABC):
    """A gradient and a memory in, a direction and the new memory out; the memory stays outside, with the loop."""

    @abstractmethod
    def __call__(self, gradient: Images, memory: Tensor) -> tuple[Images, Tensor]:
        """The transformed gradient, and what to remember; the first memory is zero."""


@dataclass(frozen=True)
class Momentum(GradientTransform):
    """The running sum of gradients, each of mean magnitude 1 (Dong et al., 2018, https://arxiv.org/abs/1710.06081)."""

    decay: float = 1.0

    def __call__(self, gradient: Images, memory: Tensor) -> tuple[Images, Tensor]:
        total = torch.linalg.vector_norm(gradient, 1, (1, 2, 3), keepdim=True).clamp(min=1e-12)
        memory = torch.addcdiv(self.decay * memory, gradient, total, value=gradient[0].numel())
        return memory, memory
