"""Proof: the written file, its faces found and embedded again, beside the clear photo."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float64

from faceveil import metrics
from faceveil.cores import side_by_side
from faceveil.errors import WeightsError
from faceveil.faces import templates
from faceveil.faces.align import align
from faceveil.faces.detect import Detector, Face
from faceveil.objectives.feature import distance
from faceveil.photo import jpeg, resize
from faceveil.recognizers import Recognizer
from faceveil.types import Embeddings, Images, Landmarks, Pixels

TOGETHER = 32  # faces that are aligned and embedded at once

TREATMENTS: dict[str, Callable[[Pixels], Pixels]] = {
    "as saved": lambda pixels: pixels,
    "JPEG 75": lambda pixels: jpeg(pixels, 75),
    "1080 px": lambda pixels: resize(pixels, 1080),
}
Corners = Float64[np.ndarray, "4"]  # left, top, right, bottom
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

    @property
    def by_recognizer(self) -> dict[str, tuple[Verdict, ...]]:
        """What each recognizer says, after one treatment after the other."""
        names = dict.fromkeys(verdict.recognizer for verdict in self.verdicts)
        return {name: tuple(verdict for verdict in self.verdicts if verdict.recognizer == name) for name in names}


@dataclass(frozen=True)
class Sighting:
    """A face as it was found again: a window of the photo, and the landmarks [1, 5, 2] in it."""

    window: Pixels
    landmarks: Landmarks
    found: bool = True

    @classmethod
    def of(cls, face: Face, pixels: Pixels) -> "Sighting":
        """A face where the detector found it in a photo."""
        return cls(pixels, face.points)


def prove(
    detector: Detector,
    judges: Sequence[Recognizer],
    attacked: Sequence[str],
    clear: Pixels,
    shared: Pixels,
    faces: Sequence[Face],
) -> list[FaceProof]:
    """One proof for each face of a clear photo that was cloaked and shared; `attacked` names its surrogates."""
    versions = [treat(pixels) for treat in TREATMENTS.values() for pixels in (clear, shared)]
    seen = find_again(detector, versions, clear, faces)
    n = len(faces)
    verdicts: list[list[Verdict]] = [[] for _ in faces]
    known = [_Window.around(face, clear, clear).clear() for face in faces]
    calls = [partial(embed, judge, [*known, *seen]) for judge in judges]
    for judge, embeddings in zip(judges, side_by_side(calls, detector.device), strict=True):
        distances = distance(embeddings[n:], embeddings[:n].repeat(len(versions), 1)).reshape(len(TREATMENTS), 2, n)
        for treatment, (before, after) in zip(TREATMENTS, distances.tolist(), strict=True):
            for i in range(n):
                seen_as = judge.name, treatment, before[i], after[i], judge.threshold, judge.name in attacked
                verdicts[i].append(Verdict(*seen_as))
    proofs = []
    for face, found, said in zip(faces, seen[n : 2 * n], verdicts, strict=True):
        box = inside(face, clear)
        pair = clear[box], shared[box]
        quality = metrics.ssim(*pair), metrics.psnr(*pair), metrics.largest_change(*pair)
        proofs.append(FaceProof(face, found.found, tuple(said), *quality))
    return proofs


def inside(face: Face, pixels: Pixels) -> tuple[slice, slice]:
    """The rows and columns of a face's box, at least one of each."""
    height, width, _ = pixels.shape
    left, top, right, bottom = (int(edge) for edge in face.box)
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    return slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))


def find_again(detector: Detector, versions: Sequence[Pixels], clear: Pixels, faces: Sequence[Face]) -> list[Sighting]:
    """The faces of a clear photo, looked for in other versions of it, each in the neighborhood where it must be.

    All faces of the first version, then those of the next. Where the detector finds none, the old landmarks serve:
    another detector may find it.
    """
    expected = [_Window.around(face, pixels, clear) for pixels in versions for face in faces]
    candidates = detector([window.reduced() for window in expected])
    return [window.sighting(others) for window, others in zip(expected, candidates, strict=True)]


@dataclass(frozen=True)
class _Window:
    """The neighborhood of a face in a version of its photo, where its box and landmarks [1, 5, 2] must lie in it."""

    pixels: Pixels
    box: Corners
    landmarks: Landmarks

    @classmethod
    def around(cls, face: Face, pixels: Pixels, clear: Pixels) -> "_Window":
        scale = np.array([pixels.shape[1] / clear.shape[1], pixels.shape[0] / clear.shape[0]])
        box = np.array(face.box).reshape(2, 2) * scale
        margin = 0.75 * (box[1] - box[0]).max()
        low = np.maximum(box[0] - margin, 0).astype(int)
        high = np.ceil(box[1] + margin).astype(int)
        landmarks = torch.from_numpy(np.array(face.landmarks) * scale - low).float()
        return cls(pixels[low[1] : high[1], low[0] : high[0]], (box - low).ravel(), landmarks[None])

    def reduced(self) -> Pixels:
        return resize(self.pixels, WINDOW)

    def clear(self) -> Sighting:
        """The face where it must be, as in the photo that shows it clear."""
        return Sighting(self.pixels, self.landmarks, True)

    def sighting(self, found: Sequence[Face]) -> Sighting:
        larger = max(1.0, max(self.pixels.shape) / WINDOW)
        overlaps = [overlap(larger * np.array(other.box), self.box) for other in found]
        if max(overlaps, default=0.0) < 0.3:
            return Sighting(self.pixels, self.landmarks, False)
        return Sighting(self.pixels, larger * found[int(np.argmax(overlaps))].points)


def embed(recognizer: Recognizer, sightings: Sequence[Sighting]) -> Embeddings:
    """The embeddings [n, d] of faces that were found.

    Raises `WeightsError` where they are no numbers: a distance that is none lies below no threshold.
    """
    template = templates.template(*recognizer.wanted)

    def aligned(sighting: Sighting) -> Images:
        window = torch.from_numpy(sighting.window).permute(2, 0, 1) / 255
        return align(window, sighting.landmarks, template, recognizer.size)

    parts = (sightings[start : start + TOGETHER] for start in range(0, len(sightings), TOGETHER))
    with torch.no_grad():
        found = torch.cat([recognizer(torch.cat([*map(aligned, part)]).to(recognizer.device)).cpu() for part in parts])
    if not found.isfinite().all():
        raise WeightsError(f"{recognizer.name} sees no numbers in a face; add, or train, its weights again")
    return found


def overlap(box: Corners, other: Corners) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
    common = np.prod((high - low).clip(0))
    union = np.prod(box[2:] - box[:2]) + np.prod(other[2:] - other[:2]) - common
    return float(common / union) if union > 0 else 0.0
