import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

import photos
from faceveil.errors import SettingError, UnreadablePhotoError
from faceveil.photo import Photo, format_named, format_of, jpeg, resize
from photos import (
    FORMATS,
    LOSSLESS,
    chunk,
    decoded,
    encoded,
    image,
    mean_difference,
    png,
    ramp,
    read,
    scene,
    with_segments,
)


@pytest.mark.parametrize("format", LOSSLESS)
def test_reads_and_writes_the_very_pixels(format: str) -> None:
    photo = read(encoded(scene(), format))
    np.testing.assert_array_equal(photo.pixels, scene())
    assert (photo.format, photo.size, photo.gray, photo.alpha, photo.notes) == (format, (64, 48), False, None, ())
    changed = photo.with_pixels(255 - scene())
    np.testing.assert_array_equal(decoded(changed.encode()), 255 - scene())


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_comes_back_as_itself(format: str) -> None:
    photo = read(encoded(scene(), format, quality=90))
    assert photo.format == format
    assert mean_difference(photo.pixels, scene()) < 4
    again = read(photo.encode())
    assert (again.format, again.size) == (format, (64, 48))
    assert mean_difference(again.pixels, photo.pixels) < 2


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 20}])
def test_reads_a_jpeg_as_pillow_does(options: dict) -> None:
    data = encoded(scene(), "JPEG", **options)
    np.testing.assert_array_equal(read(data).pixels, decoded(data))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "BMP", "HEIF", "AVIF"])
def test_a_grayscale_file_stays_grayscale(format: str) -> None:
    photo = read(encoded(scene()[..., 1], format))
    assert photo.gray and photo.source.gray
    assert (np.ptp(photo.pixels, axis=-1) == 0).all()
    assert image(photo.encode()).mode == "L"
    assert np.isclose(photo.pixels[..., 0].astype(float), scene()[..., 1], atol=0 if format in LOSSLESS else 8).all()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_photo_without_color_is_gray_though_its_file_has_three_channels(format: str) -> None:
    photo = read(encoded(np.stack([scene()[..., 1]] * 3, axis=-1), format, quality=100))
    assert photo.gray and not photo.source.gray
    assert image(photo.encode()).mode == "RGB"


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "HEIF", "AVIF"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_keeps_transparency(format: str, mode: str) -> None:
    source = Image.fromarray(scene()).convert(mode)
    source.putalpha(Image.fromarray(ramp()))
    photo = read(encoded(source, format, quality=95))
    assert photo.alpha is not None
    np.testing.assert_allclose(photo.alpha.astype(int), ramp().astype(int), atol=0 if format in LOSSLESS else 4)
    again = read(photo.encode())
    assert again.alpha is not None
    np.testing.assert_allclose(again.alpha.astype(int), photo.alpha.astype(int), atol=4)


def test_reads_a_palette() -> None:
    palette = Image.fromarray(scene()).quantize(16)
    np.testing.assert_array_equal(read(encoded(palette, "PNG")).pixels, np.asarray(palette.convert("RGB")))


