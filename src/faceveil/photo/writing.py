"""Writing: from pixels to a file's bytes."""

import io
from copy import deepcopy
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from faceveil.errors import UnwritablePhotoError
from faceveil.files import one_line
from faceveil.photo.colors import Alpha, to_image
from faceveil.photo.source import Source
from faceveil.types import Pixels

JPEG_SIDE = 65_500  # pixels that a JPEG may be wide or high


def encode(pixels: Pixels, alpha: Alpha | None, source: Source, *, keep_metadata: bool) -> bytes:
    """A file like the source; `UnwritablePhotoError` where its format cannot hold the photo."""
    image = to_image(pixels, alpha, gray=source.gray)
    options = dict(source.options) | _given(icc_profile=source.icc, dpi=source.dpi)
    if source.gray:
        options.pop("subsampling", None)  # of chroma, which an encoder would add to have it
    if keep_metadata:
        options |= _metadata(image, source)
    try:
        data = _saved(image, source.format, options)
    except (OSError, ValueError, RuntimeError) as error:
        found = f"{image.width} x {image.height} pixels cannot be written as {source.format} ({one_line(error)})"
        do = "choose another --format" + (", or leave out --keep-metadata" if keep_metadata else "")
        raise UnwritablePhotoError(f"{found}; {do}") from error
    return source.exif.added_to(data, source.xmp) if keep_metadata and source.format == "TIFF" else data


def _saved(image: Image.Image, format: str, options: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    if format == "HEIF":
        _save_heif(image, stream, options)
        return stream.getvalue()
    try:
        image.save(stream, format, **options)
    except OSError:
        if format != "JPEG" or max(image.size) > JPEG_SIDE:
            raise
        stream = io.BytesIO()  # much grain is larger than the buffer that Pillow has for these two
        image.save(stream, format, **{**options, "optimize": False, "progressive": False})
    return stream.getvalue()


def _metadata(image: Image.Image, source: Source) -> dict[str, Any]:
    """The encoder's options that write EXIF, with a thumbnail of this image where there was one, and XMP."""
    exif = source.exif.written(_thumbnail(image) if source.exif.has_thumbnail else b"")
    match source.format:
        case "PNG":
            chunks = PngInfo()
            chunks.chunks += source.options["pnginfo"].chunks if "pnginfo" in source.options else []
            if source.xmp:
                chunks.add_itxt("XML:com.adobe.xmp", source.xmp)
            return {"exif": exif, "pnginfo": chunks}
        case "TIFF":
            return {}  # added to the file
    return _given(exif=exif, xmp=source.xmp)


def _given(**options: object) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value}


def _thumbnail(image: Image.Image) -> bytes:
    """A JPEG of 160 x 120 at most, as EXIF wants it."""
    small, stream = image.convert("RGB"), io.BytesIO()
    small.thumbnail((160, 120))
    small.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def _save_heif(image: Image.Image, stream: io.BytesIO, options: dict[str, Any]) -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise UnwritablePhotoError(
            'HEIC needs an encoder; run in a clone of faceveil: pip install ".[heif]"'
        ) from error
    pillow_heif.from_pillow(image).save(stream, **deepcopy(options))  # it writes into its options
