"""Finds faces and their landmarks with MTCNN (Zhang et al., 2016, https://arxiv.org/abs/1604.02878).

P-Net proposes windows on every level of an image pyramid, R-Net refuses most of them, O-Net decides. Where this differs
from the paper: levels are half an octave apart; of neighboring windows the best is kept; O-Net sees each candidate and
its mirror image, and looks twice more at each face it found, which makes landmarks about four times steadier.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate, groupby

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional as F

from faceveil.device import choose
from faceveil.errors import SettingError
from faceveil.faces import mtcnn
from faceveil.faces.pyramid import Atlas, Pyramid
from faceveil.types import Boxes, Landmarks, PerImage, Pixels

CELL = 12  # pixels: the side of P-Net's window
STRIDE = 2  # pixels from one window to the next
TILE = 512  # pixels: the side of what P-Net sees at once, so that it stays in the processor's cache
RUN = 2**20  # pixels of the photos that are looked at together
CHUNK = 128  # patches that R-Net or O-Net sees at once

Network = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Face:
    """A face found in a photo, in pixels from the photo's top left corner (the first pixel's center is at 0.5, 0.5)."""

    box: tuple[float, float, float, float]  # left, top, right, bottom; may reach outside of the photo
    landmarks: tuple[tuple[float, float], ...]  # x, y of both eyes, the nose, both mouth corners; left as seen is first
    score: float  # the probability of a face
    number: int = field(default=0, compare=False)  # among the faces of its photo; 0 is the largest

    @property
    def points(self) -> Landmarks:
        """The landmarks as a tensor [1, 5, 2]."""
        return torch.tensor(self.landmarks)[None]

    @property
    def area(self) -> float:
        """Of the box, in square pixels."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top)


@dataclass(frozen=True)
class Candidates:
    """What may be faces, in several photos."""

    photo: Int64[Tensor, " n"]  # the number of the photo
    boxes: Boxes
    scores: PerImage
    landmarks: Float[Tensor, "n points 2"]  # five; none before O-Net

    def __getitem__(self, index: Tensor) -> "Candidates":
        return Candidates(self.photo[index], self.boxes[index], self.scores[index], self.landmarks[index])

    def above(self, threshold: float) -> "Candidates":
        """Those that score above a threshold."""
        return self[self.scores > threshold]

    def distinct(self, nested: bool = False) -> "Candidates":
        """Greedy non-maximum suppression: none shares over 0.7 of its union with a better one of its photo.

        With `nested`, over 0.7 of the smaller of the two, so that no face lies inside of another.
        """
        order = self.scores.argsort(descending=True, stable=True)
        photo, boxes = self.photo[order].cpu().numpy(), self.boxes[order].cpu().numpy()
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        kept: list[int] = []
        left = np.arange(len(boxes))
        while left.size:
            best, left = left[0], left[1:]
            kept.append(best)
            corners = np.maximum(boxes[best, :2], boxes[left, :2]), np.minimum(boxes[best, 2:], boxes[left, 2:])
            shared = (corners[1] - corners[0]).clip(min=0).prod(1)
            whole = np.minimum(areas[best], areas[left]) if nested else areas[best] + areas[left] - shared
            left = left[(photo[left] != photo[best]) | (shared <= 0.7 * whole)]
        return self[order[kept]]


