"""Portraits for tests that must not need anything beside the installed packages."""

import numpy as np
from skimage.data import astronaut

Array = np.ndarray


def portrait() -> Array:
    """A photo with one face, 320 x 320."""
    return np.ascontiguousarray(astronaut()[:320, 60:380])


def group() -> Array:
    """A photo with two faces of one person, the right one smaller."""
    canvas = np.full((320, 560, 3), 120, np.uint8)
    canvas[:, :320] = portrait()
    canvas[80:240, 360:520] = portrait()[::2, ::2]
    return canvas


def landscape() -> Array:
    """A photo without a face."""
    return np.linspace(0, 255, 200 * 300 * 3).reshape(200, 300, 3).astype(np.uint8)
