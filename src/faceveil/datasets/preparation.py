"""From photos to aligned faces: every photo's faces are found once, and cut once for each template."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray
from torch import Tensor

from faceveil import cache
from faceveil.datasets.base import Dataset, Sample
from faceveil.datasets.faces import Faces
from faceveil.datasets.store import Journal, Rows, alone
from faceveil.errors import PhotoError
from faceveil.faces import templates
from faceveil.faces.align import align
from faceveil.faces.detect import Detector, Face
from faceveil.photo import Photo
from faceveil.types import Pixels

Photos = Sequence[UInt8[ndarray, "_ _ 3"]]  # 8-bit RGB, each of a size of its own
Find = Callable[[Photos], list[list[Face]]]

VERSION = 1  # of what is kept; to be raised when the same landmarks would be aligned otherwise
PHOTOS = 32  # photos whose faces are searched for together,
LEVELS = 1 << 25  # or fewer, once they hold this many 8-bit levels


def prepare(
    dataset: Dataset,
    template: str,
    size: tuple[int, int],
    *,
    detector: Detector | None = None,
    folder: Path | None = None,
    track: Callable[[Sequence[Sample]], Iterable[Sample]] = iter,
) -> Faces:
    """Aligns the faces of a data set to a template, at a height and width, and keeps them in a folder.

    What the folder holds is not made again: a run that was stopped goes on where it stood, and another template needs
    no detector. `track` may show how far it is. A photo that is broken, or in which no face was found, is `missing`
    from the result.

    Raises `SettingError` for an unknown template, and while another process fills the same folder.
    """
    find, source = (whole, "aligned") if dataset.aligned else _named(detector or Detector())
    kept = (folder or cache.folder() / f"faces-{VERSION}") / source
    samples = tuple(dataset)
    points = templates.template(template, size)
    label = f"{template}-{size[0]}x{size[1]}-{hashlib.sha256(points.numpy().tobytes()).hexdigest()[:8]}"
    with alone(kept):
        bench = _Bench(find, points, Journal(kept / "found.jsonl"), Rows(kept / label, size))
        bench.work(track(samples))
    return _gather(samples, bench)


def _named(detector: Detector) -> tuple[Find, str]:
    settings = "-".join(f"{setting:g}" for setting in (detector.min_size, *detector.thresholds))
    return detector, f"mtcnn-{settings}"


def _gather(samples: Sequence[Sample], bench: "_Bench") -> Faces:
    here = [sample for sample in samples if bench.keys.get(sample.name, "") in bench.rows]
    identities = sorted({sample.identity for sample in samples if sample.identity is not None})
    labels = {identity: label for label, identity in enumerate(identities)}
    names = {sample.name for sample in here}
    return Faces(
        names=tuple(sample.name for sample in here),
        labels=np.array([labels.get(sample.identity or "", -1) for sample in here], np.int64),
        identities=tuple(identities),
        missing={
            sample.name: bench.broken.get(sample.name, "no face was found")
            for sample in samples
            if sample.name not in names
        },
        rows=np.array([bench.rows[bench.keys[sample.name]] for sample in here], np.int64),
        store=bench.rows.images(),
    )


@dataclass
class _Bench:
    """Where photos wait for one another, are searched for faces together, and are cut."""

    find: Find
    template: Tensor
    found: Journal
    rows: Rows
    keys: dict[str, str] = field(default_factory=dict)  # of each photo's name: its sha256
    broken: dict[str, str] = field(default_factory=dict)

    def work(self, samples: Iterable[Sample]) -> None:
        waiting: dict[str, Pixels] = {}
        for sample in samples:
            try:
                data = sample.read()
                key = hashlib.sha256(data).hexdigest()
                if not self._is_done(key) and key not in waiting:
                    waiting[key] = Photo.open(BytesIO(data)).pixels
                self.keys[sample.name] = key
            except PhotoError as error:
                self.broken[sample.name] = str(error)
            if len(waiting) == PHOTOS or sum(pixels.size for pixels in waiting.values()) > LEVELS:
                self._finish(waiting)
                waiting = {}
        self._finish(waiting)

    def _is_done(self, key: str) -> bool:
        return key in self.rows or (key in self.found and not self.found[key])

    def _finish(self, photos: Mapping[str, Pixels]) -> None:
        unseen = {key: pixels for key, pixels in photos.items() if key not in self.found}
        if unseen:
            faces = self.find(list(unseen.values()))
            told = [[(face.box, face.landmarks, face.score) for face in each] for each in faces]
            self.found.add(dict(zip(unseen, told, strict=True)))
        self.rows.add({key: self._cut(pixels, found) for key, pixels in photos.items() if (found := self.found[key])})

    def _cut(self, pixels: Pixels, found: Sequence[Any]) -> UInt8[ndarray, "height width 3"]:
        faces = [Face(tuple(box), tuple(map(tuple, landmarks)), score) for box, landmarks, score in found]
        face = subject(faces, pixels.shape[1], pixels.shape[0])
        photo = torch.tensor(pixels).permute(2, 0, 1) / 255
        aligned = align(photo, torch.tensor([face.landmarks]), self.template, self.rows.size)[0]
        return (aligned * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def subject(faces: Sequence[Face], width: int, height: int) -> Face:
    """Whom a photo of that many pixels is of: the face that is large and near the center.

    By area less twice the squared distance from the center, as the scripts that aligned most training sets have it
    (`align_dataset_mtcnn.py` in davidsandberg/facenet).
    """

    def prominence(face: Face) -> float:
        left, top, right, bottom = face.box
        x, y = (left + right - width) / 2, (top + bottom - height) / 2
        return (right - left) * (bottom - top) - 2 * (x * x + y * y)

    return max(faces, key=prominence)


def whole(photos: Photos) -> list[list[Face]]:
    """The face of each photo that is one of ArcFace's aligned images, whatever its height."""
    points = templates.template("arcface", (112, 112)) / 112

    def face(height: int, width: int) -> Face:
        x, y = (points * height + torch.tensor([(width - height) / 2, 0.0])).T.tolist()
        return Face((0.0, 0.0, float(width), float(height)), tuple(zip(x, y, strict=True)), 1.0)

    return [[face(*pixels.shape[:2])] for pixels in photos]
