"""The photo: pixels, and what is remembered of the file that they came from."""

from dataclasses import dataclass, field, replace
from numbers import Real
from pathlib import Path

import numpy as np
from PIL import Image

from faceveil.errors import SettingError, UnreadablePhotoError, UnwritablePhotoError
from faceveil.files import one_line, publish
from faceveil.photo.colors import Alpha, from_image, is_colorless, on_white, to_image, to_srgb
from faceveil.photo.encoding import DEFAULTS
from faceveil.photo.files import Readable, read
from faceveil.photo.formats import OPAQUE, format_named
from faceveil.photo.reading import decode
from faceveil.photo.sharing import resize
from faceveil.photo.source import Source
from faceveil.photo.writing import encode
from faceveil.types import Pixels

MAX_PIXELS = 100_000_000


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo, upright, in 8-bit RGB and in its own color space.

    `pixels` is a [height, width, 3] array and `alpha` a [height, width] one (255 is opaque). A `gray` photo has no
    color in it, and a cloak puts none there. `notes` are what a person should know about how it is written.
    """

    pixels: Pixels = field(repr=False)
    alpha: Alpha | None = field(default=None, repr=False)
    gray: bool = False
    source: Source = field(default_factory=Source)
    notes: tuple[str, ...] = ()
    path: Path | None = None

    @classmethod
    def open(cls, source: Readable, max_pixels: int = MAX_PIXELS) -> "Photo":
        """Reads a JPEG, PNG, WebP, TIFF, BMP, HEIC or AVIF from a path, from its bytes or from a binary stream.

        Raises `UnreadablePhotoError` for everything that is not one photo of at most `max_pixels`, and `SettingError`
        for another kind of source, or a limit that is no number of pixels.
        """
        if not isinstance(max_pixels, Real) or not max_pixels >= 1:
            raise SettingError(f"max_pixels is {max_pixels!r}; it is a number of pixels, 1 or more")
        path = Path(source) if isinstance(source, str | Path) else None
        try:
            return cls(*decode(read(source), max_pixels), path=path)
        except UnreadablePhotoError as error:
            name = "the photo" if path is None else one_line(path)
            raise UnreadablePhotoError(f"{name}: {error}") from error

    @classmethod
    def from_array(cls, array: object) -> "Photo":
        """A photo of a copy of 8-bit levels, RGB [height, width, 3] or gray [height, width]; written as PNG.

        They are an array, or what NumPy makes one of, such as an image of Pillow's in mode RGB or L. Raises
        `SettingError` for anything else.

        >>> Photo.from_array(np.zeros((3, 4), np.uint8))
        Photo(gray=True, source=Source(format='PNG', gray=True, dpi=None), notes=(), path=None)
        """
        if isinstance(array, Image.Image) and array.mode not in ("RGB", "L"):
            raise SettingError(f"an image in mode {array.mode} is no photo; give image.convert('RGB')")
        try:
            given = np.asarray(array)
        except (TypeError, ValueError, RuntimeError) as error:
            raise SettingError(f"{type(array).__name__} is no photo ({one_line(error)})") from error
        if given.dtype != np.uint8 or given.ndim not in (2, 3) or given.shape[2:] not in ((), (3,)) or given.size == 0:
            found = f"an array of {given.dtype} {list(given.shape)} is no photo"
            raise SettingError(f"{found}; give uint8 [height, width, 3] or [height, width]")
        flat = given.ndim == 2
        pixels = np.stack([given] * 3, axis=-1) if flat else np.array(given, order="C")
        return cls(pixels, gray=flat or is_colorless(pixels), source=Source(gray=flat))

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """In pixels."""
        return int(self.pixels.shape[1])

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.width, self.height

    @property
    def format(self) -> str:
        """The format that it is written in: one of `SUFFIXES`."""
        return self.source.format

    def with_pixels(self, pixels: np.ndarray) -> "Photo":
        """The same photo with a copy of other uint8 pixels of the same size, which have no color where it has none."""
        if pixels.dtype != np.uint8 or pixels.shape != self.pixels.shape:
            found = f"the pixels are {pixels.dtype} {list(pixels.shape)}"
            raise SettingError(f"{found}; this photo's are uint8 {list(self.pixels.shape)}")
        if self.gray and not is_colorless(pixels):
            raise SettingError("the photo is gray, the pixels are not; give red, green and blue the same values")
        return replace(self, pixels=pixels.copy())

    def smaller(self, longest: int) -> "Photo":
        """A copy whose longer side is at most so many pixels, by Lanczos's filter; the photo itself where it is.

        Raises `SettingError` for less than one pixel.
        """
        if longest < 1:
            raise SettingError(f"longest is {longest}; it is a number of pixels, 1 or more")
        if max(self.size) <= longest:
            return self
        whole = resize(self.pixels if self.alpha is None else np.dstack([self.pixels, self.alpha]), longest)
        height, width = whole.shape[:2]
        return replace(
            self,
            pixels=np.ascontiguousarray(whole[..., :3]),
            alpha=None if self.alpha is None else whole[..., 3],
            source=replace(self.source, exif=self.source.exif.upright(width, height)),
        )

    def converted(self, format: str) -> "Photo":
        """The photo as it will be written in a format: on white and in sRGB where the format holds nothing else."""
        name, notes = format_named(format), list(self.notes)
        source = self.source if name == self.format else replace(self.source, format=name, options=DEFAULTS[name])
        pixels, alpha = self.pixels, self.alpha
        if alpha is not None and name in OPAQUE:
            pixels, alpha = on_white(pixels, alpha), None
            notes.append(f"its transparency became white, because {name} has none")
        if source.icc and not _holds_profile(name, source):
            pixels, _ = from_image(to_srgb(to_image(pixels, gray=source.gray), source.icc))
            if self.gray:
                pixels = np.repeat(pixels[..., 1:2], 3, axis=-1)  # the transform rounds channels apart
            source = replace(source, icc=b"")
        return replace(self, pixels=pixels, alpha=alpha, source=source, notes=tuple(notes))

    def encode(self, format: str | None = None, keep_metadata: bool = False) -> bytes:
        """The bytes of a file, in the photo's own format or another one.

        EXIF and XMP are left out unless asked for, and BMP holds none; a thumbnail in them is made anew from these
        pixels. Raises `UnwritablePhotoError` where the format cannot hold the photo.
        """
        photo = self.converted(format or self.format)
        return encode(photo.pixels, photo.alpha, photo.source, keep_metadata=keep_metadata)

    def save(
        self, path: str | Path, format: str | None = None, keep_metadata: bool = False, force: bool = False
    ) -> Path:
        """Writes a file, whole or not at all, in the given format or else the one that the path's suffix names.

        Its own where the path has no suffix. Makes missing folders. Raises `UnwritablePhotoError` where the file exists
        (unless `force`), or cannot be written, and `SettingError` for the suffix of no format.
        """
        path = Path(path)
        named = format or (format_named(path.suffix) if path.suffix else None)
        try:
            data = self.encode(named, keep_metadata)
        except UnwritablePhotoError as error:
            raise UnwritablePhotoError(f"{one_line(path)}: {error}") from error
        publish(data, path, force=force)
        return path


def _holds_profile(format: str, source: Source) -> bool:
    return format != "BMP" and not (format == "WEBP" and source.gray)
