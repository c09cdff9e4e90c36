"""Photos at many sizes, for a detector: whole levels, and patches cut from the best level."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from faceveil.types import Pixels

GRAY = 127.5  # 8-bit level of what lies outside of a photo
SMALLEST = 24  # pixels: a photo whose shorter side is no longer than this is not halved again


class Pyramid:
    """A photo and its halvings: the photo, half as large, a quarter, and so on."""

    def __init__(self, photo: Pixels) -> None:
        self.height, self.width, _ = photo.shape
        self.levels = [np.ascontiguousarray(photo)]
        while min(self.levels[-1].shape[:2]) > SMALLEST:
            self.levels.append(np.asarray(Image.fromarray(self.levels[-1]).reduce(2)))

    def at(self, scale: float) -> Pixels:
        """The photo at a scale of at most 1, shrunk with antialiasing from the level above."""
        octave = min(int(-math.log2(scale) + 1e-6), len(self.levels) - 1)
        size = round(self.width * scale), round(self.height * scale)
        whole = 0, 0, self.width / 2**octave, self.height / 2**octave  # halvings of odd sides end in half a pixel
        return np.asarray(Image.fromarray(self.levels[octave]).resize(size, Image.Resampling.BILINEAR, whole))


class Atlas:
    """The levels of several pyramids as one run of pixels, so that patches of all photos are cut at once."""

    def __init__(self, pyramids: Sequence[Pyramid], device: torch.device) -> None:
        levels = [level for pyramid in pyramids for level in pyramid.levels]
        self.pixels = torch.from_numpy(np.concatenate([level.reshape(-1, 3) for level in levels])).to(device)
        self.height, self.width = torch.tensor([level.shape[:2] for level in levels], device=device).unbind(1)
        self.start = before(self.height * self.width)
        self.octaves = torch.tensor([len(pyramid.levels) for pyramid in pyramids], device=device)
        self.first = before(self.octaves)

    def patches(
        self,
        photo: Int64[Tensor, " n"],
        corners: Float[Tensor, "n 2"],
        sides: Float[Tensor, " n"],
        size: int,
        samples: int = 1,
    ) -> Float[Tensor, "n 3 size size"]:
        """Squares of photos at `size` pixels, in 8-bit levels; gray where they reach outside of their photo.

        A square (top left corner x, y and side in pixels of the photo) is sampled bilinearly from the level where one
        pixel of the patch is 1 to 2 pixels wide; each pixel of the patch is the mean of samples x samples places.
        """
        octave = (sides / size).clamp(min=1).log2().long().minimum(self.octaves[photo] - 1)
        level = self.first[photo] + octave
        start, height, width = (column[level, None] for column in (self.start, self.height, self.width))
        steps = (torch.arange(size * samples, device=sides.device) + 0.5) / (size * samples)
        places = (corners[:, :, None] + sides[:, None, None] * steps) / 2.0 ** octave[:, None, None]
        patches = torch.full((len(photo), len(steps), len(steps), 3), GRAY, device=sides.device)
        for y, from_row in neighbors(places[:, 1], height):
            for x, from_column in neighbors(places[:, 0], width):
                index = (start + y * width)[:, :, None] + x[:, None, :]
                pixels = self.pixels.index_select(0, index.flatten()).view(patches.shape)
                patches += (from_row[:, :, None] * from_column[:, None, :])[..., None] * (pixels - GRAY)
        return F.avg_pool2d(patches.permute(0, 3, 1, 2), samples)


def neighbors(places: Tensor, length: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The two pixels around each place on an axis, and their bilinear weights: none for a pixel outside."""
    for pixel in (torch.floor(places - 0.5), torch.floor(places + 0.5)):
        weight = 1 - (places - 0.5 - pixel).abs()
        yield pixel.long().clamp(min=0).minimum(length - 1), weight * ((pixel >= 0) & (pixel < length))


def before(counts: Tensor) -> Tensor:
    """How many come before each."""
    return counts.cumsum(0) - counts