def test_reads_a_palette_with_transparency() -> None:
    palette = Image.fromarray((scene()[..., 0] > 127).astype(np.uint8), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    photo = read(encoded(palette, "PNG", transparency=bytes([0, 128])))
    bright = scene()[..., 0] > 127
    np.testing.assert_array_equal(photo.alpha, np.where(bright, 128, 0))
    np.testing.assert_array_equal(photo.pixels[bright][0], [40, 50, 60])


def test_reads_a_color_that_stands_for_transparency() -> None:
    data = encoded(scene(), "PNG", transparency=tuple(int(level) for level in scene()[3, 4]))
    np.testing.assert_array_equal(read(data).alpha == 0, (scene() == scene()[3, 4]).all(axis=-1))


def test_reads_one_bit() -> None:
    bits = scene()[..., 0] > 127
    photo = read(encoded(Image.fromarray(bits), "PNG"))
    np.testing.assert_array_equal(photo.pixels, np.stack([bits * 255] * 3, axis=-1))
    assert photo.gray


@pytest.mark.parametrize("kind", [0, 2, 4, 6])
def test_takes_the_upper_eight_of_sixteen_bits(kind: int) -> None:
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[kind]
    deep = np.random.default_rng(1).integers(0, 1 << 16, (6, 5, channels)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in deep)
    photo = read(png(5, 6, 16, kind, rows))
    levels = (deep >> 8).astype(np.uint8)
    colors = levels[..., :3] if channels >= 3 else levels[..., [0, 0, 0]]
    np.testing.assert_array_equal(photo.pixels, colors)
    if channels in (2, 4):
        np.testing.assert_array_equal(photo.alpha, levels[..., -1])
    assert photo.notes == ("its 16 bits per channel are written as 8",)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_a_tiff_keeps_its_compression(compression: str) -> None:
    photo = read(encoded(scene(), "TIFF", compression=compression))
    np.testing.assert_array_equal(photo.pixels, scene())
    assert image(photo.encode()).info["compression"] == compression


@pytest.mark.parametrize("order", ["<", ">"])
def test_reads_a_tiff_of_sixteen_bits(order: str) -> None:
    deep = (scene()[..., 1].astype(np.uint16) * 257).astype(order + "u2")
    photo = read(encoded(Image.frombytes("I;16" if order == "<" else "I;16B", (64, 48), deep.tobytes()), "TIFF"))
    np.testing.assert_array_equal(photo.pixels[..., 0], scene()[..., 1])
    assert photo.gray and photo.notes


@pytest.mark.parametrize("mode", ["F", "I"])
def test_refuses_32_bits(mode: str) -> None:
    with pytest.raises(UnreadablePhotoError, match="32 bits per channel; save it with 8 or 16"):
        read(encoded(Image.fromarray(scene()[..., 0]).convert(mode), "TIFF"))


def test_reads_lab_colors() -> None:
    lab = ImageCms.profileToProfile(
        Image.fromarray(scene()), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    photo = read(encoded(lab, "TIFF"))
    assert mean_difference(photo.pixels, scene()) < 4
    assert photo.notes == ("its LAB colors are written as RGB",)


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_converts_cmyk_without_a_profile(format: str) -> None:
    inks = np.zeros((8, 8, 4), np.uint8)
    inks[:4, :, 1], inks[4:, :, 3] = 255, 102
    photo = read(encoded(Image.frombytes("CMYK", (8, 8), inks.tobytes()), format, quality=100))
    np.testing.assert_allclose(photo.pixels[0, 0].astype(int), [255, 0, 255], atol=2)
    np.testing.assert_allclose(photo.pixels[7, 7].astype(int), 255 - 102, atol=2)
    assert photo.notes == ("its CMYK colors are written as RGB",)
    assert image(photo.encode()).mode == "RGB"


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_converts_cmyk_by_its_profile(format: str) -> None:
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    photo = read(encoded(cyan, format, quality=100, icc_profile=photos.cmyk_profile()))
    np.testing.assert_allclose(photo.pixels.astype(int), 119, atol=2)  # Lab 50 0 0 is 119 in sRGB
    assert photo.source.icc == b""


def test_reads_the_first_picture_of_a_phones_jpeg() -> None:
    first, second = Image.fromarray(scene()), Image.fromarray(255 - scene())
    data = encoded(first, "MPO", save_all=True, append_images=[second])
    photo = read(data)
    assert photo.format == "JPEG"
    assert mean_difference(photo.pixels, scene()) < 8
    assert photo.notes == ("other pictures in the file (such as depth or HDR) are left out",)
    assert photo.encode().count(b"\xff\xd8\xff") == 1


# Orientation

TURNED: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # from upright to stored, by the EXIF standard's table
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: upright.transpose(1, 0, 2)[::-1],
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: upright.transpose(1, 0, 2)[:, ::-1],
}


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_turns_a_photo_upright(orientation: int, format: str) -> None:
    stored = np.ascontiguousarray(TURNED[orientation](scene()))
    tag = Image.Exif()
    tag[ExifTags.Base.Orientation] = orientation
    photo = read(encoded(stored, format, quality=95, exif=tag))
    assert photo.size == (64, 48)
    assert mean_difference(photo.pixels, scene()) < 4
    if format in LOSSLESS:
        np.testing.assert_array_equal(photo.pixels, scene())
    for keep in (False, True):
        written = image(photo.encode(keep_metadata=keep))
        assert written.getexif().get(ExifTags.Base.Orientation, 1) == 1
        assert written.size == (64, 48)


@pytest.mark.parametrize("orientation", TURNED)
def test_turns_a_heic_upright_once(orientation: int) -> None:
    tag = Image.Exif()
    tag[ExifTags.Base.Orientation] = orientation
    stored = np.ascontiguousarray(TURNED[orientation](scene()))
    photo = read(encoded(stored, "HEIF", quality=95, exif=tag.tobytes()))
    assert mean_difference(photo.pixels, scene()) < 4
    assert mean_difference(read(photo.encode(keep_metadata=True)).pixels, scene()) < 6


@pytest.mark.parametrize(
    "damaged", [b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0nonsense"]
)
def test_damaged_exif_does_not_cost_the_photo(damaged: bytes) -> None:
    data = with_segments(encoded(scene(), "JPEG"), (0xE1, damaged))
    np.testing.assert_array_equal(read(data).pixels, decoded(encoded(scene(), "JPEG")))
    assert read(read(data).encode(keep_metadata=True)).size == (64, 48)


# Colors and encoding as in the source


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_keeps_the_color_profile(format: str) -> None:
    data = encoded(scene(), format, icc_profile=photos.SRGB)
    kept = image(read(data).encode()).info["icc_profile"]
    picture = Image.fromarray(scene())
    np.testing.assert_array_equal(photos.in_lab(picture, kept), photos.in_lab(picture, photos.SRGB))


def test_a_png_keeps_what_its_colors_mean_without_a_profile() -> None:
    colors = chunk(b"gAMA", struct.pack(">I", 100000)) + chunk(b"cHRM", struct.pack(">8I", *range(30000, 30008)))
    data = encoded(scene(), "PNG")
    written = read(data[:33] + colors + data[33:]).encode()
    assert colors in written


@pytest.mark.parametrize("dpi", [72, 300])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "BMP"])
def test_keeps_the_print_size(format: str, dpi: int) -> None:
    written = read(encoded(scene(), format, dpi=(dpi, dpi))).encode()
    assert image(written).info["dpi"] == pytest.approx((dpi, dpi), abs=0.1)


