"""Budgets: how far a cloaked image may lie from its original."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from faceveil.errors import SettingError
from faceveil.metrics.masking import detail
from faceveil.metrics.visibility import Visibility
from faceveil.types import Directions, Images


class Budget(ABC):
    """A ball around each image."""

    @abstractmethod
    def project(self, cloaked: Images, images: Images) -> Images:
        """The nearest images inside the budget and inside [0, 1]."""

    @abstractmethod
    def step(self, gradient: Directions, size: float) -> Directions:
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
        _check(self.levels)

    @property
    def radius(self) -> Tensor:
        """The largest change, as a number or a map, in [0, 1]."""
        return self.levels / 255 * (torch.ones(()) if self.share is None else self.share)

    def project(self, cloaked: Images, images: Images) -> Images:
        radius = self.radius.to(images.device)
        return torch.clamp(cloaked, images - radius, images + radius).clamp_(0, 1)

    def step(self, gradient: Directions, size: float) -> Directions:
        return -size * _shared(gradient.sign(), self.share)

    def start(self, images: Images, generator: Generator) -> Images:
        noise = 2 * torch.rand(images.shape[2:], generator=generator).to(images.device) - 1
        return self.project(images + self.radius.to(images.device) * noise, images)

    def __getitem__(self, chosen: Tensor) -> "Linf":
        return self if self.share is None else replace(self, share=self.share[chosen])


@dataclass(frozen=True)
class L2(Budget):
    """The root mean square change of an image's channels is no more than `levels` 8-bit levels.

    So is the budget independent of the image's size: an L2 norm of `levels * sqrt(3 h w)` levels (RobFR: Yang et al.,
    2020, https://arxiv.org/abs/2007.04118). `share` [n, 1, h, w] in [0, 1] says how much of a step each pixel takes.
    """

    levels: float
    share: Tensor | None = None

    def __post_init__(self) -> None:
        _check(self.levels)

    def project(self, cloaked: Images, images: Images) -> Images:
        change = cloaked - images
        shrinking = (self.levels / 255 / _size(change)).clamp(max=1)
        return (images + shrinking * change).clamp(0, 1)

    def step(self, gradient: Directions, size: float) -> Directions:
        shared = _shared(gradient, self.share)
        return -size * shared / _size(shared)

    def start(self, images: Images, generator: Generator) -> Images:
        noise = torch.randn(images.shape[2:], generator=generator).to(images.device)
        length = self.levels / 255 * torch.rand((), generator=generator).to(images.device)
        return self.project(images - self.step(noise.expand_as(images), float(length)), images)

    def __getitem__(self, chosen: Tensor) -> "L2":
        return self if self.share is None else replace(self, share=self.share[chosen])


@dataclass(frozen=True)
class Unlimited(Budget):
    """No limit but [0, 1]; a step is the gradient itself, scaled so that its largest change is the step's size.

    `share` [n, 1, h, w] in [0, 1] says how much of a step each pixel takes.
    """

    share: Tensor | None = None

    def project(self, cloaked: Images, images: Images) -> Images:
        return cloaked.clamp(0, 1)

    def step(self, gradient: Directions, size: float) -> Directions:
        shared = _shared(gradient, self.share)
        return -size * shared / shared.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-20)

    def start(self, images: Images, generator: Generator) -> Images:
        noise = 2 * torch.rand(images.shape[2:], generator=generator).to(images.device) - 1
        return self.project(images + _shared(noise.expand_as(images), self.share), images)

    def __getitem__(self, chosen: Tensor) -> "Unlimited":
        return self if self.share is None else Unlimited(self.share[chosen])


@dataclass(frozen=True)
class Unseen(Budget):
    """Changes of brightness that are seen no more plainly than an error of `most`; no channel moves beyond `levels`.

    All channels of a pixel move alike, no farther than the first of them can, so that no hue changes.

    `visibility` is that of the clear images. For equal gradients pixels move by the square of `share` [n, 1, h, w],
    nothing where it is 0: gradient descent on changes that are told in units of `share`; their detail is told in units
    of `fine`. A step's root mean square is its size times that of `share`.
    """

    visibility: Visibility
    most: float
    levels: float
    share: Tensor
    fine: Tensor

    def __post_init__(self) -> None:
        _check(self.levels)

    def project(self, cloaked: Images, images: Images) -> Images:
        """Newton's step back toward `most`, where a change is seen more: near the budget's edge, not on it."""
        change = self._possible((cloaked.detach() - images).mean(1, keepdim=True), images)
        inside = (images + change).requires_grad_()
        error = self.visibility(inside)
        gradient = torch.autograd.grad(error.sum(), inside)[0].sum(1, keepdim=True)
        way = self._way(gradient)
        excess = (error.detach() - self.most).clamp(min=0)
        back = excess / (gradient * way).sum((1, 2, 3)).clamp(min=1e-20)
        return images + self._possible(change - back[:, None, None, None] * way, images)

    def step(self, gradient: Directions, size: float) -> Directions:
        way = self._way(gradient)
        return -size * _size(self.share) / _size(way) * way

    def _way(self, gradient: Directions) -> Directions:
        whole, fine = self.share * gradient, self.fine * gradient
        return self.share * (whole - detail(whole)) + self.fine * detail(fine)

    def start(self, images: Images, generator: Generator) -> Images:
        noise = 2 * torch.rand(images.shape[2:], generator=generator).to(images.device) - 1
        return images + self._possible(self.fine * noise / 255, images)

    def _possible(self, change: Directions, images: Images) -> Directions:
        """What all channels of the images can be changed by."""
        down, up = images.amin(1, keepdim=True), 1 - images.amax(1, keepdim=True)
        return torch.clamp(change, -down.clamp(max=self.levels / 255), up.clamp(max=self.levels / 255))

    def hold(self, cloaked: Images, images: Images) -> Images:
        """The largest part of each change, to a hundredth, that is seen no more than `most`."""
        low, high = images.new_zeros(len(images), 1, 1, 1), images.new_ones(len(images), 1, 1, 1)
        part = high
        with torch.no_grad():
            for _ in range(8):
                fits = (self.visibility(images + part * (cloaked - images)) <= self.most)[:, None, None, None]
                low, high = torch.where(fits, part, low), torch.where(fits, high, part)
                part = (low + high) / 2
        return images + low * (cloaked - images)

    def __getitem__(self, chosen: Tensor) -> "Unseen":
        return replace(self, visibility=self.visibility[chosen], share=self.share[chosen], fine=self.fine[chosen])


def _check(levels: float) -> None:
    if not 0 < levels <= 255:
        raise SettingError(f"epsilon is {levels:g}; it counts 8-bit levels, more than 0 and at most 255")


def _shared(change: Directions, share: Tensor | None) -> Directions:
    return change if share is None else change * share


def _size(change: Directions) -> Tensor:
    """Root mean squares [n, 1, 1, 1]; never zero."""
    return change.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-20)
