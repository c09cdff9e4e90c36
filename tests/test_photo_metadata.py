import struct

import numpy as np
import pytest
from PIL import ExifTags, Image

import faceveil.photo.exif as exif_module
import photos
from faceveil.errors import UnwritablePhotoError
from faceveil.photo.profile import anonymous
from photos import (
    FORMATS,
    SECRET,
    chunk,
    decoded,
    encoded,
    exif,
    hostile_exif,
    image,
    mean_difference,
    read,
    scene,
    telling,
)

PROFILES = [photos.adobe_rgb_profile(), photos.linear_gray_profile(), photos.cmyk_profile()]


@pytest.mark.parametrize("format", [format for format in FORMATS if format != "BMP"])
def test_strips_what_tells_on_a_person(format: str) -> None:
    data = telling(format)
    assert SECRET in data
    written = read(data).encode()
    assert SECRET not in written
    assert not image(written).info.get("xmp")
    assert not ({ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo} & set(image(written).getexif()))


@pytest.mark.parametrize("format", [format for format in FORMATS if format != "BMP"])
def test_keeps_metadata_on_demand(format: str) -> None:
    photo = read(telling(format))
    tags = image(photo.encode(keep_metadata=True)).getexif()
    assert tags.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.BodySerialNumber] == SECRET.decode() + "-SERIAL"
    assert tags.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] == (48, 51, 29)
    assert tags.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExifImageWidth] == 64  # the source says 1234
    if format != "TIFF":
        assert SECRET + b"-FACE" in image(photo.encode(keep_metadata=True)).info["xmp"]


def test_metadata_of_a_smaller_copy_tells_its_size() -> None:
    photo = read(encoded(scene(), "JPEG", exif=exif())).smaller(32)
    tags = image(photo.encode(keep_metadata=True)).getexif().get_ifd(ExifTags.IFD.Exif)
    assert (tags[ExifTags.Base.ExifImageWidth], photo.size) == (32, (32, 24))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("format", [format for format in FORMATS if format != "BMP"])
def test_metadata_moves_to_another_format(format: str, order: str) -> None:
    photo = read(encoded(scene(), "JPEG", exif=exif(orientation=6, order=order), xmp=b"<x>kept</x>"))
    written = image(photo.encode(format, keep_metadata=True))
    assert written.getexif().get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] == (48, 51, 29)
    assert written.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ExifImageWidth] == 48
    assert written.info["xmp"].rstrip(b"\0") == b"<x>kept</x>"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "HEIF", "AVIF"])
def test_a_kept_thumbnail_shows_the_written_pixels(format: str) -> None:
    source = encoded(scene(), "JPEG", exif=exif(thumbnail=encoded(scene(), "JPEG")))
    photo = read(source).with_pixels(255 - scene())
    block = image(photo.encode(format, keep_metadata=True)).info["exif"].removeprefix(b"Exif\0\0")
    tags = Image.Exif()
    tags.load(block)
    entry = tags.get_ifd(ExifTags.IFD.IFD1)
    start = entry[ExifTags.Base.JpegIFOffset]
    thumbnail = block[start : start + entry[ExifTags.Base.JpegIFByteCount]]
    assert mean_difference(decoded(thumbnail), 255 - scene()) < 8


def test_a_photo_without_a_thumbnail_gets_none() -> None:
    written = read(encoded(scene(), "JPEG", exif=exif())).encode(keep_metadata=True)
    assert written.count(b"\xff\xd8\xff") == 1


def test_a_picture_inside_xmp_does_not_survive() -> None:
    lines = [photos.base64_lines(encoded(scene(seed=9), "JPEG"), separator) for separator in (b"", b"\n", b"&#xA;")]
    for text in lines:
        xmp = b'<li xmpGImg:image="' + text + b'" dc:title="kept" tiff:Orientation="6"/>'
        written = read(encoded(scene(), "JPEG", xmp=xmp)).encode(keep_metadata=True)
        assert image(written).info["xmp"] == b'<li xmpGImg:image="" dc:title="kept" tiff:Orientation="1"/>'


HOSTILE = {
    "nobody asked for": [*range(0x4000, 0x8000), ExifTags.Base.Make],
    "one and the same": [ExifTags.Base.Artist] * 3000 + [ExifTags.Base.Make],
    "all that are read": [*ExifTags.Base, *ExifTags.GPS],
}


