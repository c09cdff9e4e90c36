"""What is remembered of the file that a photo came from, so that it can be written likewise."""

from dataclasses import dataclass, field

from faceveil.photo.encoding import Options
from faceveil.photo.exif import Exif


@dataclass(frozen=True)
class Source:
    """A file's format and encoding, and what it says about the photo.

    A `gray` file holds one channel. `options` are those of its format's encoder. `exif` and `xmp` are written only
    on demand, and hold no pictures, which would show the face that a cloak hides.
    """

    format: str = "PNG"
    gray: bool = False
    icc: bytes = field(default=b"", repr=False)
    dpi: tuple[float, float] | None = None
    options: Options = field(default_factory=dict, repr=False)
    exif: Exif = field(default_factory=Exif, repr=False)
    xmp: bytes = field(default=b"", repr=False)