@pytest.mark.parametrize("quality", [90, 93, 97, 100])
@pytest.mark.parametrize("sampling", [0, 1, 2])
def test_a_fine_jpeg_keeps_its_tables(quality: int, sampling: int) -> None:
    source = Image.open(io.BytesIO(encoded(scene(), "JPEG", quality=quality, subsampling=sampling)))
    written = image(read(encoded(scene(), "JPEG", quality=quality, subsampling=sampling)).encode())
    assert [written.quantization[table] for *_, table in written.layer] == [
        source.quantization[table] for *_, table in source.layer
    ]
    assert [layer[:3] for layer in written.layer] == [layer[:3] for layer in source.layer]


@pytest.mark.parametrize("quality", [1, 50, 75, 89])
@pytest.mark.parametrize("gray", [False, True])
def test_a_coarse_jpeg_is_written_at_quality_90(quality: int, gray: bool) -> None:
    source = scene()[..., 0] if gray else scene()
    written = image(read(encoded(source, "JPEG", quality=quality)).encode())
    assert written.quantization == image(encoded(source, "JPEG", quality=90)).quantization


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_stays_progressive_or_not(progressive: bool) -> None:
    written = image(read(encoded(scene(), "JPEG", progressive=progressive)).encode())
    assert bool(written.info.get("progressive")) is progressive


def test_writing_a_jpeg_again_hardly_changes_it() -> None:
    photo = read(encoded(scene(), "JPEG", quality=95, subsampling=0))
    assert mean_difference(read(photo.encode()).pixels, photo.pixels) < 0.2


def test_a_lossless_webp_stays_lossless() -> None:
    image = Image.fromarray(np.dstack([scene(), ramp()]))
    photo = read(encoded(image, "WEBP", lossless=True, exact=True))
    again = read(photo.encode())
    np.testing.assert_array_equal(again.pixels, scene())
    np.testing.assert_array_equal(again.alpha, ramp())


@pytest.mark.parametrize(("sampling", "flags"), [("4:2:0", 0b1100), ("4:4:4", 0)])
def test_an_avif_keeps_its_chroma(sampling: str, flags: int) -> None:
    written = read(encoded(scene(), "AVIF", subsampling=sampling)).encode()
    assert written[written.index(b"av1C") + 6] & 0b1100 == flags


@pytest.mark.parametrize("chroma", [420, 444])
def test_a_heic_keeps_its_chroma(chroma: int) -> None:
    assert image(read(encoded(scene(), "HEIF", chroma=chroma)).encode()).info["chroma"] == chroma


# Another format


@pytest.mark.parametrize("format", ["JPEG", "BMP"])
def test_transparency_becomes_white_where_there_is_none(format: str) -> None:
    photo = read(encoded(np.dstack([scene(), ramp()]), "PNG")).converted(format)
    part = ramp()[..., None] / 255
    np.testing.assert_allclose(photo.pixels, scene() * part + 255 * (1 - part), atol=0.51)
    assert photo.alpha is None
    assert photo.notes == (f"its transparency became white, because {format} has none",)
    assert mean_difference(read(photo.encode()).pixels, photo.pixels) < 3


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", FORMATS)
def test_converts_between_all_formats(source: str, target: str) -> None:
    photo = read(encoded(scene(), source, quality=95))
    again = read(photo.encode(target.lower()))
    assert again.format == target
    assert mean_difference(again.pixels, photo.pixels) < 4


