"""Views: what happens to a picture before a recognizer sees it.

Random ones draw the same for the whole batch, so that no image's cloak depends on its neighbors, and draw from the
generator alone, so that the same seed gives the same cloak. Without a generator each view shows its plain form.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int64
from torch import Generator, Tensor

from faceveil.faces.align import compose, warp_smoothly
from faceveil.objectives.base import View
from faceveil.photo import jpeg
from faceveil.types import Aligned, Images, Matrices


@dataclass(frozen=True)
class Alignment(View):
    """Faces cut out of the images by matrices [n, 2, 3] (aligned to image), with random jitter.

    The jitter, as standard deviations: the logarithm of the scale, the rotation in radians, the shift as a share of
    the size. It is what detectors disagree on, and input diversity at no cost, since the faces are sampled anyway.
    """

    matrices: Matrices
    size: tuple[int, int]
    jitter: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __call__(self, images: Images, generator: Generator | None = None) -> Aligned:
        matrices = self.matrices
        if generator is not None and any(self.jitter):
            matrices = compose(matrices, self._jitter(generator).to(matrices))
        return warp_smoothly(images, matrices, self.size)

    def __getitem__(self, chosen: Tensor) -> "Alignment":
        return Alignment(self.matrices[chosen], self.size, self.jitter)

    def _jitter(self, generator: Generator) -> Tensor:
        height, width = self.size
        growth, turn, *shift = (
            torch.randn(4, generator=generator) * torch.tensor((*self.jitter, self.jitter[2]))
        ).tolist()
        linear = np.exp(growth) * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        center = np.array([width / 2, height / 2])
        moved = center + np.array(shift) * [width, height] - linear @ center
        return torch.tensor(np.column_stack([linear, moved]), dtype=torch.float32)


@dataclass(frozen=True)
class Gray(View):
    """The mean of the channels, for those images whose flag [n] is set: their cloak can only be gray."""

    flags: Tensor

    def __call__(self, images: Images, generator: Generator | None = None) -> Images:
        return torch.where(self.flags[:, None, None, None], images.mean(1, keepdim=True), images)

    def __getitem__(self, chosen: Tensor) -> "Gray":
        return Gray(self.flags[chosen])


@dataclass(frozen=True)
class Rounding(View):
    """Rounded to 8 bits; the gradient passes as if it were not."""

    def __call__(self, images: Images, generator: Generator | None = None) -> Images:
        plain = images.detach()
        return images + ((255 * plain).round() / 255 - plain)


@dataclass(frozen=True)
class JPEG(View):
    """Stored as JPEG by the real codec, of a quality drawn between two; the gradient passes as if it were not.

    With `windows` [n, 4] (top, bottom, left, right; whole pixels) only that part of each image is, the part that is
    cloaked: the codec takes its time.
    """

    lowest: int = 60
    highest: int = 95
    windows: Int64[Tensor, "n 4"] | None = None

    def __call__(self, images: Images, generator: Generator | None = None) -> Images:
        quality = self.lowest
        if generator is not None:
            quality = int(torch.randint(self.lowest, self.highest + 1, (), generator=generator))
        height, width = images.shape[2:]
        windows = [[0, height, 0, width]] * len(images) if self.windows is None else self.windows.tolist()
        change = torch.zeros_like(images)
        for image, (top, bottom, left, right), into in zip(images.detach(), windows, change, strict=True):
            part = image[:, top:bottom, left:right]
            pixels = (255 * part).round().byte().permute(1, 2, 0).cpu().numpy()
            stored = torch.from_numpy(jpeg(pixels, quality)).to(images.device).permute(2, 0, 1)
            into[:, top:bottom, left:right] = stored / 255 - part
        return images + change

    def __getitem__(self, chosen: Tensor) -> "JPEG":
        return self if self.windows is None else replace(self, windows=self.windows[chosen.to(self.windows.device)])


@dataclass(frozen=True)
class Halving(View):
    """Half the size, each pixel the mean of four, and brought back."""

    def __call__(self, images: Images, generator: Generator | None = None) -> Images:
        return F.interpolate(F.avg_pool2d(images, 2), images.shape[2:], mode="bilinear")


@dataclass(frozen=True)
class OneOf(View):
    """One view of several, drawn each time; the first of them where nothing is drawn."""

    views: Sequence[View]

    def __call__(self, images: Images, generator: Generator | None = None) -> Aligned:
        drawn = 0 if generator is None else int(torch.randint(len(self.views), (), generator=generator))
        return self.views[drawn](images, generator)

    def __getitem__(self, chosen: Tensor) -> "OneOf":
        return OneOf(tuple(view[chosen] for view in self.views))
