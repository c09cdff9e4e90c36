"""From a photo to aligned images, and nowhere a step that a gradient cannot pass.

A matrix [2, 3] maps an aligned image's coordinates to the photo's; pixel centers lie at half-integers.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from faceveil.types import Aligned, Images, Landmarks, Matrices, Picture


def similarity(landmarks: Landmarks, template: Float[Tensor, "5 2"]) -> Matrices:
    """The rotation, scale and shift that best carry a template's points onto each face's landmarks.

    Least squares (Umeyama, 1991, without reflection), closed form in the plane: with points as complex numbers and
    both sets centered, the factor is sum(conj(t) z) / sum(|t|^2).
    """
    center, mean = landmarks.mean(1), template.mean(0)
    z, t = landmarks - center[:, None], template - mean
    a = (z * t).sum((1, 2)) / t.square().sum()
    b = (z[..., 1] * t[:, 0] - z[..., 0] * t[:, 1]).sum(1) / t.square().sum()
    linear = torch.stack([torch.stack([a, -b], 1), torch.stack([b, a], 1)], 1)
    return torch.cat([linear, (center - linear @ mean)[..., None]], 2)


def compose(outer: Float[Tensor, "*outer 2 3"], inner: Float[Tensor, "*inner 2 3"]) -> Float[Tensor, "*both 2 3"]:
    """The matrices that apply `inner` first, then `outer`."""
    linear, shift = outer[..., :2], outer[..., 2:]
    return linear @ inner + F.pad(shift, (2, 0))


def invert(matrices: Matrices) -> Matrices:
    """The matrices that lead back."""
    linear = torch.linalg.inv(matrices[:, :, :2])
    return torch.cat([linear, -linear @ matrices[:, :, 2:]], 2)


def warp(images: Images, matrices: Matrices, size: tuple[int, int]) -> Aligned:
    """Images of that height and width, sampled bilinearly where the matrices point; black outside."""
    height, width = size
    h, w = images.shape[2:]
    # from the output's pixels to the input's, to [-1, 1] over the input; affine_grid does it three times slower
    across, along, shift = (matrices.to(images) * images.new_tensor([[2 / w], [2 / h]]))[:, None, None].unbind(-1)
    columns = torch.arange(width, device=images.device) + 0.5
    rows = torch.arange(height, device=images.device) + 0.5
    grid = (shift - 1 + rows[:, None, None] * along) + columns[:, None] * across
    return F.grid_sample(images, grid, align_corners=False)


def warp_smoothly(images: Images, matrices: Matrices, size: tuple[int, int]) -> Aligned:
    """The same images as `warp`'s, with a gradient that is itself sampled bilinearly, by the inverse of the matrices.

    For similarities this is the adjoint of the continuous warp. It has the exact gradient's sign at 99 % of the pixels,
    has no gaps between samples, and takes a fifth of its time.
    """
    warped: Aligned = _SmoothWarp.apply(images, matrices, size)  # type: ignore[no-untyped-call]
    return warped


class _SmoothWarp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, matrices: Tensor, size: tuple[int, int]) -> Tensor:
        ctx.matrices, ctx.size = matrices, tuple(images.shape[2:])
        return warp(images, matrices, size)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        back = invert(ctx.matrices)
        density = torch.linalg.det(back[:, :, :2])
        return warp(gradient, back, ctx.size) * density[:, None, None, None], None, None


def chip(photo: Picture, matrix: Float[Tensor, "2 3"], size: tuple[int, int]) -> Aligned:
    """One aligned face [1, 3, height, width], cut as `dlib.get_face_chip` does; black outside the photo.

    The photo, in [0, 1], is halved (5-tap binomial filter) while the face is more than twice as large as wanted, then
    sampled bilinearly. Not kept are dlib's roundings: a box that is a pixel smaller, halved pixels a quarter of a pixel
    off, 8-bit values rounded down. So gradients pass.
    """
    height, width = size
    step = float(torch.linalg.det(matrix[:, :2]).clamp(min=1e-12).sqrt())
    side = math.sqrt(height * width)
    halvings = math.ceil(math.log2(max(2.0, (step * side - 1) / (side - 1)) / 2))
    margin = 2 ** (halvings + 2) - 2
    corners = torch.tensor([[0.5, 0.5], [width - 0.5, 0.5], [0.5, height - 0.5], [width - 0.5, height - 0.5]])
    seen = corners.to(matrix) @ matrix[:, :2].T + matrix[:, 2]
    left, top = (seen.amin(0).floor().long() - margin).clamp(min=0).tolist()
    right, bottom = (seen.amax(0).floor().long() + margin + 1).clamp(min=0).tolist()
    level = photo[None, :, top:bottom, left:right]
    matrix = matrix - matrix.new_tensor([[0, 0, left], [0, 0, top]])
    for _ in range(halvings):
        if min(level.shape[2:]) <= 8:
            break
        level = _halve(level)
        matrix = matrix / 2 - matrix.new_tensor([[0, 0, 0.75]] * 2)
    if 0 in level.shape:
        return photo.new_zeros(1, 3, height, width)
    return warp(level, matrix[None], size)


def _halve(images: Images) -> Aligned:
    """Filtered with 1 4 6 4 1 along rows and columns, every other pixel kept."""
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=images.device) / 16
    return F.conv2d(images, torch.outer(taps, taps).expand(3, 1, 5, 5), stride=2, groups=3)


def align(photo: Picture, landmarks: Landmarks, template: Float[Tensor, "5 2"], size: tuple[int, int]) -> Aligned:
    """Every face of a photo, its landmarks carried as near to the template as can be."""
    matrices = similarity(landmarks, template)
    return (
        torch.cat([chip(photo, matrix, size) for matrix in matrices]) if len(matrices) else photo.new_zeros(0, 3, *size)
    )
