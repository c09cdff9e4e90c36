"""Cloaks of few values: what of a cloak is sent to a cloud, and back."""

import math
from dataclasses import dataclass

from jaxtyping import UInt8
from torch import Tensor, uint8

from faceveil.errors import SettingError
from faceveil.types import Images

Codes = UInt8[Tensor, "n 3 h w"]


@dataclass(frozen=True)
class Grid:
    """`values` numbers, evenly spaced from -epsilon to epsilon, both included; code c is the c-th of them.

    `epsilon` counts 8-bit levels. Two values are the sign (what is exactly between goes up), 2 epsilon + 1 the whole
    levels. Raises `SettingError` for fewer than 2 values, or more than fit into a byte.
    """

    epsilon: float
    values: int

    def __post_init__(self) -> None:
        if not 2 <= self.values <= 256:
            raise SettingError(f"a cloak of {self.values} values cannot be sent; choose 2 to 256")
        if not 0 < self.epsilon <= 255:
            raise SettingError(f"epsilon is {self.epsilon:g}; it counts 8-bit levels, more than 0 and at most 255")

    @property
    def bits(self) -> int:
        """Of one code."""
        return math.ceil(math.log2(self.values))

    def codes(self, noise: Images) -> Codes:
        """The codes of the nearest values; what lies outside epsilon is clipped. A level of noise is 1/255."""
        share = (noise * (255 / self.epsilon)).clamp(-1, 1)
        return ((share + 1) * ((self.values - 1) / 2) + 0.5).floor().clamp(max=self.values - 1).to(uint8)

    def noise(self, codes: Codes) -> Images:
        """The noise [n, 3, h, w] that codes stand for, in [-epsilon / 255, epsilon / 255]."""
        return (2 * codes.float() - (self.values - 1)) * (self.epsilon / (255 * (self.values - 1)))

    def __call__(self, noise: Images) -> Images:
        """Noise, rounded to the values."""
        return self.noise(self.codes(noise))
