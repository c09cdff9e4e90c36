"""Colors: from whatever a file holds to 8-bit RGB or gray with an optional alpha, and back."""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageCms

from faceveil.errors import UnreadablePhotoError
from faceveil.types import Pixels

Alpha = UInt8[np.ndarray, "h w"]  # 255 is opaque


def eight_bits(image: Image.Image, depth: int) -> Image.Image:
    """The image in mode L, LA, RGB or RGBA; `depth` is the file's bits per channel."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> (depth - 8)).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise UnreadablePhotoError("has 32 bits per channel; save it with 8 or 16")
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    return _in_mode(image, {"L": "LA", "RGB": "RGBA"}[mode] if image.has_transparency_data else mode)


def to_srgb(image: Image.Image, icc: bytes) -> Image.Image:
    """The image's colors in sRGB, by its ICC profile where that fits it; CMYK becomes RGB, L stays L."""
    exact = ImageCms.Flags.NOOPTIMIZE  # else dark gray levels are off by up to ten
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), image.mode, "RGB", flags=exact)
    except (ImageCms.PyCMSError, OSError):
        return image if image.mode == "L" else _in_mode(image, "RGB")
    converted = transform.apply(image)
    return converted.getchannel("G") if image.mode == "L" else converted


def from_image(image: Image.Image) -> tuple[Pixels, Alpha | None]:
    """The pixels and the alpha of an image in mode L, LA, RGB or RGBA."""
    alpha = np.array(image.getchannel("A")) if image.has_transparency_data else None
    return np.array(_in_mode(image, "RGB")), alpha


def to_image(pixels: Pixels, alpha: Alpha | None = None, *, gray: bool = False) -> Image.Image:
    """An image in mode L, LA, RGB or RGBA."""
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 1] if gray else pixels))
    if alpha is not None:
        image.putalpha(Image.fromarray(alpha))
    return image


def on_white(pixels: Pixels, alpha: Alpha) -> Pixels:
    """The pixels as they look in front of white."""
    weight = alpha[..., None].astype(np.uint16)
    return ((pixels * weight + 255 * (255 - weight) + 127) // 255).astype(np.uint8)


def is_colorless(pixels: Pixels, within: int = 0) -> bool:
    """Whether red, green and blue are the same in every pixel, within some levels."""
    for rows in (pixels[:: len(pixels) // 8 + 1], pixels):  # a few rows tell about most photos
        red, green, blue = np.moveaxis(rows, -1, 0)
        highest, lowest = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
        if (highest - lowest > within).any():
            return False
    return True


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    return image if image.mode == mode else image.convert(mode)
