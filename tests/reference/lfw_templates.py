"""Where the landmarks lie, on average, in LFW's photos as FaceNet and the VGGFace2 networks were shown them.

These networks had no landmarks to be aligned by: a detector's box was cut out with a margin. On LFW, whose photos are
centered on the face, the crops that their weights do best on are known (../shared/zoo/README.md): rows and columns 55
to 195 of 250 for FaceNet, 60 to 190 for the VGGFace2 MobileNet. This prints, for each crop, the mean of our detector's
landmarks over all photos (of each, the face nearest to the center), as shares of the crop's side.

Run: python tests/reference/lfw_templates.py ../shared/data/lfw/photos
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from faceveil.faces.detect import Detector

CROPS = {"facenet": (55, 195), "vggface2": (60, 190)}
PHOTOS = 32


def main(folder: Path) -> None:
    detector, found = Detector(), []
    paths = sorted(folder.rglob("*.jpg"))
    for start in range(0, len(paths), PHOTOS):
        photos = [np.array(Image.open(path)) for path in paths[start : start + PHOTOS]]
        for faces in detector(photos):
            nearest = min(faces, key=lambda face: np.abs(np.reshape(face.box, (2, 2)).sum(0) - 250).sum(), default=None)
            if nearest:
                found.append(nearest.landmarks)
    mean = np.mean(found, axis=0)
    for name, (first, last) in CROPS.items():
        print(name, len(found), ((mean - first) / (last - first)).round(4).tolist())


main(Path(sys.argv[1]))