class Detector:
    """Finds the faces in photos.

    Args:
        device: Where the networks run.
        min_size: The smallest faces looked for, in pixels of their box; somewhat smaller ones may be found too.
        thresholds: Scores above which P-Net, R-Net and O-Net let a candidate pass. The last is measured: at 0.85 no
            face that an LFW photo is of is missed, and about 9 things in 3,074 photos are taken for faces.

    Raises:
        SettingError: `min_size` is below 12 pixels, the least that the networks can see; or the device is not here.
        WeightsError: The weights are missing or damaged.
    """

    def __init__(
        self,
        device: str | torch.device = "cpu",
        min_size: float = 24,
        thresholds: tuple[float, float, float] = (0.6, 0.7, 0.85),
    ) -> None:
        if not min_size >= CELL:
            raise SettingError(f"min_size is {min_size}; give {CELL} pixels or more")
        self.device = choose(device)
        self.min_size = min_size
        self.thresholds = thresholds
        with torch.inference_mode(False), torch.random.fork_rng([]):  # the random numbers of others stay theirs
            makers = mtcnn.pnet, mtcnn.rnet, mtcnn.onet
            self.pnet, self.rnet, self.onet = (make().to(self.device) for make in makers)

    @torch.inference_mode()
    def __call__(self, photos: Sequence[Pixels]) -> list[list[Face]]:
        """The faces of each photo, the largest first; they do not depend on the other photos."""
        faces: list[list[Face]] = [[] for _ in photos]
        for run in runs(photos, self.min_size):
            found = self.find([photos[index] for index in run])
            columns = (found.photo, found.boxes, found.landmarks, found.scores)
            for number, box, landmarks, score in zip(*(column.tolist() for column in columns), strict=True):
                faces[run[number]].append(Face(tuple(box), tuple(map(tuple, landmarks)), score))
        ordered = (sorted(found, key=lambda face: face.area, reverse=True) for found in faces)
        return [[replace(face, number=number) for number, face in enumerate(found)] for found in ordered]

    def find(self, photos: Sequence[Pixels]) -> Candidates:
        """The faces of photos that are large enough for one; photos of equal size stand side by side."""
        pyramids = [Pyramid(photo) for photo in photos]
        atlas = Atlas(pyramids, self.device)
        refine = partial(look, self.rnet, atlas, size=24)
        decide = partial(look, partial(symmetric, self.onet), atlas, size=48, samples=2)
        proposed, refined, decided = self.thresholds
        found = self.propose(pyramids, proposed)
        found = refine(found).above(refined).distinct()
        found = decide(found).above(decided).distinct(nested=True)
        for _ in range(2):
            found = replace(decide(found), scores=found.scores)
        return found.distinct(nested=True)

    def propose(self, pyramids: Sequence[Pyramid], threshold: float) -> Candidates:
        """P-Net's windows that score above a threshold and no lower than the eight around them."""
        windows = []
        for (height, width), group in groupby(enumerate(pyramids), key=lambda item: (item[1].height, item[1].width)):
            numbers, alike = zip(*group, strict=True)
            for scale in scales(min(height, width), self.min_size):
                level = torch.from_numpy(np.stack([pyramid.at(scale) for pyramid in alike])).to(self.device)
                geometry, scores = self.scan(level.permute(0, 3, 1, 2))
                best = (scores > threshold) & (scores == F.max_pool2d(scores, 3, 1, 1))
                photo, y, x = best.nonzero().unbind(1)
                corners = STRIDE * torch.stack([x, y], 1)
                edges = torch.cat([corners, corners + CELL], 1) + CELL * geometry[photo, :, y, x]
                stretch = torch.tensor([width / level.shape[2], height / level.shape[1]] * 2, device=self.device)
                number = torch.tensor(numbers, device=self.device)[photo]
                windows.append(Candidates(number, edges * stretch, scores[best], edges.new_empty(len(edges), 0, 2)))
        return joined(windows)

    def scan(self, level: UInt8[Tensor, "n 3 h w"]) -> tuple[Float[Tensor, "n 4 y x"], Float[Tensor, "n y x"]]:
        """P-Net's geometry and scores of all windows of a level, a tile at a time."""
        margin = CELL - STRIDE
        *_, height, width = level.shape
        rows = []
        for top in range(0, height - margin, TILE):
            strip = level[:, :, top : top + TILE + margin]
            tiles = [self.pnet(strip[..., left : left + TILE + margin]) for left in range(0, width - margin, TILE)]
            rows.append([torch.cat(parts, -1) for parts in zip(*tiles, strict=True)])
        geometry, scores = (torch.cat(parts, -2) for parts in zip(*rows, strict=True))
        return geometry, scores


def look(network: Network, atlas: Atlas, found: Candidates, size: int, samples: int = 1) -> Candidates:
    """What R-Net or O-Net says of the squares around candidates, which it sees at `size` pixels."""
    centers = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    sides = (found.boxes[:, 2:] - found.boxes[:, :2]).amax(1)
    corners = centers - sides[:, None] / 2
    chunks = zip(*(torch.split(column, CHUNK) for column in (found.photo, corners, sides)), strict=True)
    said = [network(atlas.patches(photo, corner, side, size, samples)) for photo, corner, side in chunks]
    geometry, scores = (torch.cat(parts) for parts in zip(*said, strict=True))
    boxes = torch.cat([corners, corners + sides[:, None]], 1) + sides[:, None] * geometry[:, :4]
    x, y = geometry[:, 4:].chunk(2, 1)
    return Candidates(found.photo, boxes, scores, corners[:, None] + sides[:, None, None] * torch.stack([x, y], 2))


def symmetric(onet: Network, patches: Tensor) -> tuple[Tensor, Tensor]:
    """O-Net's mean word on patches and on their mirror images."""
    geometry, scores = onet(torch.cat([patches, patches.flip(3)]))
    seen, mirrored = geometry.chunk(2)
    left, top, right, bottom, *landmarks = mirrored.unbind(1)
    x, y = landmarks[:5], landmarks[5:]
    swapped = [1, 0, 2, 4, 3]  # the mirror image of a left eye is a right eye
    back = torch.stack([-right, top, -left, bottom, *(1 - x[i] for i in swapped), *(y[i] for i in swapped)], 1)
    return (seen + back) / 2, scores.view(2, -1).mean(0)


def joined(parts: Sequence[Candidates]) -> Candidates:
    """All candidates as one."""
    columns = zip(*((part.photo, part.boxes, part.scores, part.landmarks) for part in parts), strict=True)
    return Candidates(*(torch.cat(column) for column in columns))


def runs(photos: Sequence[Pixels], min_size: float) -> Iterator[list[int]]:
    """The photos that can hold a face, in runs of about RUN pixels, those of equal size side by side."""
    shapes = {index: photo.shape[:2] for index, photo in enumerate(photos) if min(photo.shape[:2]) >= min_size}
    order = sorted(shapes, key=shapes.__getitem__)
    pixels = accumulate(math.prod(shapes[index]) for index in order)
    for _, run in groupby(zip(order, pixels, strict=True), key=lambda item: (item[1] - 1) // RUN):
        yield [index for index, _ in run]


def scales(side: int, min_size: float) -> Iterator[float]:
    """Half an octave apart, from where `min_size` pixels fill P-Net's window to where `side` pixels do."""
    scale = CELL / min_size
    while round(side * scale) >= CELL:
        yield scale
        scale *= 0.5**0.5
