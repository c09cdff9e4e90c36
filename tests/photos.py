"""Photos for the tests, and files of them that are made and looked at without faceveil."""

import base64
import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image, ImageCms

from faceveil.photo import Photo

FORMATS = ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "HEIF", "AVIF"]
LOSSLESS = ["PNG", "TIFF", "BMP"]
SECRET = b"SECRET-OF-THE-SOURCE"
D50 = struct.pack(">3l", 63190, 65536, 54061)  # the white of a profile's connection space
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def scene(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """A smooth colored picture without any symmetry, uint8 [height, width, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def ramp(height: int = 48, width: int = 64) -> np.ndarray:
    """An alpha channel from transparent to opaque, uint8 [height, width]."""
    return np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))


def encoded(image: Image.Image | np.ndarray, format: str, **options: Any) -> bytes:
    """The file that Pillow (or pillow-heif) writes."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    stream = io.BytesIO()
    if format == "HEIF":
        pillow_heif.from_pillow(image).save(stream, **options)
    else:
        image.save(stream, format, **options)
    return stream.getvalue()


def decoded(data: bytes) -> np.ndarray:
    """The RGB that Pillow reads, as the file stores it."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def image(data: bytes) -> Image.Image:
    """As a viewer opens it; HEIC by its own library."""
    if data[4:8] == b"ftyp" and b"hei" in data[8:32]:
        return pillow_heif.open_heif(io.BytesIO(data)).to_pillow()
    opened = Image.open(io.BytesIO(data))
    opened.load()
    return opened


def read(data: bytes, **options: int) -> Photo:
    """The photo in a file's bytes."""
    return Photo.open(io.BytesIO(data), **options)


def mean_difference(one: np.ndarray, other: np.ndarray) -> float:
    """In 8-bit levels."""
    return float(np.abs(one.astype(float) - other).mean())


def names(folder: Path) -> list[str]:
    """Everything in a folder."""
    return sorted(path.name for path in folder.iterdir())


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int, kind: int, rows: bytes) -> bytes:
    """A PNG by hand; `kind` is its color type, and each row begins with a filter byte."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def with_segments(jpeg: bytes, *segments: tuple[int, bytes]) -> bytes:
    """A JPEG with these segments (marker, content) after its first two bytes."""
    inserted = b"".join(struct.pack(">BBH", 0xFF, marker, 2 + len(content)) + content for marker, content in segments)
    return jpeg[:2] + inserted + jpeg[2:]


def exif(orientation: int = 1, thumbnail: bytes = b"", order: str = "<") -> bytes:
    """An EXIF block by hand: orientation, a camera's serial number, a maker note, a position and a thumbnail."""
    serial, note = SECRET + b"-SERIAL\0", SECRET + b"-MAKER\0\xff\xd8\xff"
    tag, at = order + "HHLL", {"exif": 8 + 2 + 3 * 12 + 4}
    at["gps"] = at["exif"] + 2 + 3 * 12 + 4
    at["ifd1"] = at["gps"] + 2 + 2 * 12 + 4
    at["serial"] = at["ifd1"] + 2 + 3 * 12 + 4
    at["note"] = at["serial"] + len(serial)
    at["latitude"] = at["note"] + len(note)
    at["thumbnail"] = at["latitude"] + 24
    short = struct.pack(order + "HH", orientation, 0)
    main = struct.pack(order + "HHL", 274, 3, 1) + short
    main += struct.pack(tag, 0x8769, 4, 1, at["exif"]) + struct.pack(tag, 0x8825, 4, 1, at["gps"])
    exposure = struct.pack(tag, 0x927C, 7, len(note), at["note"]) + struct.pack(tag, 0xA002, 4, 1, 1234)
    exposure += struct.pack(tag, 0xA431, 2, len(serial), at["serial"])
    gps = struct.pack(order + "HHL", 1, 2, 2) + b"N\0\0\0" + struct.pack(tag, 2, 5, 3, at["latitude"])
    small = struct.pack(order + "HHL", 259, 3, 1) + struct.pack(order + "HH", 6, 0)
    small += struct.pack(tag, 513, 4, 1, at["thumbnail"]) + struct.pack(tag, 514, 4, 1, len(thumbnail))
    directories = [(3, main, at["ifd1"] if thumbnail else 0), (3, exposure, 0), (2, gps, 0), (3, small, 0)]
    body = b"".join(
        struct.pack(order + "H", count) + entries + struct.pack(order + "L", following)
        for count, entries, following in directories
    )
    latitude = struct.pack(order + "6L", 48, 1, 51, 1, 29, 1)
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "L", 8)
    return b"Exif\0\0" + head + body + serial + note + latitude + thumbnail


