"""What a tracker would measure: a cloaked face against other clear photos of the person, and against other people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from faceveil.errors import FaceveilError, NoFaceError
from faceveil.faces.detect import Detector
from faceveil.photo import Photo
from faceveil.proof import TREATMENTS, Sighting, embed, landmarks_of
from faceveil.recognizers import Recognizer
from faceveil.types import Pixels


@dataclass(frozen=True)
class Finding:
    """One recognizer's view of the cloaked face after one treatment.

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
    """All findings; `left_out` says why photos could not be used."""

    photos: tuple[Path, ...]
    findings: tuple[Finding, ...]
    people: int
    left_out: tuple[str, ...]


def check(
    detector: Detector,
    judges: Sequence[Recognizer],
    cloaked: Photo,
    against: Sequence[Path],
    gallery: Mapping[str, Sequence[Path]] | None = None,
) -> Check:
    """Findings for the largest face of a cloaked photo; of every other photo, too, the largest face counts.

    Raises `NoFaceError` where none of the photos of the person shows a face.
    """
    left_out: list[str] = []
    own = {path: face for path in against if (face := _face(detector, path, left_out))}
    if not own:
        raise NoFaceError("no clear photo of the person shows a face; give others with --against")
    others = [
        (person, face)
        for person, paths in (gallery or {}).items()
        for path in paths
        if (face := _face(detector, path, left_out))
    ]
    probes = {treatment: _largest(detector, treat(cloaked.pixels)) for treatment, treat in TREATMENTS.items()}
    lost = [treatment for treatment, face in probes.items() if face is None]
    if lost:
        raise NoFaceError(
            f"no face is found in the cloaked photo ({lost[0]}), so nobody is recognized by this detector"
        )
    findings = []
    for judge in judges:
        clear = embed(judge, list(own.values()))
        strangers = embed(judge, [face for _, face in others]) if others else None
        for treatment, face in probes.items():
            probe = embed(judge, [face] if face else [])
            distances = tuple(torch.cdist(probe, clear)[0].tolist())
            rank = None
            if strangers is not None:
                near = zip(others, torch.cdist(probe, strangers)[0].tolist(), strict=True)
                rank = 1 + len({person for (person, _), distance in near if distance < min(distances)})
            findings.append(Finding(judge.name, treatment, judge.threshold, distances, rank))
    people = len({person for person, _ in others})
    return Check(tuple(own), tuple(findings), people, tuple(left_out))


def _largest(detector: Detector, pixels: Pixels) -> Sighting | None:
    faces = detector([pixels])[0]
    return Sighting(pixels, landmarks_of(faces[0]), True) if faces else None


def _face(detector: Detector, path: Path, left_out: list[str]) -> Sighting | None:
    try:
        found = _largest(detector, Photo.open(path).pixels)
    except FaceveilError as error:
        left_out.append(str(error))
        return None
    if found is None:
        left_out.append(f"{path}: no face found")
    return found
