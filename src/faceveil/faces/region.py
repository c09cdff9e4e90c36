"""The part of a photo around a face, on a working grid: where a cloak is made, and from where it is brought back.

A cloak is worked out on a grid of GRID x GRID pixels. Around a small face these are the photo's own pixels; around a
large one they are coarser, and only the cloak is enlarged, never the photo's own pixels.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from faceveil.faces import templates
from faceveil.faces.align import similarity
from faceveil.types import Images, Landmarks, Matrices, Pixels

GRID = 176

# The face's outline in dlib's chip, as shares of its side, from the mean face of 68 points: forehead to below the chin.
CENTER = (0.495, 0.49)
RADII = (0.36, 0.44)
EDGE = (0.8, 1.15)  # a cloak is whole inside the first radius and has faded out at the second


@dataclass(frozen=True)
class Region:
    """A square of a photo around a face: `left`, `top` and `side` in whole pixels; it may reach outside the photo.

    The face's aligned image is `extent` of the photo's pixels wide, and the square at least that; `frame` is the
    photo's height and width. `images` [1, 3, GRID, GRID] are its pixels on the grid; `landmarks` [1, 5, 2] lie in the
    photo. A `gray` photo's cloak is to be gray too.
    """

    left: int
    top: int
    side: int
    extent: float
    frame: tuple[int, int]
    images: Images
    landmarks: Landmarks
    gray: bool = False

    @classmethod
    def around(cls, landmarks: Landmarks, pixels: Pixels, gray: bool = False) -> "Region":
        """The region of a face with landmarks [1, 5, 2]: all of its aligned image, at least GRID pixels wide."""
        matrix = similarity(landmarks, templates.template("dlib", (1, 1)))[0]
        corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]) @ matrix[:, :2].T + matrix[:, 2]
        low, high = corners.amin(0), corners.amax(0)
        extent = float((high - low).amax())
        side = max(GRID, math.ceil(extent))
        left, top = ((low + high - side) / 2).round().long().tolist()
        return cls(left, top, side, extent, pixels.shape[:2], _cut(pixels, left, top, side), landmarks, gray)

    @property
    def on_grid(self) -> Landmarks:
        """The landmarks [1, 5, 2] on the grid."""
        return (self.landmarks - torch.tensor([self.left, self.top])) * (GRID / self.side)

    def matrices(self, template: Float[Tensor, "5 2"]) -> Matrices:
        """The matrix [1, 2, 3] from a template's aligned image to the grid."""
        return similarity(self.on_grid, template)

    def mask(self) -> Float[Tensor, "1 1 h w"]:
        """How much of a cloak each pixel of the grid takes: 1 on the face, fading to 0 around it; 0 off the photo."""
        matrix = self.matrices(templates.template("dlib", (1, 1)))[0]
        ticks = torch.arange(GRID) + 0.5
        rows, columns = (
            (start + ticks * (self.side / GRID)).ge(0) & (start + ticks * (self.side / GRID)).lt(end)
            for start, end in zip((self.top, self.left), self.frame, strict=True)
        )
        points = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1) - matrix[:, 2]
        inside = (points @ torch.linalg.inv(matrix[:, :2]).T - torch.tensor(CENTER)) / torch.tensor(RADII)
        fading = ((inside.norm(dim=-1) - EDGE[0]) / (EDGE[1] - EDGE[0])).clamp(0, 1)
        return ((0.5 + 0.5 * torch.cos(np.pi * fading)) * (rows[:, None] & columns))[None, None]

    def paste(self, cloak: Float[Tensor, "3 h w"], onto: Pixels, clear: Pixels) -> None:
        """Add a cloak on the grid to the photo `onto`, whose pixels were `clear`; enlarged where the grid is coarser.

        Where faces lie over each other, no channel moves by more than the larger cloak does; one that changes nothing
        there leaves the other as it is.
        """
        levels = 255 * cloak
        if self.side > GRID:
            levels = F.interpolate(levels[None], (self.side, self.side), mode="bilinear")[0]
        height, width, _ = onto.shape
        rows = slice(max(self.top, 0), min(self.top + self.side, height))
        columns = slice(max(self.left, 0), min(self.left + self.side, width))
        here = (
            slice(rows.start - self.top, rows.stop - self.top),
            slice(columns.start - self.left, columns.stop - self.left),
        )
        limit = int(levels.abs().max() + 1e-3)  # of a budget of 2.6 levels, 2 can be used
        change = levels.permute(1, 2, 0).round().clamp(-limit, limit).short().numpy()[here]
        original = clear[rows, columns].astype(np.int16)
        before = onto[rows, columns] - original
        bound = np.abs(before).clip(limit)
        onto[rows, columns] = (original + (before + change).clip(-bound, bound)).clip(0, 255)


def _cut(pixels: Pixels, left: int, top: int, side: int) -> Images:
    """That square on the grid, in [0, 1]; outside the photo its edge goes on."""
    height, width, _ = pixels.shape
    rows = np.arange(top, top + side).clip(0, height - 1)
    columns = np.arange(left, left + side).clip(0, width - 1)
    images = torch.from_numpy(pixels[rows[:, None], columns]).permute(2, 0, 1)[None] / 255
    return F.interpolate(images, (GRID, GRID), mode="bilinear", antialias=True) if side > GRID else images
