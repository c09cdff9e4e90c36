from functools import cache

import dlib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from faceveil.errors import SettingError
from faceveil.faces import detect
from faceveil.faces.detect import Candidates, Detector, Face
from oracles import model
from people import portrait

Array = np.ndarray

MIRRORED = [1, 0, 2, 4, 3]  # the mirror image of a left eye is a right eye


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector()


def shrunk(photo: Array, side: int) -> Array:
    return np.asarray(Image.fromarray(photo).resize((side, side)))


def noise(*shape: int) -> Array:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)


def geometry(face: Face) -> Array:
    """Box and landmarks as points [7, 2]."""
    return np.array([face.box[:2], face.box[2:], *face.landmarks])


def mirrored(face: Face, width: int) -> Array:
    """A face of the mirrored photo, put back."""
    (left, top, right, bottom), landmarks = face.box, np.array(face.landmarks)[MIRRORED]
    landmarks[:, 0] = width - landmarks[:, 0]
    return np.array([(width - right, top), (width - left, bottom), *landmarks])


def width_of(face: Face) -> float:
    return face.box[2] - face.box[0]


@cache
def predictor() -> dlib.shape_predictor:
    return dlib.shape_predictor(model("shape_predictor_68_face_landmarks.dat"))


def dlib_points(photo: Array, face: Face) -> Array:
    """Eyes (the mean of six points), nose and mouth corners where dlib sees them, from a box as it would give."""
    left, top, right, bottom = face.box
    x, y, half = (left + right) / 2, top + 0.55 * (bottom - top), 0.57 * (right - left)
    shape = predictor()(photo, dlib.rectangle(*(round(edge) for edge in (x - half, y - half, x + half, y + half))))
    points = np.array([(part.x + 0.5, part.y + 0.5) for part in shape.parts()])
    return np.array([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])


def test_finds_a_face_and_its_landmarks(detector):
    (face,) = detector([portrait()])[0]
    assert face.score > 0.99
    assert np.abs(np.array(face.landmarks) - dlib_points(portrait(), face)).max() < 0.04 * width_of(face)


def test_finds_the_mirror_image_in_the_mirrored_place(detector):
    (face,) = detector([portrait()])[0]
    (image,) = detector([portrait()[:, ::-1]])[0]
    apart = np.abs(mirrored(image, 320) - geometry(face)) / width_of(face)
    assert apart[:2].max() < 0.05  # the box
    assert apart[2:].max() < 0.01


def test_moves_with_the_face(detector):
    (face,) = detector([portrait()])[0]
    (moved,) = detector([np.pad(portrait(), ((11, 0), (37, 0), (0, 0)), mode="reflect")])[0]
    apart = np.abs(geometry(moved) - [37, 11] - geometry(face)) / width_of(face)
    assert apart[:2].max() < 0.05  # the box
    assert apart[2:].max() < 0.01


def test_finds_faces_of_all_sizes_the_largest_first(detector):
    sides = [700, 320, 210, 140, 100, 80]  # the face's longer side is a third of it: 24 pixels and more
    crowd = np.full((700, 1600, 3), 110, np.uint8)
    for number, side in enumerate(sides):
        left = 0 if number == 0 else 400 + 300 * ((number - 1) % 3 + 1)
        top = 0 if number < 4 else 350
        crowd[top : top + side, left : left + side] = shrunk(portrait(), side)
    (alone,) = detector([portrait()])[0]
    found = detector([crowd])[0]
    assert [round(width_of(face) / width_of(alone) * 320, -1) for face in found] == pytest.approx(sides, rel=0.1)


def test_each_photo_is_searched_as_if_alone(detector):
    photos = [portrait(), noise(64, 80), shrunk(portrait(), 500), portrait()[:, ::-1], shrunk(portrait(), 90)]
    together = detector(photos)
    for photo, faces in zip(photos, together, strict=True):
        (alone,) = detector([photo])
        assert len(alone) == len(faces)
        for one, other in zip(alone, faces, strict=True):
            np.testing.assert_allclose(geometry(one), geometry(other), atol=1e-3)
    assert [len(faces) for faces in together] == [1, 0, 1, 1, 1]


def test_finds_the_same_twice(detector):
    assert detector([portrait()]) == detector([portrait()])


def test_tiles_and_chunks_leave_no_trace(detector, monkeypatch):
    (whole,) = detector([portrait()])
    monkeypatch.setattr(detect, "TILE", 64)
    monkeypatch.setattr(detect, "CHUNK", 7)
    (tiled,) = detector([portrait()])
    np.testing.assert_allclose(geometry(tiled[0]), geometry(whole[0]), atol=1e-3)


