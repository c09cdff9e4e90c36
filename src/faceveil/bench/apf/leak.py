"""What a gradient tells of the photo that it was made of: APF's cloud "never gets the photo", but what does it get?

An attacker who holds photos and their gradients trains one network on both: from a gradient, it gives the embedding
that a recognizer would give of the photo, and the photo. Then it meets gradients of people it has never seen.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from matplotlib.figure import Figure
from numpy import ndarray
from torch import Generator, Tensor, nn

from faceveil.attacks.quantization import Grid
from faceveil.bench import plots
from faceveil.bench.base import Cell, Experiment, Found, Plan, Settings, Table, groups, number, percent
from faceveil.bench.material import BATCH, Crowd, Material
from faceveil.methods.apf import Apf, cloud
from faceveil.methods.scene import Scene
from faceveil.metrics import ssim
from faceveil.objectives.feature import PLAIN, Dodging
from faceveil.service.wire import CODES
from faceveil.types import Embeddings, Images

PAPER = "Zhang et al., 2020, Adversarial Privacy-preserving Filter, https://arxiv.org/abs/2007.12861"
EPSILON = 8.0  # 8-bit levels (section 4.1)
STEPS = 10  # of the gradient's attack, as in the released code
PROBES = 3  # photos of a person whose gradients are intercepted, at most
BLOCK = 8  # pixels wide are blocks of which some are kept

Reduction = Callable[[Images, float, Generator], Images]  # shares of epsilon, how much, and what to draw from


def _blocks(shares: Images, width: float, draw: Generator) -> Images:
    """The sign of the mean of each block, so many pixels wide."""
    means = F.avg_pool2d(shares, int(width))
    return _sign(F.interpolate(means, scale_factor=int(width)))


def _flipped(shares: Images, share: float, draw: Generator) -> Images:
    """Signs, of which a share drawn at random is the other one: what of them is true cannot be known."""
    return _sign(shares) * (1 - 2 * (torch.rand(shares.shape, generator=draw) < share).float())


def _kept(shares: Images, share: float, draw: Generator) -> Images:
    """Signs in so many of the blocks, drawn at random, and nothing in the others."""
    n, _, h, w = shares.shape
    kept = torch.rand(n, 1, h // BLOCK, w // BLOCK, generator=draw) < share
    return _sign(shares) * F.interpolate(kept.float(), scale_factor=BLOCK)


def _values(shares: Images, values: float, draw: Generator) -> Images:
    return Grid(EPSILON, int(values))(shares * (EPSILON / 255)) * (255 / EPSILON)


def _whole(shares: Images, amount: float, draw: Generator) -> Images:
    return shares


def _sign(shares: Images) -> Images:
    return _values(shares, 2, Generator())


REDUCTIONS: Mapping[str, Reduction] = {
    "floats": _whole,
    "values": _values,
    "signs, share flipped": _flipped,
    "signs of blocks, pixels wide": _blocks,
    "signs in blocks, share kept": _kept,
}


def _size(sent: str, amount: float) -> float:
    """Bytes of a face's gradient."""
    bits = {
        "floats": 32.0,
        "values": Grid(EPSILON, int(amount)).bits if sent == "values" else 0,
        "signs, share flipped": 1.0,
        "signs of blocks, pixels wide": 1 / max(amount, 1) ** 2,
        "signs in blocks, share kept": amount,
    }
    return CODES * bits[sent] / 8
