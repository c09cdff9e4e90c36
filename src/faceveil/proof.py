"""Proof: the written file, its faces found and embedded again, beside the clear photo."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from faceveil import metrics
from faceveil.faces import templates
from faceveil.faces.align import align
from faceveil.faces.detect import Detector, Face
from faceveil.objectives.feature import distance
from faceveil.photo import jpeg, resize
from faceveil.recognizers import Recognizer
from faceveil.types import Embeddings, Landmarks, Pixels

TREATMENTS: dict[str, Callable[[Pixels], Pixels]] = {
    "as saved": lambda pixels: pixels,
    "JPEG 75": lambda pixels: jpeg(pixels, 75),
    "1080 px": lambda pixels: resize(pixels, 1080),
}
WINDOW = 480  # pixels to which the neighborhood of a face is reduced to find it again


@dataclass(frozen=True)
class Verdict:
    """What one recognizer says of one cloaked face after one treatment.

    `before` is the distance from the clear face, treated likewise, to the clear face; `after` that of the cloaked one.
    """

    recognizer: str
    treatment: str
    before: float
    after: float
    threshold: float
    attacked: bool

    @property
    def recognized(self) -> bool:
        """Whether the cloaked face still counts as the same person."""
        return self.after < self.threshold

    def __str__(self) -> str:
        return "recognized" if self.recognized else "not recognized"


@dataclass(frozen=True)
class FaceProof:
    """One face of a cloaked photo: verdicts, whether a detector still finds it, and how visible the cloak is.

    SSIM, PSNR (decibels) and the largest change (8-bit levels) are those of the written file in the face's box.
    """

    face: Face
    found: bool
    verdicts: tuple[Verdict, ...]
    ssim: float
    psnr: float
    largest_change: int

    @property
    def recognized(self) -> bool:
        """Whether any recognizer, after any treatment, still knows the person."""
        return any(verdict.recognized for verdict in self.verdicts)


@dataclass(frozen=True)
class Sighting:
    """A face as it was found again: a window of the photo, and the landmarks [1, 5, 2] in it."""

    window: Pixels
    landmarks: Landmarks
    found: bool


def prove(
    detector: Detector,
    judges: Sequence[Recognizer],
    attacked: Sequence[str],
    clear: Pixels,
    shared: Pixels,
    faces: Sequence[Face],
) -> list[FaceProof]:
    """One proof for each face of a clear photo that was cloaked and shared; `attacked` names the surrogates."""
    boxes = np.array([face.box for face in faces])
    references = [Sighting(clear, landmarks_of(face), True) for face in faces]
    known = {judge.name: embed(judge, references) for judge in judges}
    verdicts: list[list[Verdict]] = [[] for _ in faces]
    found = [True] * len(faces)
    for treatment, treat in TREATMENTS.items():
        before, after = (find_again(detector, treat(pixels), clear, faces) for pixels in (clear, shared))
        if treatment == "as saved":
            found = [sighting.found for sighting in after]
        for judge in judges:
            distances = [distance(embed(judge, sightings), known[judge.name]).tolist() for sightings in (before, after)]
            for i, (near, far) in enumerate(zip(*distances, strict=True)):
                verdict = Verdict(judge.name, treatment, near, far, judge.threshold, judge.name in attacked)
                verdicts[i].append(verdict)
    height, width, _ = clear.shape
    corners = np.stack([boxes[:, 0::2].clip(0, width), boxes[:, 1::2].clip(0, height)], 2).astype(int)
    proofs = []
    for i, face in enumerate(faces):
        (left, top), (right, bottom) = corners[i]
        box = slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))
        pair = clear[box], shared[box]
        quality = metrics.ssim(*pair), metrics.psnr(*pair), metrics.largest_change(*pair)
        proofs.append(FaceProof(face, found[i], tuple(verdicts[i]), *quality))
    return proofs


def landmarks_of(face: Face) -> Landmarks:
    """A face's landmarks as a tensor [1, 5, 2]."""
    return torch.tensor(face.landmarks)[None]


def find_again(detector: Detector, pixels: Pixels, clear: Pixels, faces: Sequence[Face]) -> list[Sighting]:
    """The faces of a clear photo, looked for in another version of it, each in the neighborhood where it must be.

    Where the detector finds none, the old landmarks serve: another detector may find it.
    """
    scale = np.array([pixels.shape[1] / clear.shape[1], pixels.shape[0] / clear.shape[0]])
    windows, corners, shrinkings = [], [], []
    for face in faces:
        box = np.array(face.box).reshape(2, 2) * scale
        margin = 0.75 * (box[1] - box[0]).max()
        low = np.maximum(box[0] - margin, 0).astype(int)
        high = np.ceil(box[1] + margin).astype(int)
        windows.append(pixels[low[1] : high[1], low[0] : high[0]])
        corners.append(low)
        shrinkings.append(max(1.0, max(windows[-1].shape) / WINDOW))
    candidates = detector([_reduced(*pair) for pair in zip(windows, shrinkings, strict=True)])
    sightings = []
    for face, window, corner, shrinking, others in zip(faces, windows, corners, shrinkings, candidates, strict=True):
        box = np.array(face.box) * np.tile(scale, 2) - np.tile(corner, 2)
        nearest = max(others, key=lambda other: overlap(shrinking * np.array(other.box), box), default=None)
        found = nearest is not None and overlap(shrinking * np.array(nearest.box), box) > 0.3
        if nearest is not None and found:
            landmarks = shrinking * landmarks_of(nearest)
        else:
            landmarks = (landmarks_of(face) * torch.from_numpy(scale) - torch.from_numpy(corner)).float()
        sightings.append(Sighting(window, landmarks, found))
    return sightings


def embed(recognizer: Recognizer, sightings: Sequence[Sighting]) -> Embeddings:
    """The embeddings [n, d] of faces that were found."""
    card = recognizer.card.input
    template = templates.template(card.template, card.height, card.width)
    device = recognizer.scale.device
    images = [
        align(torch.from_numpy(sighting.window).permute(2, 0, 1) / 255, sighting.landmarks, template, recognizer.size)
        for sighting in sightings
    ]
    with torch.no_grad():
        embeddings: Embeddings = recognizer(torch.cat(images).to(device)).cpu()
    return embeddings


def overlap(box: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
    common = np.prod((high - low).clip(0))
    union = np.prod(box[2:] - box[:2]) + np.prod(other[2:] - other[:2]) - common
    return float(common / union) if union > 0 else 0.0


def _reduced(window: Pixels, shrinking: float) -> Pixels:
    return window if shrinking == 1 else resize(window, round(max(window.shape) / shrinking))
