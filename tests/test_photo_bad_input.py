import io
import os
import struct
import sys
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import photos
from faceveil.errors import UnreadablePhotoError, UnwritablePhotoError
from faceveil.photo import MAX_PIXELS, Photo
from photos import FORMATS, chunk, encoded, mean_difference, names, png, ramp, read, scene, telling


def test_says_what_is_wrong_with_a_path(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no photo")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    for name, message in {
        "missing.jpg": "does not exist; give the path of a photo",
        "": "is a folder; give the path of a photo",
        "pipe.jpg": "is not a file; give the path of a photo",
        "empty.jpg": r"is empty \(0 bytes\); copy or download it again",
        "text.jpg": "is no photo in a known format; save it as one of JPEG, PNG, WEBP, TIFF, BMP, HEIF, AVIF",
        "text.jpg/me.jpg": "does not exist",
        "a\0b.jpg": "does not exist",
        "two\nlines.jpg": "does not exist",
        "long" * 100: "",
        "loop.jpg": "",
    }.items():
        with pytest.raises(UnreadablePhotoError, match=rf"^[^\n]*: [^\n]*{message}[^\n]*$"):
            Photo.open(tmp_path / name)


def test_says_that_a_file_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "me.jpg").write_bytes(encoded(scene(), "JPEG"))
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(UnreadablePhotoError, match=r"me\.jpg: cannot be read \(Permission denied\); check its path"):
        Photo.open(tmp_path / "me.jpg")


def test_reads_a_stream_that_cannot_seek() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: object) -> int:
            raise OSError

    np.testing.assert_array_equal(Photo.open(Pipe(encoded(scene(), "PNG"))).pixels, scene())


@pytest.mark.parametrize("format", FORMATS)
def test_refuses_a_photo_over_the_limit(format: str) -> None:
    data = encoded(scene(), format)
    assert read(data, max_pixels=48 * 64).size == (64, 48)
    with pytest.raises(UnreadablePhotoError, match=r"has 64 x 48 = 0\.0 million pixels.*raise it with --max-pixels"):
        read(data, max_pixels=48 * 64 - 1)


def test_refuses_a_bomb_before_it_takes_memory() -> None:
    bomb = png(60000, 60000, 8, 2, bytes(1 << 20))
    with pytest.raises(UnreadablePhotoError, match=r"60000 x 60000 = 3600\.0 million pixels, the limit is 100\.0"):
        read(bomb)


def test_refuses_other_bombs() -> None:
    tiff = bytearray(encoded(scene(), "TIFF"))
    start = int.from_bytes(tiff[4:8], "little")
    for entry in range(start + 2, start + 2 + 12 * 20, 12):
        if tiff[entry : entry + 2] in (b"\x00\x01", b"\x01\x01"):
            tiff[entry + 8 : entry + 12] = struct.pack("<L", 60000)
    webp = bytearray(encoded(np.dstack([scene(), ramp()]), "WEBP"))
    webp[24:30] = b"\xff\x3f\0" * 2
    jpeg = bytearray(encoded(scene(), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65000, 65000)
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(20 << 20)))
    profile = chunk(b"iCCP", b"ICC\0\0" + zlib.compress(bytes(20 << 20)))
    small = encoded(scene(), "PNG")
    scans = encoded(scene(), "JPEG", progressive=True) + b"\xff\xda" * 200
    for bomb in (tiff, webp, jpeg, small[:33] + text + small[33:], small[:33] + profile + small[33:], scans):
        with pytest.raises(UnreadablePhotoError):
            read(bytes(bomb))


def test_a_large_photo_may_be_allowed_and_warns_of_nothing() -> None:
    data = encoded(Image.new("L", (10000, 9200)), "PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(data, max_pixels=MAX_PIXELS).size == (10000, 9200)


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_refuses_several_pictures_in_one_file(format: str) -> None:
    frames = [Image.fromarray(scene(seed=seed)) for seed in range(3)]
    with pytest.raises(UnreadablePhotoError, match="is animated or has several pages; save the picture"):
        read(encoded(frames[0], format, save_all=True, append_images=frames[1:]))


def test_takes_the_main_picture_of_a_heic() -> None:
    stream, pictures = io.BytesIO(), pillow_heif.from_pillow(Image.fromarray(scene()))
    pictures.add_from_pillow(Image.fromarray(255 - scene()))
    pictures.save(stream)
    photo = read(stream.getvalue())
    assert mean_difference(photo.pixels, scene()) < 8
    assert photo.notes == ("other pictures in the file (such as depth or HDR) are left out",)


@pytest.mark.parametrize("format", ["GIF", "ICO", "PPM", "TGA", "JPEG2000", "PDF", "EPS", "DDS", "ICNS"])
def test_refuses_other_formats(format: str) -> None:
    with pytest.raises(UnreadablePhotoError, match="save it as one of JPEG, PNG, WEBP, TIFF, BMP, HEIF, AVIF"):
        read(encoded(Image.fromarray(scene(64, 64)), format))


def test_refuses_a_cameras_raw_file() -> None:
    with pytest.raises(UnreadablePhotoError, match="raw file; export it"):
        read(encoded(scene(), "TIFF", tiffinfo={50706: b"\1\4\0\0"}))


def test_heic_without_its_library_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(scene(), "HEIF")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UnreadablePhotoError, match=r'run in a clone of faceveil: pip install "\.\[heif\]"'):
        read(data)
    with pytest.raises(UnwritablePhotoError, match=r'run in a clone of faceveil: pip install "\.\[heif\]"'):
        Photo.from_array(scene()).encode("heic")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_refuses_a_truncated_file(format: str, part: float) -> None:
    data = encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), format)
    with pytest.raises(UnreadablePhotoError, match="copy or download it again"):
        read(data[: int(len(data) * part)])


