"""The formats of photos: their names, their suffixes, their first bytes, and the one decoder for each."""

import io
import re
from pathlib import Path

from PIL import AvifImagePlugin, BmpImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin
from PIL.ImageFile import ImageFile

from faceveil.errors import SettingError, UnreadablePhotoError

SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "HEIF": (".heic", ".heif", ".hif"),
    "AVIF": (".avif",),
}
"""The suffixes of each format, the usual one first."""

OPAQUE = ("JPEG", "BMP")
"""The formats that hold no transparency."""

_FORMATS = {suffix: name for name, suffixes in SUFFIXES.items() for suffix in suffixes}
_MAGIC = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "WEBP": rb"RIFF....WEBPVP8",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "BMP": rb"BM",
}
_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys(
    [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"], "HEIF"
)
_DECODERS: dict[str, type[ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}


def format_of(path: Path) -> str | None:
    """The format that a path's suffix names, if any.

    >>> format_of(Path("me.JPG")), format_of(Path("me.txt"))
    ('JPEG', None)
    """
    return _FORMATS.get(path.suffix.lower())


def format_named(name: str) -> str:
    """The format that a person calls by its name or its suffix; `SettingError` where there is none.

    >>> format_named("heic"), format_named(".jpg"), format_named("webp")
    ('HEIF', 'JPEG', 'WEBP')
    """
    found = name.upper() if name.upper() in SUFFIXES else _FORMATS.get("." + name.lower().removeprefix("."))
    if found is None:
        raise SettingError(f"{name!r} is not a format of photos; choose one of {', '.join(SUFFIXES).lower()}")
    return found


def sniff(data: bytes) -> str | None:
    """The format that a file's first bytes announce, if it is one of ours."""
    if data[4:8] == b"ftyp":
        box = data[: min(int.from_bytes(data[:4]), 256)]
        brands = {box[start : start + 4] for start in range(8, len(box), 4)} & _BRANDS.keys()
        return min((_BRANDS[brand] for brand in brands), default=None)
    return next((name for name, magic in _MAGIC.items() if re.match(magic, data, re.DOTALL)), None)


def opened(data: bytes) -> ImageFile:
    """A file's header, decoded by its own format's decoder and no other; the pixels follow with `load`."""
    name = sniff(data)
    if name is None:
        found = "is a GIF" if data.startswith(b"GIF8") else "is no photo in a known format"
        raise UnreadablePhotoError(f"{found}; save it as one of {', '.join(SUFFIXES)}")
    decoder = _heif_decoder() if name == "HEIF" else _DECODERS[name]
    return decoder(io.BytesIO(data))


def _heif_decoder() -> type[ImageFile]:
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise UnreadablePhotoError('is a HEIC photo; run in a clone of faceveil: pip install ".[heif]"') from error
    decoder: type[ImageFile] = HeifImageFile
    return decoder
