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

# Networks that were shown faces cut by other means than these landmarks: where our detector's landmarks lie, the median
# over 3,074 photos of LFW, as shares of what those networks saw (tests/reference/lfw_templates.py). FaceNet and the
# VGGFace2 networks saw a detector's box with a margin, dlib's a chip that dlib cut by landmarks of its own.
CROPS = {
    "facenet": ((0.3559, 0.4138), (0.6535, 0.4091), (0.5073, 0.5864), (0.3773, 0.7355), (0.6411, 0.7318)),
    "vggface2": ((0.3448, 0.4072), (0.6653, 0.4022), (0.5078, 0.593), (0.3679, 0.7536), (0.6519, 0.7496)),
    "dlib-chip": ((0.3118, 0.3011), (0.6746, 0.301), (0.4936, 0.5173), (0.335, 0.6993), (0.6528, 0.6991)),
}

# OpenFace's mean face, stretched to fill the image, with pixel centers at integers (openface/align_dlib.py, points
# 36-41, 42-47, 30, 48 and 54): the eyes' centers, the nose's tip, the mouth's corners.
OPENFACE = ((0.2774, 0.1673), (0.7061, 0.159), (0.4921, 0.4221), (0.3071, 0.6418), (0.6954, 0.6341))


@cache
def template(name: str, size: tuple[int, int]) -> Tensor:
    """A template's landmarks [5, 2] in an image of that height and width; `SettingError` for a name of none."""
    height, width = size
    if name == "dlib":
        return dlib_chip(torch.tensor(DLIB_MEAN_FACE), width)
    if name == "arcface":
        return torch.tensor(ARCFACE) - torch.tensor([(112 - width) / 2, (112 - height) / 2]) + 0.5
    if name in CROPS:
        return torch.tensor(CROPS[name]) * torch.tensor([width, height])
    if name == "openface":
        return torch.tensor(OPENFACE) * torch.tensor([width, height]) + 0.5
    known = ", ".join(("dlib", "arcface", "openface", *CROPS))
    raise SettingError(f"no alignment template is called {name!r}; there are {known}")


def dlib_chip(shares: Tensor, size: int, padding: float = 0.25) -> Tensor:
    """Points of dlib's mean face in a square face chip, as `dlib.get_face_chip` lays it out."""
    return size * (padding + shares) / (2 * padding + 1)
