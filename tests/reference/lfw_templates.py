"""Where our detector's landmarks lie in LFW's photos as some networks were shown them.

These networks had faces cut by other means than our detector's five landmarks. FaceNet and the VGGFace2 networks had a
detector's box with a margin; on LFW, whose photos are centered on the face, the crops that their weights do best on are
known (../shared/zoo/README.md): rows and columns 55 to 195 of 250 for FaceNet, 60 to 190 for the VGGFace2 MobileNet.
dlib's network had chips that dlib cuts by five landmarks of its own.

Prints the median of our detector's landmarks over all photos (of each, the face nearest to the center), as shares of
what the network saw. Run: python tests/reference/lfw_templates.py ../shared/data/lfw/photos
"""

import sys
from pathlib import Path

import dlib
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from faceveil.faces.align import similarity
from faceveil.faces.detect import Detector
from faceveil.faces.templates import dlib_chip
from oracles import DLIB_FIVE_POINTS, model

CROPS = {"facenet": (55, 195), "vggface2": (60, 190)}
PHOTOS = 32
CENTER = 125

Points = NDArray[np.float64]


def nearest(boxes: Points) -> int:
    """The box around the middle of the photo."""
    return int(np.abs(boxes.reshape(-1, 2, 2).mean(1) - CENTER).sum(1).argmin())


def in_chip(landmarks: Points, photo: NDArray[np.uint8]) -> Points | None:
    """The landmarks as shares of the chip that dlib cuts from the photo; none where dlib finds no face."""
    found = list(FACES(photo, 0))
    if not found:
        return None
    boxes = np.array([(face.left(), face.top(), face.right(), face.bottom()) for face in found], float)
    parts = LANDMARKS(photo, found[nearest(boxes)]).parts()
    theirs = torch.tensor([[(point.x + 0.5, point.y + 0.5) for point in parts]])
    matrix = similarity(theirs, dlib_chip(torch.tensor(DLIB_FIVE_POINTS, dtype=torch.float32), 1))[0].double().numpy()
    shares: Points = (landmarks - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    return shares


FACES = dlib.get_frontal_face_detector()
LANDMARKS = dlib.shape_predictor(model("shape_predictor_5_face_landmarks.dat"))


def main(folder: Path) -> None:
    detector = Detector()
    seen: dict[str, list[Points]] = {name: [] for name in (*CROPS, "dlib-chip")}
    paths = sorted(folder.rglob("*.jpg"))
    for start in range(0, len(paths), PHOTOS):
        photos = [np.array(Image.open(path)) for path in paths[start : start + PHOTOS]]
        for photo, faces in zip(photos, detector(photos), strict=True):
            if not faces:
                continue
            landmarks = np.array(faces[nearest(np.array([face.box for face in faces]))].landmarks)
            for name, (first, last) in CROPS.items():
                seen[name].append((landmarks - first) / (last - first))
            if (inside := in_chip(landmarks, photo)) is not None:
                seen["dlib-chip"].append(inside)
    for name, found in seen.items():
        print(name, len(found), np.median(found, axis=0).round(4).tolist())


main(Path(sys.argv[1]))
