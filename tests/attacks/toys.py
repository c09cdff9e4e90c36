"""Small recognizers and objectives whose answers are known."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor, nn

from faceveil.faces.region import Region
from faceveil.objectives.base import Objective
from faceveil.recognizers import Card, Recognizer
from faceveil.recognizers.card import Embedding, Input


def recognizer(
    seed: int = 0, size: tuple[int, int] = (12, 12), normalized: bool = True, template: str = "facenet"
) -> Recognizer:
    """A curved map from images to 8 numbers; threshold 0.5."""
    torch.manual_seed(seed)
    conv, last = nn.Conv2d(3, 6, 3, stride=2), nn.Linear(6 * 5 * 5, 8)
    network = nn.Sequential(conv, nn.Tanh(), nn.AdaptiveAvgPool2d(5), nn.Flatten(), last, nn.Tanh())
    with torch.no_grad():
        conv.weight *= 4
        last.weight *= 4
    card = Card(
        name=f"toy-{seed}",
        title="toy",
        architecture="toy",
        licence="",
        trained_on="",
        published_accuracy=None,
        input=Input(*size, "rgb", (127.5,) * 3, (127.5,) * 3, template),
        embedding=Embedding(8, normalized),
        sources=(),
        thresholds={"published": 0.5},
    )
    return Recognizer(card, network)


def pictures(count: int, seed: int = 0, size: int = 12) -> Tensor:
    """8-bit images in [0, 1], white and black among their pixels."""
    levels = torch.randint(-40, 296, (count, 3, size, size), generator=Generator().manual_seed(seed))
    return levels.clamp(0, 255) / 255


def regions(count: int, gray: bool = False) -> list[Region]:
    """Faces in photos of noise."""
    found = []
    for seed in range(count):
        pixels = np.random.default_rng(seed).integers(0, 256, (240, 220, 3), dtype=np.uint8)
        landmarks = torch.tensor([[[80.0, 90.0], [140.0, 92.0], [110.0, 130.0], [85.0, 165.0], [135.0, 165.0]]])
        found.append(Region.around(landmarks + seed, pixels, gray))
    return found


@dataclass(frozen=True)
class Linear(Objective):
    """The sum of each image times its weights [n, 3, h, w]."""

    weights: Tensor

    def __call__(self, images: Tensor, generator: Generator | None = None) -> Tensor:
        return (self.weights * images).sum((1, 2, 3))

    def __getitem__(self, chosen: Tensor) -> "Linear":
        return Linear(self.weights[chosen])
