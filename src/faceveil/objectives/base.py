"""The contract: an objective gives one loss per image, lower for a better cloak."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, stack

from faceveil.types import Aligned, Images, PerImage


class View(ABC):
    """What may happen to images before they are judged: alignment, JPEG, a random shift ...

    Random where a generator is given, plain where none is. Whatever is drawn holds for the whole batch, so that no
    image depends on its neighbors.
    """

    @abstractmethod
    def __call__(self, images: Images, generator: Generator | None = None) -> Aligned:
        """The images as they are seen."""

    def __getitem__(self, chosen: Tensor) -> "View":
        """The view of some of the images, by index or mask; one that treats all alike is itself."""
        return self


class Objective(ABC):
    """Images [n, 3, h, w] in [0, 1] to losses [n], each image's own; `a + 0.1 * b` adds and scales."""

    @abstractmethod
    def __call__(self, images: Images, generator: Generator | None = None) -> PerImage:
        """One loss per image; random views are drawn from the generator, and left out without one."""

    @abstractmethod
    def __getitem__(self, chosen: Tensor) -> "Objective":
        """The objective of some of the images, by index or mask."""

    def through(self, view: View) -> "Objective":
        """This objective, judging what a view makes of the images."""
        return Through(self, view)

    def __add__(self, other: "Objective") -> "Objective":
        return Sum((self, other))

    def __mul__(self, factor: float) -> "Objective":
        return Scaled(self, factor)

    __rmul__ = __mul__


@dataclass(frozen=True)
class Through(Objective):
    """An objective that sees images through a view."""

    objective: Objective
    view: View

    def __call__(self, images: Images, generator: Generator | None = None) -> PerImage:
        return self.objective(self.view(images, generator), generator)

    def __getitem__(self, chosen: Tensor) -> Objective:
        return Through(self.objective[chosen], self.view[chosen])


@dataclass(frozen=True)
class Sum(Objective):
    """Several objectives, added."""

    terms: tuple[Objective, ...]

    def __call__(self, images: Images, generator: Generator | None = None) -> PerImage:
        return sum((term(images, generator) for term in self.terms), images.new_zeros(len(images)))

    def __getitem__(self, chosen: Tensor) -> Objective:
        return Sum(tuple(term[chosen] for term in self.terms))


@dataclass(frozen=True)
class Drawn(Objective):
    """One of several losses, drawn each time, the same for all images; their mean where nothing is drawn."""

    terms: tuple[Objective, ...]

    def __call__(self, images: Images, generator: Generator | None = None) -> PerImage:
        if generator is None:
            return stack([term(images) for term in self.terms]).mean(0)
        return self.terms[int(torch.randint(len(self.terms), (), generator=generator))](images, generator)

    def __getitem__(self, chosen: Tensor) -> "Drawn":
        return Drawn(tuple(term[chosen] for term in self.terms))


@dataclass(frozen=True)
class Scaled(Objective):
    """An objective times a number."""

    objective: Objective
    factor: float

    def __call__(self, images: Images, generator: Generator | None = None) -> PerImage:
        return self.factor * self.objective(images, generator)

    def __getitem__(self, chosen: Tensor) -> Objective:
        return Scaled(self.objective[chosen], self.factor)
