"""What photos suffer when they are shared: JPEG once more, and a smaller size."""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from faceveil.types import Pixels


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """The pixels after JPEG at this quality (1 to 100), its chroma halved as websites do it."""
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "JPEG", quality=quality)
    stream.seek(0)
    return np.array(JpegImageFile(stream))  # `Image.open` would warn of, or refuse, what is large


def resize(pixels: UInt8[np.ndarray, "_ _ c"], long_side: int) -> UInt8[np.ndarray, "_ _ c"]:
    """The pixels, with alpha or without, at a size whose longer side is at most this, by Lanczos's filter.

    They are never enlarged, and what shines through counts as little as it is seen.
    """
    height, width = pixels.shape[:2]
    scale = long_side / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.array(Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.LANCZOS))
