"""Encoding: the encoder's options that write a photo as its source was written, and never coarser than quality 90."""

from collections.abc import Mapping
from typing import Any

from PIL.AvifImagePlugin import AvifImageFile
from PIL.ExifTags import Base
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile, get_sampling
from PIL.PngImagePlugin import PngImageFile, PngInfo
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

Options = Mapping[str, Any]

DEFAULTS: Mapping[str, Options] = {
    "JPEG": {"quality": 95, "subsampling": "4:4:4", "optimize": True},
    "PNG": {"compress_level": 4},  # smaller than 6 on photos, and in half the time
    "WEBP": {"quality": 95},
    "TIFF": {"compression": "tiff_lzw"},
    "BMP": {},
    "HEIF": {"quality": 90, "chroma": 444, "enc_params": {"preset": "ultrafast"}},
    "AVIF": {"quality": 90, "subsampling": "4:4:4", "speed": 8},
}
"""For a photo whose source had another format, or tells nothing of its encoding."""

_FINE = (736, 1110)  # the sums of the standard quantization tables at quality 90: luminance, chrominance
_LOSSLESS = ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "zstd", "lzma")
_COLORS = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"cICP": 4}  # bytes; in what is longer anything may hide


def options_like(image: ImageFile, data: bytes) -> Options:
    """The options that encode in a photo's own format as the file in `data` was encoded."""
    own: Options = {}
    match image:
        case JpegImageFile():
            own = _jpeg(image)
        case PngImageFile():
            own = {"pnginfo": _png_colors(data)}
        case WebPImageFile() if b"VP8L" in _webp_chunks(data):
            own = {"lossless": True, "exact": True, "quality": 20, "method": 2}  # here they mean effort
        case TiffImageFile() if image.info["compression"] in _LOSSLESS:
            own = {"compression": image.info["compression"]}
        case AvifImageFile() if _av1_flags(data) & 0b1100 == 0b1100:
            own = {"subsampling": "4:2:0"}
        case _ if "chroma" in image.info:  # HEIF
            own = {"chroma": image.info["chroma"]}
    return {**DEFAULTS[str(image.format)], **own}


def depth(image: ImageFile, data: bytes) -> int:
    """The bits per channel of the file in `data`."""
    match image:
        case PngImageFile():
            return data[24]
        case TiffImageFile():
            return int(max(image.tag_v2.get(Base.BitsPerSample, (1,))))
        case AvifImageFile():
            return 10 if _av1_flags(data) & 0b1000000 else 8
    return int(image.info.get("bit_depth", 8))  # HEIF tells


def _jpeg(image: JpegImageFile) -> Options:
    sampling = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}.get(get_sampling(image), "4:4:4")
    own = {"quality": 90, "subsampling": sampling, "progressive": "progressive" in image.info}
    tables = [image.quantization.get(table, []) for *_, table in image.layer]
    sums = [sum(table) or max(_FINE) for table in tables]
    if len(tables) in (1, 3) and sums[0] <= _FINE[0] and max(sums[1:], default=0) <= _FINE[1]:
        own |= {"quality": -1, "qtables": tables}
    return own


def _png_colors(data: bytes) -> PngInfo:
    """The chunks that say how colors look, which a profile does not repeat."""
    kept, start = PngInfo(), 8
    while (name := data[start + 4 : start + 8]) not in (b"IDAT", b""):
        length = int.from_bytes(data[start : start + 4])
        if _COLORS.get(name) == length:
            kept.add(name, data[start + 8 : start + 8 + length])
        start += 12 + length
    return kept


def _webp_chunks(data: bytes) -> set[bytes]:
    names, start = set(), 12
    while name := data[start : start + 4]:
        names.add(name)
        length = int.from_bytes(data[start + 4 : start + 8], "little")
        start += 8 + length + length % 2
    return names


def _av1_flags(data: bytes) -> int:
    """The third byte of an AVIF's decoder configuration: profile, depth, and at 0b1100 the halving of chroma."""
    start = data.find(b"av1C")
    return data[start + 6] if start >= 0 else 0
