"""Gradient transforms: what happens to a gradient before the step."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from faceveil.errors import SettingError
from faceveil.metrics.structure import blurred
from faceveil.types import Directions, Images


@dataclass(frozen=True)
class Surroundings:
    """Where the loop stands: the gradient at an offset [..., 3, h, w] from there, and what to draw from."""

    gradient: Callable[[Tensor], Images]
    generator: Generator


class GradientTransform(ABC):
    """A gradient and a memory in, a direction and the new memory out; the memory stays outside, with the loop."""

    @abstractmethod
    def __call__(self, gradient: Directions, memory: Tensor, surroundings: Surroundings) -> tuple[Directions, Tensor]:
        """The transformed gradient, and what to remember; the first memory is zero."""


@dataclass(frozen=True)
class Momentum(GradientTransform):
    """The running sum of gradients, each of mean magnitude 1 (Dong et al., 2018, https://arxiv.org/abs/1710.06081)."""

    decay: float = 1.0

    def __call__(self, gradient: Directions, memory: Tensor, surroundings: Surroundings) -> tuple[Directions, Tensor]:
        total = torch.linalg.vector_norm(gradient, 1, (1, 2, 3), keepdim=True).clamp(min=1e-12)
        memory = torch.addcdiv(self.decay * memory, gradient, total, value=gradient[0].numel())
        return memory, memory


@dataclass(frozen=True)
class Colorless(GradientTransform):
    """The sum over the channels, [n, 1, h, w]: all move alike, so that no hue changes."""

    def __call__(self, gradient: Directions, memory: Tensor, surroundings: Surroundings) -> tuple[Directions, Tensor]:
        return gradient.sum(1, keepdim=True), memory


@dataclass(frozen=True)
class Smoothing(GradientTransform):
    """The gradient blurred by a Gaussian, as if shifted images were seen (TI: Dong et al., 2019, Eq. 6 and 8).

    `size` is the kernel's width in pixels, odd; its edge lies `reach` standard deviations out, as in the authors' code.
    Raises `SettingError` for an even one. https://arxiv.org/abs/1904.02884
    """

    size: int = 7
    reach: float = 3.0

    def __post_init__(self) -> None:
        if self.size < 1 or self.size % 2 == 0:
            raise SettingError(f"size is {self.size}; give an odd number of pixels, so that it has a middle")

    def __call__(self, gradient: Directions, memory: Tensor, surroundings: Surroundings) -> tuple[Directions, Tensor]:
        if self.size == 1:
            return gradient, memory
        edge = self.size // 2
        return blurred(F.pad(gradient, (edge,) * 4), self.size, edge / self.reach), memory


@dataclass(frozen=True)
class VarianceTuning(GradientTransform):
    """The gradient plus what its neighborhood had beyond it one step before (VT: Wang and He, 2021, Algorithm 1).

    The neighbors lie up to `reach` (in [0, 1]; the paper has 1.5 epsilon) away in each channel.
    https://arxiv.org/abs/2103.15571
    """

    reach: float
    neighbors: int = 20

    def __call__(self, gradient: Directions, memory: Tensor, surroundings: Surroundings) -> tuple[Directions, Tensor]:
        around = torch.zeros_like(gradient)
        for _ in range(self.neighbors):
            noise = 2 * torch.rand(gradient.shape[1:], generator=surroundings.generator).to(gradient.device) - 1
            around += surroundings.gradient(self.reach * noise)
        return gradient + memory, around / self.neighbors - gradient
