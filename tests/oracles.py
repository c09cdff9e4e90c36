"""Independent programs that give expected values: dlib as compiled from C++."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import dlib
import numpy as np
from numpy.typing import NDArray

# dlib/image_transforms/interpolation.h: outer and inner corner of each eye and the nose's base, as shares of the face
DLIB_FIVE_POINTS = np.array(
    [
        (0.8595674595992, 0.2134981538014),
        (0.6460604764104, 0.2289674387677),
        (0.1205750620789, 0.2137274526848),
        (0.3340850613712, 0.2290642403242),
        (0.4901123135679, 0.6277975316475),
    ]
)


def model(name: str) -> str:
    spec = find_spec("face_recognition_models")
    assert spec is not None
    assert spec.submodule_search_locations
    return str(Path(spec.submodule_search_locations[0]) / "models" / name)


@cache
def _recognizer() -> dlib.face_recognition_model_v1:
    return dlib.face_recognition_model_v1(model("dlib_face_recognition_resnet_model_v1.dat"))


def dlib_embeddings(chips: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Embeddings [n, 128] of chips [n, 150, 150, 3]."""
    return np.array([_recognizer().compute_face_descriptor(chip) for chip in chips], np.float32)


def dlib_chip(photo: NDArray[np.uint8], points: NDArray[np.int_]) -> NDArray[np.uint8]:
    """The face with those five points (dlib's: pixel centers at integers), cut by dlib."""
    parts = [dlib.point(int(x), int(y)) for x, y in points]
    chip = dlib.get_face_chip(photo, dlib.full_object_detection(dlib.rectangle(0, 0, 9, 9), parts), 150, 0.25)
    return np.asarray(chip)


def dlib_place(matrix: NDArray[np.float64], halvings: int, size: int = 150) -> NDArray[np.float64]:
    """Where dlib cuts a chip for which one asks: a box that is a pixel smaller, a quarter of each halved pixel off."""
    linear, center = matrix[:, :2], np.full(2, size / 2)
    step = np.sqrt(np.linalg.det(linear))
    smaller = linear * (size - 1 / step) / (size - 1)
    off = (2**halvings - 1) / 2 * np.array([-1, 1])
    return np.column_stack([smaller, matrix[:, 2] + (linear - smaller) @ center + off])


def dlib_embedding(photo: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The embedding of a photo's first face, found, aligned and embedded by dlib alone."""
    photo = np.ascontiguousarray(photo)
    (box, *_) = dlib.get_frontal_face_detector()(photo, 1)
    points = dlib.shape_predictor(model("shape_predictor_5_face_landmarks.dat"))(photo, box)
    return np.array(_recognizer().compute_face_descriptor(photo, points))
