"""Budgets: how far a cloaked image may lie from its original."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from faceveil.errors import SettingError
from faceveil.types import Images


class Budget(ABC):
    """A ball around each image."""

    @abstractmethod
    def project(self, cloaked: Images, images: Images) -> Images:
        """The nearest images inside the budget and inside [0, 1]."""

    @abstractmethod
    def step(self, gradient: Images, size: float) -> Images:
        """The step that lowers a linear loss most, of that size."""

    @abstractmethod
    def start(self, images: Images, generator: Generator) -> Images:
        """A random place inside the budget; the same gray noise for every image of the batch."""

    def __getitem__(self, chosen: Tensor) -> "Budget":
        """The budget of some of the images."""
        return self


@dataclass(frozen=True)
class Linf(Budget):
    """No channel of a pixel moves by more than `levels` 8-bit levels, times `share` where a map is given.

    `share` [n, 1, h, w] in [0, 1] says where an image may change by how much: steps are as much smaller.
    """

    levels: float
    share: Tensor | None = None

    def __post_init__(self) -> None:
        if not 0 < self.levels <= 255:
            raise SettingError(f"epsilon is {self.levels:g}; it counts 8-bit levels, more than 0 and at most 255")

    @property
    def radius(self) -> Tensor:
        """The largest change, as a number or a map, in [0, 1]."""
        return self.levels / 255 * (torch.ones(()) if self.share is None else self.share)

    def project(self, cloaked: Images, images: Images) -> Images:
        radius = self.radius.to(images.device)
        return cloaked.clamp(images - radius, images + radius).clamp_(0, 1)

    def step(self, gradient: Images, size: float) -> Images:
        step = -size * gradient.sign()
        return step if self.share is None else step * self.share

    def start(self, images: Images, generator: Generator) -> Images:
        noise = 2 * torch.rand(images.shape[2:], generator=generator).to(images.device) - 1
        return self.project(images + self.radius.to(images.device) * noise, images)

    def __getitem__(self, chosen: Tensor) -> "Linf":
        return self if self.share is None else Linf(self.levels, self.share[chosen])