def test_reads_many_photos_at_once() -> None:
    data = [encoded(scene(seed=seed), "PNG") for seed in range(16)]
    before = list(warnings.filters)
    results: dict[int, np.ndarray] = {}
    threads = [
        threading.Thread(target=lambda seed=seed: results.update({seed: read(data[seed]).pixels}))
        for seed in range(len(data))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((results[seed] == scene(seed=seed)).all() for seed in range(len(data)))
    assert warnings.filters == before


# Files that nobody meant to write

SAMPLES = {
    "jpeg": telling("JPEG"),
    "progressive": encoded(scene(), "JPEG", progressive=True),
    "cmyk": encoded(Image.fromarray(scene()).convert("CMYK"), "JPEG", icc_profile=photos.cmyk_profile()),
    "mpo": encoded(Image.fromarray(scene()), "MPO", save_all=True, append_images=[Image.fromarray(scene())]),
    "png": telling("PNG"),
    "interlaced palette": encoded(Image.fromarray(scene()).quantize(16), "PNG", transparency=3),
    "deep png": png(8, 8, 16, 0, b"\0" * (8 * 17)),
    "webp": telling("WEBP"),
    "lossless webp": encoded(np.dstack([scene(), ramp()]), "WEBP", lossless=True),
    "tiff": telling("TIFF"),
    "packed tiff": encoded(scene(), "TIFF", compression="tiff_lzw"),
    "bmp": encoded(scene(), "BMP"),
    "heic": telling("HEIF"),
    "avif": telling("AVIF"),
}


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A sample with bytes changed, removed, repeated or added, mostly near its start where the headers are."""
    data = bytearray(SAMPLES[draw(st.sampled_from(sorted(SAMPLES)))])
    for _ in range(draw(st.integers(1, 4))):
        last = max(len(data) - 1, 0)
        start = draw(st.integers(0, min(400, last)) | st.integers(0, last))
        end = start + draw(st.integers(1, 64))
        match draw(st.sampled_from(["flip", "write", "cut", "drop", "repeat", "extend", "extreme"])):
            case "flip" if data:
                data[start] ^= 1 << draw(st.integers(0, 7))
            case "write":
                data[start:end] = draw(st.binary(max_size=16))
            case "cut":
                del data[max(start, 1) :]
            case "drop":
                del data[max(start, 1) : end]
            case "repeat":
                data[start:end] = data[start:end] * 3
            case "extend":
                data += draw(st.binary(max_size=64))
            case "extreme":
                data[start : start + 4] = draw(st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"]))
    return bytes(data)


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    data=mutated() | st.binary(min_size=1, max_size=64), suffix=st.sampled_from([".jpg", ".png", ".heic", ".txt", ""])
)
def test_a_damaged_file_is_a_photo_or_one_line(
    data: bytes, suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    place = folder / f"me{suffix}"
    place.write_bytes(data)
    try:
        photo = Photo.open(place)
    except UnreadablePhotoError as error:
        assert "\n" not in str(error) and str(error).startswith(f"{place}: ") and ";" in str(error)
    else:
        assert photo.pixels.dtype == np.uint8 and photo.pixels.shape == (photo.height, photo.width, 3)
        for keep in (False, True):
            try:
                assert read(photo.encode(keep_metadata=keep)).size == photo.size
            except UnwritablePhotoError as error:
                assert "\n" not in str(error)
    assert place.read_bytes() == data
    assert names(folder) == [place.name]


def test_a_photo_that_does_not_fit_into_memory_is_not_called_damaged(tmp_path, monkeypatch):
    def fail(self):
        raise MemoryError

    photo = tmp_path / "large.png"
    photo.write_bytes(png(1, 1, 8, 2, b"\0\1\2\3"))
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(UnreadablePhotoError, match=r"large\.png: does not fit into memory; save it smaller$"):
        Photo.open(photo)


def test_a_tiff_of_tiles_much_larger_than_itself_is_refused() -> None:
    side = 5000
    data = zlib.compress(bytes(side * side), 9)
    numbers = {256: 10, 257: 10, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side, 324: 134, 325: len(data)}
    entries = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in numbers.items())
    with pytest.raises(UnreadablePhotoError, match="has tiles that are larger than the picture; save it again"):
        Photo.open(b"II*\0" + struct.pack("<LH", 8, len(numbers)) + entries + bytes(4) + data)


def test_a_jpeg_of_very_many_exif_blocks_is_refused_at_once() -> None:
    data = encoded(scene(), "JPEG")
    assert Photo.open(photos.with_segments(data, *[(0xE1, b"Exif\0\0")] * 100)).size == (64, 48)
    with pytest.raises(UnreadablePhotoError, match="is a JPEG of more than 100 EXIF blocks; save it again"):
        Photo.open(photos.with_segments(data, *[(0xE1, b"Exif\0\0")] * 101))