@pytest.mark.parametrize("shape", [(0, 0), (0, 9), (1, 1), (23, 23), (24, 24), (25, 31), (10, 5000), (5000, 24)])
def test_photos_too_small_or_too_narrow_hold_no_face(detector, shape):
    assert detector([noise(*shape)]) == [[]]


def test_finds_a_face_in_a_long_strip(detector):
    strip = np.full((160, 6000, 3), 90, np.uint8)
    strip[:, 5000:5160] = shrunk(portrait(), 160)
    (face,) = detector([strip])[0]
    assert 5000 < face.box[0] < face.box[2] < 5160


def test_no_photos_no_faces(detector):
    assert detector([]) == []


def test_noise_is_no_face(detector):
    assert detector([noise(500, 500)]) == [[]]


@pytest.mark.parametrize("min_size", [11, -1, float("nan")])
def test_refuses_sizes_that_the_networks_cannot_see(min_size):
    with pytest.raises(SettingError, match="give 12 pixels or more"):
        Detector(min_size=min_size)


boxes = st.tuples(st.integers(0, 1), *[st.integers(0, 20)] * 2, *[st.integers(1, 20)] * 2, st.floats(0, 1, width=32))


def shared(one: Array, other: Array, nested: bool) -> float:
    """Intersection over union, or over the smaller, counted in pixels."""
    first, second = np.zeros((2, 40, 40), bool)
    first[one[1] : one[3], one[0] : one[2]] = second[other[1] : other[3], other[0] : other[2]] = True
    return (first & second).sum() / (min(first.sum(), second.sum()) if nested else (first | second).sum())


@given(st.lists(boxes, max_size=12, unique_by=lambda box: box[-1]), st.booleans())
@settings(deadline=None, max_examples=50)
def test_keeps_the_best_of_those_that_overlap(drawn, nested):
    drawn = sorted(drawn, key=lambda box: -box[-1])
    edges = [np.array([x, y, x + w, y + h]) for _, x, y, w, h, _ in drawn]
    kept = []
    for i, (photo, *_) in enumerate(drawn):
        if all(photo != drawn[j][0] or shared(edges[i], edges[j], nested) <= 0.7 for j in kept):
            kept.append(i)
    columns = np.array(drawn).reshape(-1, 6)
    found = Candidates(
        torch.tensor(columns[:, 0]).long(),
        torch.tensor(np.array(edges).reshape(-1, 4)).float(),
        torch.tensor(columns[:, 5]).float(),
        torch.zeros(len(drawn), 0, 2),
    )
    assert found.distinct(nested).scores.tolist() == [drawn[i][-1] for i in kept]


@pytest.mark.zoo
def test_finds_the_face_that_a_photo_is_of(detector, shared):
    files = sorted((shared / "data" / "lfw" / "photos").glob("*/*.jpg"))[::52]
    for faces in detector([np.asarray(Image.open(file)) for file in files]):
        boxes = np.array([face.box for face in faces]).reshape(-1, 4)
        height = boxes[:, 3] - boxes[:, 1]
        around = (boxes[:, :2] < 125).all(1) & (boxes[:, 2:] > 125).all(1)
        assert (around & (height > 60) & (height < 200)).any()


@pytest.mark.zoo
def test_landmarks_are_not_shifted(detector, shared):
    photos = [np.asarray(Image.open(file)) for file in sorted((shared / "data" / "london").glob("*/*.jpg"))[16::6]]
    faces = [found[0] for found in detector(photos)]
    images = [found[0] for found in detector([photo[:, ::-1] for photo in photos])]
    widths = np.array([width_of(face) for face in faces])[:, None]
    halves = [
        (geometry(face) - mirrored(image, photo.shape[1]))[2:].mean(0) / 2
        for photo, face, image in zip(photos, faces, images, strict=True)
    ]
    assert np.abs(np.mean(halves / widths, 0)).max() < 1e-3
    apart = [
        np.array(face.landmarks) - dlib_points(photo, face) for photo, face in zip(photos, faces, strict=True)
    ] / widths[..., None]
    assert np.abs(apart.mean((0, 1))).max() < 0.01  # all five
    assert np.abs(apart[:, :2].mean((0, 1))).max() < 0.02  # dlib's eyes are the middle of the lids, a little lower
