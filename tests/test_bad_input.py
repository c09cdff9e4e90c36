"""Whatever is in a file, `protect` ends in a written photo or in one line, and touches no other file."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faceveil import Photo, Protector
from faceveil.batch import Writing, protect_files
from faceveil.jobs import plan
from people import portrait
from photos import FORMATS, encoded, png, scene


@pytest.fixture(scope="module")
def protector() -> Protector:
    made = Protector()
    made.method = replace(made.method, steps=2)
    return made


FACES = [encoded(portrait()[::2, ::2], format) for format in FORMATS]
OTHERS = [encoded(scene(32, 40), format) for format in FORMATS]
MODES = [encoded(Photo.from_array(scene()).pixels[..., 0], format) for format in ("JPEG", "PNG", "TIFF")]
HUGE = [png(60000, 60000, 8, 2, b""), png(1, 4_000_000, 8, 0, b""), png(0, 5, 8, 2, b"")]
SUFFIXES = (".jpg", ".png", ".webp", ".tif", ".bmp", ".heic", ".avif", ".JPG")


@st.composite
def files(draw):
    data = bytearray(draw(st.sampled_from(FACES + OTHERS + MODES + HUGE)))
    kind = draw(st.sampled_from(("whole", "cut", "flipped", "longer", "filled", "spliced", "noise")))
    at = draw(st.integers(0, max(len(data) - 1, 0)))
    if kind == "cut":
        del data[at:]
    elif kind == "flipped":
        for _ in range(draw(st.integers(1, 8))):
            data[draw(st.integers(0, len(data) - 1))] ^= 1 << draw(st.integers(0, 7))
    elif kind == "longer":
        data += draw(st.binary(max_size=300))
    elif kind == "filled":
        data[at : at + 40] = bytes([draw(st.integers(0, 255))]) * len(data[at : at + 40])
    elif kind == "spliced":
        data[at:] = draw(st.sampled_from(FACES + OTHERS))[at:]
    elif kind == "noise":
        data = bytearray(draw(st.binary(max_size=200)))
    return bytes(data), draw(st.sampled_from(SUFFIXES)), draw(st.sampled_from((None, None, "jpeg", "png", "webp")))


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(file=files())
def test_every_file_ends_in_a_photo_or_in_one_line(protector, tmp_path_factory, file):
    data, suffix, format = file
    folder = tmp_path_factory.mktemp("photo")
    source, other = folder / f"me{suffix}", folder / "other.txt"
    source.write_bytes(data)
    other.write_text("untouched")
    jobs = plan([source], format=format)
    written = jobs[0].destination
    (outcome,) = protect_files(protector, jobs, Writing(format, max_pixels=20_000_000))
    assert source.read_bytes() == data
    assert other.read_text() == "untouched"
    if outcome.status == "cloaked":
        assert {path.name for path in folder.iterdir()} == {source.name, other.name, written.name}
        assert Photo.open(written).size == outcome.clear.size
    else:
        assert outcome.status in ("failed", "faceless")
        assert outcome.error
        assert "\n" not in outcome.error
        assert {path.name for path in folder.iterdir()} == {source.name, other.name}


@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (4000, 1), (23, 23), (300, 5)])
def test_photos_of_odd_shapes_have_no_face(protector, tmp_path, shape):
    source = Photo.from_array(np.zeros((*shape, 3), np.uint8)).save(tmp_path / "odd.png")
    (outcome,) = protect_files(protector, plan([source]))
    assert "no face found" in outcome.error


@pytest.mark.parametrize("data", FACES, ids=FORMATS)
def test_whole_photos_of_every_format_are_cloaked(protector, tmp_path, data):
    source = tmp_path / "me.jpg"
    source.write_bytes(data)
    (outcome,) = protect_files(protector, plan([source]))
    assert outcome.status == "cloaked"
