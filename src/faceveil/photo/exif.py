"""EXIF as what it is: a few small TIFF directories, read and written.

Pillow's own writer loses the types of values, writes no thumbnail and no EXIF into a compressed TIFF, and copies maker
notes, which may hold a second picture. Here only described values are read, none longer than `LONGEST`, so that no
picture can hide in one.
"""

import re
from collections.abc import Container
from dataclasses import dataclass, field, replace
from struct import error, pack, unpack_from
from typing import NamedTuple

from PIL.ExifTags import GPS, IFD, Base

LONGEST = 4096  # bytes in one value

_BYTE, _SHORT, _LONG = 1, 3, 4
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # bytes of each TIFF type
_WORDS = _SIZES | {5: 4, 10: 4}  # a rational is two words
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_POINTERS = (IFD.Exif, IFD.GPSInfo)
_MAIN = {
    Base.ImageDescription, Base.Make, Base.Model, Base.Orientation, Base.XResolution, Base.YResolution,
    Base.ResolutionUnit, Base.Software, Base.DateTime, Base.Artist, Base.HostComputer, Base.WhitePoint,
    Base.PrimaryChromaticities, Base.YCbCrPositioning, Base.Rating, Base.RatingPercent, Base.Copyright,
    Base.XPTitle, Base.XPComment, Base.XPAuthor, Base.XPKeywords, Base.XPSubject,
}  # fmt: skip
_EXPOSURE = {Base.ExposureTime, Base.FNumber} | (
    {tag for tag in Base if Base.ExposureProgram <= tag <= Base.Gamma}
    - {Base.GPSInfo, Base.MakerNote, Base.ExifInteroperabilityOffset}
)
_ALL = range(1 << 16)


class Entry(NamedTuple):
    """One value of a directory: its TIFF type, and its bytes in little-endian order."""

    kind: int
    value: bytes


Directory = dict[int, Entry]


@dataclass(frozen=True)
class Exif:
    """What a camera wrote about a photo: the `main` directory, the `exposure`'s (called Exif), and the `gps`'s."""

    main: Directory = field(default_factory=dict)
    exposure: Directory = field(default_factory=dict)
    gps: Directory = field(default_factory=dict)
    has_thumbnail: bool = False

    @classmethod
    def read(cls, data: bytes) -> "Exif":
        """The described values of an EXIF block or a TIFF file; those that are damaged are left out."""
        tiff = re.sub(rb"^(Exif\0\0)+", b"", data)
        order = _ORDERS.get(tiff[:4])
        if order is None or len(tiff) < 8:
            return cls()
        (start,) = unpack_from(order + "L", tiff, 4)
        main, thumbnail = _directory(tiff, order, start, _MAIN | {*_POINTERS})
        exposure, _ = _directory(tiff, order, _number(main, IFD.Exif), _EXPOSURE)
        gps, _ = _directory(tiff, order, _number(main, IFD.GPSInfo), set(GPS))
        return cls(_only(main, _MAIN), exposure, gps, thumbnail != 0)

    @property
    def orientation(self) -> int:
        """1 to 8; 1 is upright, and 0 means that nothing is said."""
        return _number(self.main, Base.Orientation)

    def upright(self, width: int, height: int) -> "Exif":
        """The same, for a photo that was turned upright and has this size now."""
        size = {Base.ExifImageWidth: _long(width), Base.ExifImageHeight: _long(height)}
        exposure = self.exposure | {tag: entry for tag, entry in size.items() if tag in self.exposure}
        return replace(self, main=_only(self.main, _MAIN - {Base.Orientation}), exposure=exposure)

    def written(self, thumbnail: bytes = b"") -> bytes:
        """An EXIF block, with a JPEG as its thumbnail; empty where there is nothing to say."""
        if not (self.main or self.exposure or self.gps or thumbnail):
            return b""
        return b"Exif\0\0II*\0" + pack("<L", 8) + self._written_at(8, self.main, thumbnail)

    def added_to(self, tiff: bytes, xmp: bytes) -> bytes:
        """A little-endian TIFF file with these values in its directory, which moves to the file's end."""
        (start,) = unpack_from("<L", tiff, 4)
        own, _ = _directory(tiff, "<", start, _ALL, longest=len(tiff))
        main = self.main | own | ({Base.XMLPacket: Entry(_BYTE, xmp)} if xmp else {})
        end = len(tiff) + len(tiff) % 2
        return tiff[:4] + pack("<L", end) + tiff[8:].ljust(end - 8, b"\0") + self._written_at(end, main)

    def _written_at(self, start: int, main: Directory, thumbnail: bytes = b"") -> bytes:
        """The directories, one after the other from `start` on, the first of which is `main`."""
        parts = {tag: part for tag, part in zip(_POINTERS, (self.exposure, self.gps), strict=True) if part}
        main = main | dict.fromkeys(parts, _long(0))
        end, blocks = start + len(_block(main, start)), b""
        for tag, part in parts.items():
            main[tag] = _long(end + len(blocks))
            blocks += _block(part, end + len(blocks))
        following = end + len(blocks) if thumbnail else 0
        if thumbnail:
            small: Directory = {
                Base.Compression: Entry(_SHORT, pack("<H", 6)),  # JPEG
                Base.JpegIFOffset: _long(following + 2 + 3 * 12 + 4),
                Base.JpegIFByteCount: _long(len(thumbnail)),
            }
            blocks += _block(small, following) + thumbnail
        return _block(main, start, following) + blocks


