"""Reading: from a file's bytes to pixels, and to what is remembered of the file."""

import logging
import re
import threading
import warnings
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from PIL.ExifTags import Base
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from faceveil.errors import UnreadablePhotoError
from faceveil.files import one_line
from faceveil.photo.colors import Alpha, eight_bits, from_image, is_colorless, to_srgb
from faceveil.photo.encoding import depth, options_like
from faceveil.photo.exif import Exif
from faceveil.photo.formats import opened
from faceveil.photo.profile import anonymous
from faceveil.photo.source import Source
from faceveil.types import Pixels

logging.getLogger("PIL").addHandler(logging.NullHandler())  # or else its messages end on the standard error stream

MAX_PROFILE = 4 << 20  # bytes
MAX_TILE = 1 << 20  # pixels of a tile that a small picture may have
MAX_SCANS = 100  # of a JPEG; cameras and programs write about ten
MAX_EXIF = 100  # blocks of a JPEG, which Pillow joins one by one; there are one or two

_ONE_AT_A_TIME = threading.Lock()  # the filters of warnings belong to the whole process
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TEXT_PICTURE = re.compile(rb"(?:[A-Za-z0-9+/=]{32,}+(?:\s|&#x?[0-9A-Fa-f]{1,4};)*+)+")  # lines of base64


class Decoded(NamedTuple):
    """What a `Photo` is made of."""

    pixels: Pixels
    alpha: Alpha | None
    gray: bool
    source: Source
    notes: tuple[str, ...]


def decode(data: bytes, max_pixels: int) -> Decoded:
    """The photo in a file's bytes, upright, in 8-bit RGB; `UnreadablePhotoError` for whatever goes wrong."""
    try:
        with _ONE_AT_A_TIME, warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"(PIL|pillow_heif)\.")
            if data.startswith(b"\xff\xd8") and data.count(b"Exif\0\0") > MAX_EXIF:
                raise UnreadablePhotoError(f"is a JPEG of more than {MAX_EXIF} EXIF blocks; save it again")
            image = opened(data)
            _check(image, data, max_pixels)
            image.load()
            return _decoded(image, data)
    except UnreadablePhotoError:
        raise
    except Image.DecompressionBombError as error:  # the decoder's own limit, which no option raises
        raise UnreadablePhotoError(f"is too large to decode ({one_line(error)}); save it smaller") from error
    except MemoryError as error:
        raise UnreadablePhotoError("does not fit into memory; save it smaller") from error
    except Exception as error:  # a decoder of a damaged file may raise anything
        reason = one_line(error) or type(error).__name__
        raise UnreadablePhotoError(f"is damaged or cut off ({reason}); copy or download it again") from error


def _check(image: ImageFile, data: bytes, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        found = f"has {width} x {height} = {width * height / 1e6:.1f} million pixels"
        raise UnreadablePhotoError(f"{found}, the limit is {max_pixels / 1e6:.1f}; raise it with --max-pixels")
    if getattr(image, "is_animated", False) and image.format != "HEIF":
        raise UnreadablePhotoError("is animated or has several pages; save the picture that you want by itself")
    if isinstance(image, TiffImageFile) and (image.tag_v2.get(Base.NewSubfileType) == 1 or 0xC612 in image.tag_v2):
        raise UnreadablePhotoError("is a camera's raw file; export it as a JPEG or TIFF")
    if isinstance(image, TiffImageFile) and _tile(image) > 4 * width * height + MAX_TILE:
        raise UnreadablePhotoError("has tiles that are larger than the picture; save it again")
    by_chance = len(data) // (1 << 14)  # at most, in whatever follows the picture, such as a phone's short film
    if image.format == "JPEG" and data.count(b"\xff\xda") > MAX_SCANS + by_chance:
        raise UnreadablePhotoError(f"is a JPEG of more than {MAX_SCANS} scans; save it again")


def _tile(image: TiffImageFile) -> int:
    """The pixels of a tile, all of which are decoded, however small the picture is; 0 where there are none."""
    return int(image.tag_v2.get(Base.TileWidth, 0)) * int(image.tag_v2.get(Base.TileLength, 0))


def _decoded(image: ImageFile, data: bytes) -> Decoded:
    info, bits = image.info, depth(image, data)
    exif = Exif.read(data if isinstance(image, TiffImageFile) else _bytes(info.get("exif")))
    icc = _bytes(info.get("icc_profile"))
    notes = [
        (bits > 8, f"its {bits} bits per channel are written as 8"),
        (image.mode in ("CMYK", "LAB"), f"its {image.mode} colors are written as RGB"),
        (_has_others(image), "other pictures in the file (such as depth or HDR) are left out"),
        (len(icc) > MAX_PROFILE, "its color profile is too large and is left out"),
    ]
    icc = anonymous(icc) if len(icc) <= MAX_PROFILE else b""
    upright = image if isinstance(image, TiffImageFile) else _turned(image, exif.orientation)
    if image.mode == "CMYK":
        upright, icc = to_srgb(upright, icc), b""
    plain = eight_bits(upright, bits)
    pixels, alpha = from_image(plain)
    options = options_like(image, data)
    if image.format == "WEBP" and "lossless" not in options and is_colorless(pixels, within=1):
        pixels = np.repeat(pixels[..., 1:2], 3, axis=-1)  # its gray comes out as almost gray
    source = Source(
        format=str(image.format),
        gray=plain.mode in ("L", "LA"),
        icc=b"" if image.mode == "LAB" else icc,
        dpi=_dpi(info.get("dpi")),
        options=options,
        exif=exif.upright(plain.width, plain.height),
        xmp=_without_pictures(_bytes(info.get("xmp"))),
    )
    return Decoded(pixels, alpha, is_colorless(pixels), source, tuple(note for holds, note in notes if holds))


def _bytes(value: object) -> bytes:
    """Of a header's field, which may be missing or of another type in a damaged file."""
    return value if isinstance(value, bytes) else b""


def _dpi(value: Any) -> tuple[float, float] | None:
    try:
        across, down = (float(density) for density in value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 1 < min(across, down) <= max(across, down) < 1 << 16 else None


def _has_others(image: ImageFile) -> bool:
    in_heif = any(image.info.get(kind) for kind in ("depth_images", "aux"))
    return "mp" in image.info or in_heif or getattr(image, "is_animated", False)


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _without_pictures(xmp: bytes) -> bytes:
    """XMP of an upright photo, without pictures in base64; nothing of a packet that is not in UTF-8."""
    if b"\0" in xmp.rstrip(b"\0"):
        return b""
    upright = re.sub(rb"""(tiff:Orientation(?:>|=["']))\d""", rb"\g<1>1", xmp.rstrip(b"\0"))
    return _TEXT_PICTURE.sub(lambda match: match[0] if len(match[0]) < 1024 else b"", upright)
