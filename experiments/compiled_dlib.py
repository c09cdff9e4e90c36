"""The recognizer that people run: compiled dlib, with its own detector and alignment, as `face_recognition` uses it."""

from importlib.util import find_spec
from pathlib import Path

import dlib
import numpy as np
from PIL import Image

MODELS = Path(find_spec("face_recognition_models").submodule_search_locations[0]) / "models"
DETECTOR = dlib.get_frontal_face_detector()
PREDICTOR = dlib.shape_predictor(str(MODELS / "shape_predictor_5_face_landmarks.dat"))
RECOGNIZER = dlib.face_recognition_model_v1(str(MODELS / "dlib_face_recognition_resnet_model_v1.dat"))


def open_rgb(path: Path) -> np.ndarray:
    return np.array(Image.open(path).convert("RGB"))


def embed(pixels: np.ndarray) -> np.ndarray | None:
    """The embedding of the face nearest to the photo's center; None where dlib finds none."""
    pixels = np.ascontiguousarray(pixels)
    center = np.array(pixels.shape[1::-1]) / 2
    boxes = sorted(
        DETECTOR(pixels, 1), key=lambda box: np.hypot(box.center().x - center[0], box.center().y - center[1])
    )
    if not boxes:
        return None
    return np.array(RECOGNIZER.compute_face_descriptor(pixels, PREDICTOR(pixels, boxes[0])))