def _long(value: int) -> Entry:
    return Entry(_LONG, pack("<L", value))


def _number(directory: Directory, tag: int) -> int:
    """A value of one number; 0 where there is none."""
    entry = directory.get(tag)
    if entry is None or entry.kind not in (_SHORT, _LONG) or len(entry.value) > 4:
        return 0
    return int.from_bytes(entry.value, "little")


def _only(directory: Directory, tags: Container[int]) -> Directory:
    return {tag: entry for tag, entry in directory.items() if tag in tags}


def _directory(
    tiff: bytes, order: str, start: int, tags: Container[int], longest: int = LONGEST
) -> tuple[Directory, int]:
    """The entries with these tags of the directory at `start` (0 where there is none), and where the next one lies.

    Of a tag's values the first counts. Values that lie apart are together no longer than the file; what hostile entries
    hold beyond that, one over the other, is left out.
    """
    entries: Directory = {}
    if start == 0:
        return entries, 0
    room = len(tiff)
    try:
        (count,) = unpack_from(order + "H", tiff, start)
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, number, offset = unpack_from(order + "HHLL", tiff, place)
            size = _SIZES.get(kind, 0) * number
            offset = place + 8 if size <= 4 else offset
            if tag in tags and tag not in entries and 0 < size <= min(longest, room, len(tiff) - offset):
                entries[tag] = Entry(kind, _little(tiff[offset : offset + size], kind, order))
                room -= size
        (following,) = unpack_from(order + "L", tiff, start + 2 + 12 * count)
    except error:
        return entries, 0
    return entries, following


def _little(value: bytes, kind: int, order: str) -> bytes:
    width = _WORDS[kind]
    if order == "<" or width == 1:
        return value
    return b"".join(value[start : start + width][::-1] for start in range(0, len(value), width))


def _block(directory: Directory, start: int, following: int = 0) -> bytes:
    """A directory to be placed at `start`, and after it the values that do not fit into it."""
    head, values = pack("<H", len(directory)), b""
    for tag, (kind, value) in sorted(directory.items()):
        head += pack("<HHL", tag, kind, len(value) // _SIZES[kind])
        if len(value) <= 4:
            head += value.ljust(4, b"\0")
        else:
            head += pack("<L", start + 2 + 12 * len(directory) + 4 + len(values))
            values += value + b"\0" * (len(value) % 2)
    return head + pack("<L", following) + values