def hostile_exif(tags: Sequence[int], order: str = ">") -> bytes:
    """A block whose entries, one for each tag, hold the same 4 KiB; the directories that it points at are itself."""
    pointers = b"".join(struct.pack(order + "HHLL", tag, 4, 1, 8) for tag in (0x8769, 0x8825))
    entries = b"".join(struct.pack(order + "HHLL", tag, 3, 2048, 0) for tag in tags)
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "LH", 8, 2 + len(tags))
    return (head + pointers + entries + bytes(4)).ljust(1 << 14, b"\0")


def base64_lines(data: bytes, separator: bytes) -> bytes:
    """Base64 in lines of 76 characters, as in XMP."""
    text = base64.b64encode(data)
    return separator.join(text[start : start + 76] for start in range(0, len(text), 76))


def profile(device: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile by hand."""
    start = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">L", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">LL", start + len(body), len(content))
        body += content.ljust(-(-len(content) // 4) * 4, b"\0")
    header = struct.pack(">L4sL4s4s4s", start + len(body), b"lcms", 0x02400000, device, space, connection)
    header += struct.pack(">6H4s", 2024, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + D50
    return header.ljust(128, b"\0") + table + body


def linear_gray_profile() -> bytes:
    """An ICC profile of gray levels that are proportional to light."""
    curve = b"curv" + bytes(8)
    return profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": curve, b"wtpt": b"XYZ " + bytes(4) + D50})


def adobe_rgb_profile(**others: bytes) -> bytes:
    """An ICC profile of Adobe RGB (1998), its primaries to three digits: grays are rounded apart in other spaces.

    It has other tags, too, where they are given.
    """
    curve = b"curv" + bytes(4) + struct.pack(">LH", 1, 563) + bytes(2)  # the power 563 / 256
    primaries = {b"rXYZ": (0.610, 0.311, 0.019), b"gXYZ": (0.205, 0.626, 0.061), b"bXYZ": (0.149, 0.063, 0.745)}
    tags = {
        name: struct.pack(">4s4x3l", b"XYZ ", *(round(n * 65536) for n in each)) for name, each in primaries.items()
    }
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return profile(
        b"mntr",
        b"RGB ",
        b"XYZ ",
        tags | {b"wtpt": b"XYZ " + bytes(4) + D50} | {name.encode(): content for name, content in others.items()},
    )


def in_lab(picture: Image.Image, icc: bytes) -> np.ndarray:
    """The colors that a picture has by a profile."""
    lab = ImageCms.createProfile("LAB")
    return np.asarray(ImageCms.profileToProfile(picture, io.BytesIO(icc), lab, outputMode="LAB"))


def cmyk_profile() -> bytes:
    """An ICC profile of a strange press: pure cyan prints middle gray (Lab 50 0 0), everything else as one expects."""
    corners = bytearray()
    for index in range(16):
        cyan, magenta, yellow, black = (index >> shift & 1 for shift in (3, 2, 1, 0))
        light = 0 if black else 50 if (cyan, magenta, yellow) == (1, 0, 0) else 100 - 30 * (cyan + magenta + yellow)
        corners += bytes([round(light * 255 / 100), 128, 128])
    identity = struct.pack(">9l", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + bytes(range(256)) * 4 + bytes(corners)
    table += bytes(range(256)) * 3
    return profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table})


def telling(format: str) -> bytes:
    """A file that says who took it and where, in every way that its format has."""
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><Regions>' + SECRET + b"-FACE</Regions></x:xmpmeta>"
    block = exif(thumbnail=encoded(scene(seed=9), "JPEG", comment=SECRET))
    if format == "TIFF":
        return encoded(scene(), "TIFF", exif=block, description=SECRET.decode(), artist=SECRET.decode())
    data = encoded(scene(), format, exif=block, xmp=xmp)
    if format == "PNG":
        text = chunk(b"tEXt", b"Author\0" + SECRET) + chunk(b"zTXt", b"Comment\0\0" + zlib.compress(SECRET))
        return data[:33] + text + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp) + data[33:]
    if format == "JPEG":
        resources = b"Photoshop 3.0\x008BIM\x04\x0c\0\0" + struct.pack(">L", len(SECRET)) + SECRET
        jfxx = b"JFXX\0\x10" + encoded(scene(seed=9), "JPEG", comment=SECRET)
        return with_segments(data, (0xE0, jfxx), (0xED, resources), (0xFE, SECRET), (0xE2, b"FPXR\0" + SECRET)) + SECRET
    return data
