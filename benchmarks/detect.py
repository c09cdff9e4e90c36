"""The detector's speed on a photo of 12 megapixels, and the share of real photos whose face it finds.

python benchmarks/detect.py                  # seconds with one thread and with two
python benchmarks/detect.py ../shared/data   # find rates
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch
from PIL import Image
from skimage import data

from faceveil.faces.detect import Detector, Face
from faceveil.types import Pixels

FOLDERS = {
    "LFW": "lfw/photos/*/*.jpg",
    "London": "london/*/*.jpg",
    "wild": "wild/*/*.jpg",
    "CFP frontal": "cfp/*/frontal_*.jpg",
    "CFP profile": "cfp/*/profile_*.jpg",
    "FaceScrub": "facescrub/*/*.jpg",
    "pins": "pins/*/*.jpg",
}


def crowd() -> Pixels:
    """4000 x 3000 pixels: the astronaut at 2800 pixels, and 48 times at 80 to 550, her face at 14 to 96 pixels."""
    portrait = Image.fromarray(data.astronaut())
    photo = Image.new("RGB", (4000, 3000), (96, 128, 160))
    photo.paste(portrait.resize((2800, 2800)), (0, 200))
    for number in range(48):
        side = 80 + 10 * number
        photo.paste(portrait.resize((side, side)), (2850 + number % 4 * 280, number // 4 * 245))
    return np.asarray(photo)


def seconds(threads: int, repeats: int = 7) -> tuple[float, int]:
    """The median time of one call, and the faces found."""
    torch.set_num_threads(threads)
    detector, photo = Detector(), crowd()
    times = []
    for _ in range(repeats):
        start = perf_counter()
        (faces,) = detector([photo])
        times.append(perf_counter() - start)
    return median(times), len(faces)


def is_central(face: Face, photo: Pixels) -> bool:
    """Whether a box holds the photo's center and its longer side is at least 24 % of the photo's."""
    height, width, _ = photo.shape
    left, top, right, bottom = face.box
    share = max(right - left, bottom - top) / max(height, width)
    return left < width / 2 < right and top < height / 2 < bottom and share > 0.24


def find(files: Sequence[Path], batch: int = 32) -> tuple[int, int, int]:
    """In how many photos there is a face, in how many a central one, and the faces in all."""
    detector = Detector()
    some = central = total = 0
    for start in range(0, len(files), batch):
        photos = [np.asarray(Image.open(file).convert("RGB")) for file in files[start : start + batch]]
        for photo, faces in zip(photos, detector(photos), strict=True):
            some, total = some + bool(faces), total + len(faces)
            central += any(is_central(face, photo) for face in faces)
    return some, central, total


def main() -> None:
    if len(sys.argv) == 1:
        for threads in (1, 2):
            time, faces = seconds(threads)
            print(f"12 megapixels, {threads} thread(s): {time:.2f} s, {faces} faces")
        return
    print("folder        photos  with a face  a central one  faces")
    for name, pattern in FOLDERS.items():
        files = sorted(Path(sys.argv[1]).glob(pattern))
        some, central, total = find(files)
        shares = f"{some / len(files):11.2%}  {central / len(files):13.2%}"
        print(f"{name:12}  {len(files):6}  {shares}  {total:5}", flush=True)


if __name__ == "__main__":
    main()