def in_srgb(light: np.ndarray) -> np.ndarray:
    """The levels of parts of white's light, by sRGB's curve."""
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * 255


def test_a_format_without_profiles_gets_srgb() -> None:
    profile = photos.linear_gray_profile()
    photo = read(encoded(scene()[..., 0], "PNG", icc_profile=profile))
    for format in ("BMP", "WEBP"):
        converted = photo.converted(format)
        np.testing.assert_allclose(converted.pixels[..., 0], in_srgb(scene()[..., 0] / 255), atol=0.51)
        assert converted.source.icc == b""
    kept = photo.converted("tiff").source.icc
    gray = Image.fromarray(scene()[..., 0])
    np.testing.assert_array_equal(photos.in_lab(gray, kept), photos.in_lab(gray, profile))


def test_a_photo_without_color_has_none_in_srgb() -> None:
    levels = np.tile(np.arange(256, dtype=np.uint8), (8, 1))
    gray = np.stack([levels] * 3, axis=-1)
    converted = read(encoded(gray, "PNG", icc_profile=photos.adobe_rgb_profile())).converted("bmp")
    assert converted.gray and converted.source.icc == b""
    expected = in_srgb((gray / 255) ** (563 / 256))
    np.testing.assert_allclose(converted.pixels, expected, atol=0.6)
    np.testing.assert_array_equal(decoded(converted.with_pixels(converted.pixels).encode()), converted.pixels)


def test_names_formats() -> None:
    assert [format_named(name) for name in ("jpg", "JPEG", ".heic", "tif")] == ["JPEG", "JPEG", "HEIF", "TIFF"]
    assert format_of(Path("a/b.WebP")) == "WEBP"
    assert format_of(Path("a/b")) is None
    with pytest.raises(SettingError, match="'gif' is not a format of photos; choose one of jpeg, png"):
        format_named("gif")


# Making photos


def test_makes_a_photo_of_an_array() -> None:
    photo = Photo.from_array(scene())
    assert (photo.format, photo.gray, photo.width, photo.height) == ("PNG", False, 64, 48)
    np.testing.assert_array_equal(decoded(photo.encode()), scene())
    gray = Photo.from_array(scene()[..., 0])
    assert gray.gray and image(gray.encode()).mode == "L"


@pytest.mark.parametrize(
    "array", [scene() / 255, scene()[None], np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)]
)
def test_refuses_an_array_that_is_no_photo(array: np.ndarray) -> None:
    with pytest.raises(SettingError, match=r"give uint8 \[height, width, 3\]"):
        Photo.from_array(array)


def test_refuses_pixels_that_do_not_fit() -> None:
    photo = Photo.from_array(scene())
    for pixels in (scene()[:-1], scene().astype(np.float32)):
        with pytest.raises(SettingError, match=r"this photo's are uint8 \[48, 64, 3\]"):
            photo.with_pixels(pixels)
    with pytest.raises(SettingError, match="the photo is gray, the pixels are not"):
        Photo.from_array(scene()[..., 0]).with_pixels(scene())


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_recompresses_as_pillow_does(quality: int) -> None:
    np.testing.assert_array_equal(jpeg(scene(), quality), decoded(encoded(scene(), "JPEG", quality=quality)))


@pytest.mark.parametrize("alpha", [False, True])
def test_a_smaller_copy_is_what_pillow_makes_of_it(alpha: bool) -> None:
    whole = np.dstack([scene(), ramp()]) if alpha else scene()
    small = read(encoded(whole, "PNG")).smaller(32)
    expected = np.asarray(Image.fromarray(whole).resize((32, 24), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(small.pixels, expected[..., :3])
    assert small.size == (32, 24)
    if alpha:
        np.testing.assert_array_equal(small.alpha, expected[..., 3])
    again = read(small.encode())
    assert again.size == (32, 24) and (again.alpha is not None) == alpha


def test_a_photo_that_is_small_enough_is_not_made_smaller() -> None:
    photo = read(encoded(scene(), "PNG"))
    assert photo.smaller(64) is photo
    with pytest.raises(SettingError, match="longest is 0"):
        photo.smaller(0)


def test_resizes_by_the_longer_side() -> None:
    expected = Image.fromarray(scene(60, 40)).resize((20, 30), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(resize(scene(60, 40), 30), np.asarray(expected))
    np.testing.assert_array_equal(resize(scene(60, 40), 60), scene(60, 40))
    assert resize(scene(1, 100), 10).shape == (1, 10, 3)


def test_a_treatment_of_a_large_photo_is_no_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pixels were read by the limit of ours already; Pillow warns beyond one of its own, and refuses twice that."""
    expected = jpeg(scene(), 75)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    np.testing.assert_array_equal(jpeg(scene(), 75), expected)
