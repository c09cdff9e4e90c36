"""Visibility: how plainly a change of brightness is seen, as SSIMULACRA2 has it, so that a gradient can pass."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from faceveil.types import Images, PerImage

# The weights of SSIMULACRA2 2.1 above 1 (Sneyers and Cloudinary, 2023) at a quarter, an eighth and a sixteenth of a
# picture's size: by plane, brightness (Y) and blueness (B - Y), those of the mean and of the 4-norm of what is lost of
# SSIM, and of the 4-norm of edges that were not there.
WEIGHTS = (
    ((225.2051544, 19.2132382, 0.0),),
    ((176.3931760, 24.4330100, 0.0), (0.0, 8.8269828, 23.1924334)),
    ((0.0, 34.7790634, 44.8356256), (95.1080499, 0.0, 171.2667256)),
)
STABILITY = 0.0009  # SSIM's C2
RADIUS, SIGMA = 5, 1.5  # of the Gaussian window, in pixels
SMALLEST = 8  # pixels: smaller pictures are not looked at

# From linear light to the cone responses of XYB (libjxl's opsin absorbance): what is mixed, and what is added.
CONES = ((0.3, 0.622, 0.078), (0.23, 0.692, 0.078), (0.24342269, 0.20476744, 0.55180987))
BIAS = 0.0037930733

Planes = Float[Tensor, "_ _ _ _"]  # images, planes, rows, columns


class Visibility:
    """How plainly changed images differ from clear ones [n, 3, h, w]: SSIMULACRA2's error, 0 where they are equal.

    The images count as a quarter of what is looked at: the working grid as if it filled 704 pixels, however large it is
    in its photo. With a `part` [n] below 1, only that part of an image's height and width is looked at, its middle, as
    if it were the whole. Only what a change of brightness moves is in the sum: not SSIMULACRA2's X, red against green,
    and nothing finer than the images. `score` makes a score of an error.
    """

    def __init__(self, clear: Images, part: PerImage | None = None) -> None:
        self._part = part if part is not None and bool((part < 1).any()) else None
        with torch.no_grad():
            levels = _levels(_middle(clear, self._part))
            self._clear = [(planes, *_means(planes, planes.square())) for planes in levels]

    def __call__(self, images: Images) -> PerImage:
        error = images.new_zeros(len(images))
        levels = _levels(_middle(images, self._part))
        for weights, planes, (clear, mean, square) in zip(WEIGHTS, levels, self._clear, strict=False):
            own, own_square, product = _means(planes, planes.square(), clear * planes)
            spread = square - mean.square() + own_square - own.square() + STABILITY
            alike = (1 - (mean - own).square()) * (2 * (product - mean * own) + STABILITY) / spread
            lost = (1 - alike).relu()
            for i, (average, worst, new) in enumerate(weights):
                error = error + average * lost[:, i].mean((1, 2)) + worst * _norm(lost[:, i])
                if new:
                    edges = (1 + (planes - own)[:, i].abs()) / (1 + (clear - mean)[:, i].abs()) - 1
                    error = error + new * _norm(edges.relu())
        return error

    def __getitem__(self, chosen: Tensor) -> "Visibility":
        some = Visibility.__new__(Visibility)
        some._part = None if self._part is None else self._part[chosen]
        some._clear = [tuple(maps[chosen] for maps in level) for level in self._clear]
        return some


def score(error: float) -> float:
    """SSIMULACRA2 of an error: 100 is identical, 90 visually lossless; below 0 there is no limit."""
    scaled = 0.9562382616834844 * error
    bent = scaled * (2.326765642916932 + scaled * (-0.020884521182843837 + scaled * 6.248496625763138e-05))
    return float(100 - 10 * bent**0.6276336467831387)


def error(wanted: float) -> float:
    """The error of a score below 100."""
    low, high = 0.0, 1000.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if score(middle) > wanted else (low, middle)
    return low


def _middle(images: Images, part: PerImage | None) -> Images:
    """That part of each image, enlarged to the whole; an image itself where it is all of it."""
    if part is None:
        return images
    matrices = part[:, None, None] * torch.eye(2, 3).to(part)
    places = F.affine_grid(matrices, list(images.shape), align_corners=False)
    enlarged = F.grid_sample(images, places, align_corners=False)
    return torch.where((part < 1)[:, None, None, None], enlarged, images)


def _levels(images: Images) -> list[Planes]:
    """The planes that have weights, at the images' size, at half of it, and so on."""
    light, found = _linear(images), []
    for weights in WEIGHTS:
        if min(light.shape[2:]) < SMALLEST:
            break
        mixed = images.new_tensor(CONES)[: 1 + len(weights)].expand(len(images), -1, 3)  # the third is for blueness
        cones = torch.bmm(mixed, light.flatten(2)).view(len(light), -1, *light.shape[2:])
        felt = _power(cones + BIAS, 1 / 3) - BIAS ** (1 / 3)
        brightness = felt[:, :2].mean(1, keepdim=True)
        found.append(torch.cat([brightness, felt[:, 2:] - brightness], 1))
        light = F.avg_pool2d(light, 2)
    return found


def _linear(images: Images) -> Images:
    """Linear light of sRGB (IEC 61966-2-1): a straight line up to 0.04045, from there on a power."""
    beyond = (images - 0.04045).relu()
    return (images - beyond - 0.04045) / 12.92 + _power((beyond + 0.09545) / 1.055, 2.4)


def _power(positive: Tensor, exponent: float) -> Tensor:
    """Several times as fast as `pow`, with its gradient."""
    return (exponent * positive.log()).exp()


def _means(*planes: Planes) -> tuple[Planes, ...]:
    """Planes under the Gaussian window, mirrored at the edges."""
    height, width = planes[0].shape[2:]
    stacked = torch.stack(planes)
    return (_window(height).to(stacked) @ stacked @ _window(width).to(stacked).T).unbind()


@lru_cache
def _window(size: int) -> Float[Tensor, "size size"]:
    """The Gaussian window around each of so many places in a row; a matrix product is faster than a convolution."""
    offsets = torch.arange(-RADIUS, RADIUS + 1)
    taps = torch.exp(-offsets.square() / (2 * SIGMA**2))
    places = (torch.arange(size)[:, None] + offsets) % (2 * size)
    places = torch.minimum(places, 2 * size - 1 - places)
    return torch.zeros(size, size).scatter_add_(1, places, (taps / taps.sum()).expand(size, -1))


def _norm(maps: Float[Tensor, "n h w"]) -> PerImage:
    """The 4-norm of each map; 0 and smooth at 0."""
    return (maps.square().square().mean((1, 2)) + 1e-20).pow(0.25) - 1e-5
