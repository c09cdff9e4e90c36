"""What a tracker would measure: a cloaked face against other clear photos of the person, and against other people."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from faceveil.errors import FaceveilError, NoFaceError
from faceveil.faces.detect import Detector
from faceveil.files import first, one_line
from faceveil.photo import Photo
from faceveil.proof import TREATMENTS, Sighting, embed, find_again
from faceveil.recognizers import Recognizer
from faceveil.types import Embeddings

REASONS = 3  # in one message


@dataclass(frozen=True)
class Finding:
    """One recognizer's view of the cloaked face after one treatment: of several, of the one nearest to the person.

    `distances` are those to the person's clear photos, in their order. `rank` is the person's place among the people
    of the gallery, 1 the nearest, by each one's nearest photo; none without a gallery.
    """

    recognizer: str
    treatment: str
    threshold: float
    distances: tuple[float, ...]
    rank: int | None = None

    @property
    def matched(self) -> int:
        """How many of the person's clear photos it would take for the same person."""
        return sum(distance < self.threshold for distance in self.distances)


@dataclass(frozen=True)
class Check:
    """All findings; `left_out` says why photos could not be used.

    So many `faces` are in the cloaked photo, and several are in those of the person's photos that are `crowded`.
    """

    photos: tuple[Path, ...]
    findings: tuple[Finding, ...]
    people: int
    left_out: tuple[str, ...]
    faces: int = 1
    crowded: tuple[Path, ...] = ()


def check(
    detector: Detector,
    judges: Sequence[Recognizer],
    cloaked: Photo,
    against: Sequence[Path],
    gallery: Mapping[str, Sequence[Path]] | None = None,
) -> Check:
    """Findings for that face of a cloaked photo which is nearest to the person; of other photos the largest counts.

    A photo with the cloaked one's pixels is left out. Raises `NoFaceError` where the cloaked photo, or all photos of
    the person, show no face.
    """
    faces = detector([cloaked.pixels])[0]
    if not faces:
        raise NoFaceError("no face is found in the cloaked photo, so this detector lets nobody be recognized")
    versions = [treat(cloaked.pixels) for treat in TREATMENTS.values()]
    seen = find_again(detector, versions, cloaked.pixels, faces)
    left_out: list[str] = []
    several: list[Path] = []

    def embedded(paths: Iterable[Path], crowded: list[Path]) -> dict[Path, list[Embeddings]]:
        """What each judge sees in each photo; no more than one photo is in memory."""
        found = ((path, _face(detector, path, cloaked, left_out, crowded)) for path in paths)
        return {path: [embed(judge, [face]) for judge in judges] for path, face in found if face}

    own = embedded(against, several)
    if not own:
        raise NoFaceError(f"no clear photo of the person shows a face{because(left_out)}; give others with --against")
    others = {person: embedded(paths, []) for person, paths in (gallery or {}).items()}
    people = [photos for photos in others.values() if photos]
    findings = []
    for i, judge in enumerate(judges):
        known = torch.cat([each[i] for each in own.values()])
        probes = nearest(embed(judge, seen).reshape(len(TREATMENTS), len(faces), -1), known)
        away = torch.cdist(probes, known)
        strangers = [torch.cdist(probes, torch.cat([each[i] for each in photos.values()])).amin(1) for photos in people]
        for j, treatment in enumerate(TREATMENTS):
            rank = 1 + sum(bool(near[j] < away[j].min()) for near in strangers) if people else None
            findings.append(Finding(judge.name, treatment, judge.threshold, tuple(away[j].tolist()), rank))
    return Check(tuple(own), tuple(findings), len(people), tuple(left_out), len(faces), tuple(several))


def nearest(faces: Float[Tensor, "n k d"], known: Float[Tensor, "m d"]) -> Float[Tensor, "n d"]:
    """Of the k faces of each photo the one that is nearest to any known face."""
    chosen = torch.cdist(faces.flatten(0, 1), known).amin(1).view(faces.shape[:2]).argmin(1)
    return faces[torch.arange(len(faces)), chosen]


def because(left_out: Sequence[str]) -> str:
    """The first reasons why photos could not be used, in brackets; nothing where there are none."""
    return f" ({first(left_out, REASONS)})" if left_out else ""


def _face(detector: Detector, path: Path, cloaked: Photo, left_out: list[str], crowded: list[Path]) -> Sighting | None:
    """The largest face of a photo; none where there is no face, and where it is the cloaked photo itself."""
    try:
        pixels = Photo.open(path).pixels
    except FaceveilError as error:
        left_out.append(str(error))
        return None
    if np.array_equal(pixels, cloaked.pixels):
        left_out.append(f"{one_line(path)}: is the cloaked photo itself")
        return None
    faces = detector([pixels])[0]
    if not faces:
        left_out.append(f"{one_line(path)}: no face found")
        return None
    if len(faces) > 1:
        crowded.append(path)
    return Sighting.of(faces[0], pixels)