@pytest.mark.parametrize("tags", HOSTILE.values(), ids=HOSTILE)
def test_of_hostile_exif_no_more_is_copied_than_it_holds(tags: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    copied, little = [], exif_module._little

    def counted(value: bytes, kind: int, order: str) -> bytes:
        copied.append(len(value))
        return little(value, kind, order)

    monkeypatch.setattr(exif_module, "_little", counted)
    block = hostile_exif(tags)
    assert ExifTags.Base.Make in exif_module.Exif.read(block).main  # for which the others leave room
    assert sum(copied) <= 3 * len(block)  # once for each directory


def test_of_a_tiffs_own_directory_no_more_is_copied_than_the_file_holds() -> None:
    tiff = hostile_exif(range(0x4000, 0x5000), "<")
    assert len(exif_module.Exif().added_to(tiff, b"")) < 3 * len(tiff)


def test_a_pointer_of_many_numbers_costs_the_photo_nothing() -> None:
    many = struct.pack(">HHHLL", 1, ExifTags.IFD.Exif, 4, 100, 8) + bytes(4) + b"\1" * 400
    photo = read(encoded(scene(), "PNG", exif=b"Exif\0\0MM\0*" + struct.pack(">L", 8) + many))
    np.testing.assert_array_equal(photo.pixels, scene())


def test_metadata_that_does_not_fit_is_an_error_that_says_so() -> None:
    photo = read(encoded(scene(), "WEBP", xmp=b"<x>" + b"many words " * 7000 + b"</x>"))
    with pytest.raises(UnwritablePhotoError, match=r"XMP data is too long.*choose another --format, or leave out"):
        photo.encode("jpeg", keep_metadata=True)


@pytest.mark.parametrize(("length", "kept"), [(4096, True), (4097, False)])
def test_no_picture_can_hide_in_a_value(length: int, kept: bool) -> None:
    tags = Image.Exif()
    tags[ExifTags.Base.Artist] = "somebody"
    tags.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = SECRET.ljust(length, b"x")
    written = read(encoded(scene(), "JPEG", exif=tags)).encode(keep_metadata=True)
    assert image(written).getexif()[ExifTags.Base.Artist] == "somebody"
    assert (SECRET in written) == kept


@pytest.mark.parametrize(("name", "length"), [(b"gAMA", 4), (b"cHRM", 32), (b"sRGB", 1), (b"cICP", 4)])
def test_nothing_hides_behind_what_a_png_says_of_its_colors(name: bytes, length: int) -> None:
    data = encoded(scene(), "PNG")
    written = read(data[:33] + chunk(name, bytes(length) + SECRET) + data[33:]).encode()
    assert SECRET not in written


@pytest.mark.parametrize("keep_metadata", [False, True])
def test_a_color_profile_names_no_screen(keep_metadata: bool) -> None:
    named = photos.adobe_rgb_profile(mmod=SECRET) + SECRET  # a screen's maker, model and number, as Apple keeps them
    named = named[:48] + b"MAKEMODL" + named[56:]
    written = read(encoded(scene(), "PNG", icc_profile=named)).encode(keep_metadata=keep_metadata)
    kept = image(written).info["icc_profile"]
    assert not any(told in kept for told in (SECRET, b"MAKE", b"MODL"))


@pytest.mark.parametrize("profile", [photos.SRGB, *PROFILES])
def test_a_color_profile_means_the_same_colors_without_its_names(profile: bytes) -> None:
    mode = {"GRAY": "L", "RGB ": "RGB", "CMYK": "CMYK"}[profile[16:20].decode()]
    levels = np.random.default_rng(0).integers(
        0, 256, (32, 32, len(Image.new(mode, (1, 1)).getbands())), dtype=np.uint8
    )
    picture = Image.fromarray(levels.squeeze(), mode)
    np.testing.assert_array_equal(photos.in_lab(picture, anonymous(profile)), photos.in_lab(picture, profile))


@pytest.mark.parametrize("damaged", [b"", bytes(200), photos.SRGB[:140], photos.SRGB[:128] + b"\xff" * 40])
def test_a_damaged_color_profile_is_none(damaged: bytes) -> None:
    assert anonymous(damaged) == b""
