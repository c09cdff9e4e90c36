"""Where a face's five landmarks lie in an aligned image, for each way in which recognizers were trained.

A template gives left eye, right eye, nose, left and right mouth corner, as seen in the image, in pixels whose centers
lie at half-integers.
"""

from functools import cache

import torch
from torch import Tensor

from faceveil.errors import SettingError

# dlib's mean face (dlib/image_transforms/interpolation.h, points 17-67): the eyes' centers, the nose's tip, the mouth's
# corners, as shares of the face's box.
DLIB_MEAN_FACE = (
    (0.22549, 0.21599),
    (0.75476, 0.21599),
    (0.490127, 0.515625),
    (0.254149, 0.780233),
    (0.726104, 0.780233),
)

# ArcFace's, for 112 x 112, with pixel centers at integers.
ARCFACE = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))


@cache
def template(name: str, height: int, width: int) -> Tensor:
    """The landmarks [5, 2] of the template of that name in an image of that size; `SettingError` for another name."""
    if name == "dlib":
        return dlib_chip(torch.tensor(DLIB_MEAN_FACE), width)
    if name == "arcface":
        return torch.tensor(ARCFACE) - torch.tensor([(112 - width) / 2, (112 - height) / 2]) + 0.5
    raise SettingError(f"no alignment template is called {name!r}; there are dlib and arcface")


def dlib_chip(shares: Tensor, size: int, padding: float = 0.25) -> Tensor:
    """Points of dlib's mean face in a square face chip, as `dlib.get_face_chip` lays it out."""
    return size * (padding + shares) / (2 * padding + 1)
