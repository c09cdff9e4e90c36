"""How photo programs that people run decide who is who: the settings they come with, over any recognizer's embeddings.

Read from the programs' public sources in 2026. All distances are Euclidean; a cosine distance c between embeddings of
unit length is sqrt(2 c).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy import ndarray
from torch import Tensor
from torch.nn import functional as F

from faceveil.errors import SettingError
from faceveil.photo import jpeg, resize
from faceveil.protocols.clustering import ALONE, Clusterer, Clusters
from faceveil.types import Embeddings, Pixels


@dataclass(frozen=True)
class Preview:
    """The smaller JPEG in which a program looks for faces: its longer side at most so many pixels, and its quality."""

    long_side: int
    quality: int

    def __call__(self, pixels: Pixels) -> Pixels:
        return jpeg(resize(pixels, self.long_side), self.quality)


@dataclass(frozen=True)
class DBSCAN:
    """A photo with `core` photos within `distance`, itself included, is the core of a cluster (Ester et al., 1996)."""

    distance: float
    core: int

    def __call__(self, embeddings: Embeddings) -> Int64[ndarray, " n"]:
        from sklearn import cluster

        if len(embeddings) < self.core:
            return np.full(len(embeddings), ALONE)
        model = cluster.DBSCAN(eps=self.distance, min_samples=self.core)
        return np.asarray(model.fit_predict(embeddings.cpu().numpy()), np.int64)


@dataclass(frozen=True)
class HDBSCAN:
    """Clusters at whatever density they have (Campello et al., 2013): of `least` photos, cores of `core`."""

    core: int
    least: int

    def __call__(self, embeddings: Embeddings) -> Int64[ndarray, " n"]:
        from sklearn import cluster

        if len(embeddings) < max(self.core, self.least):
            return np.full(len(embeddings), ALONE)
        model = cluster.HDBSCAN(min_cluster_size=self.least, min_samples=self.core, copy=True)
        return np.asarray(model.fit_predict(embeddings.cpu().numpy()), np.int64)


@dataclass(frozen=True)
class Immich:
    """One photo after the other joins the person of the nearest photo within `distance` that has one.

    Photos with `core` photos so near, themselves included, come first and may found a person; the others come last and
    may not. Unlike DBSCAN it never merges two people who turn out to be connected.
    """

    distance: float
    core: int

    def __call__(self, embeddings: Embeddings) -> Int64[ndarray, " n"]:
        away = torch.cdist(embeddings, embeddings).cpu().numpy()
        near = away <= self.distance
        cores = near.sum(1) >= self.core
        people = np.full(len(away), ALONE)
        for photo in [*np.flatnonzero(cores), *np.flatnonzero(~cores)]:
            known = np.flatnonzero(near[photo] & (people != ALONE))
            if len(known):
                people[photo] = people[known[away[photo, known].argmin()]]
            elif cores[photo]:
                people[photo] = people.max() + 1
        return people


@dataclass(frozen=True)
class PhotoPrism:
    """DBSCAN finds people; then each photo goes to the nearest of their centers, if that is near enough.

    Near enough: within the radius that holds `percentile` of the cluster's photos, but at most `radius`, plus `match`;
    and nearer by `margin` than the next center. It begins once there are twice `core` photos.
    """

    distance: float
    core: int
    radius: float
    match: float
    percentile: float = 100.0
    margin: float = 0.0

    def __call__(self, embeddings: Embeddings) -> Int64[ndarray, " n"]:
        clusters = DBSCAN(self.distance, self.core)(embeddings)
        if len(embeddings) < 2 * self.core or (clusters == ALONE).all():
            return np.full(len(embeddings), ALONE)
        members = [embeddings[clusters == number] for number in range(clusters.max() + 1)]
        centers = torch.stack([F.normalize(some.mean(0), dim=0) * some.norm(dim=1).mean() for some in members])
        away = torch.cdist(embeddings, centers).cpu().numpy()
        radii = [np.percentile(away[clusters == i, i], self.percentile) for i in range(len(members))]
        order = np.sort(np.pad(away, ((0, 0), (0, 1)), constant_values=np.inf), 1)
        nearest = away.argmin(1)
        reached = order[:, 0] <= np.minimum(radii, self.radius)[nearest] + self.match
        return np.where(reached & (order[:, 1] - order[:, 0] >= self.margin), nearest, ALONE)


@dataclass(frozen=True)
class App:
    """A program's rules: what it looks at, with what, and up to which distance two faces are one person.

    `recognizer` and `detector` name what it runs; `card` is ours of that recognizer, or of one of its kind, where there
    is one. `threshold` is its own, and `usual` the distance at which verification with that recognizer draws the line:
    `scaled` fits the rules to another's. Where there is no `clusterer` it compares faces with known ones only.
    """

    recognizer: str
    detector: str
    threshold: float
    usual: float
    clusterer: Clusterer | None = None
    preview: Callable[[Pixels], Pixels] = np.copy
    normalized: bool = True
    scale: float = 1.0
    card: str | None = None

    def scaled(self, threshold: float) -> "App":
        """The same rules for the embeddings of a recognizer with this threshold, every distance in proportion."""
        return replace(self, scale=self.usual / threshold, normalized=False)

    def match(self, embeddings: Embeddings, others: Float[Tensor, "m d"]) -> Bool[ndarray, "n m"]:
        """Which of these faces are taken for the same person as which of the others."""
        away = torch.cdist(self._own(embeddings), self._own(others))
        return (away <= self.threshold).cpu().numpy()

    def people(self, embeddings: Embeddings) -> Int64[ndarray, " n"]:
        """The number of the person to whom each face is assigned; `ALONE` for none.

        Raises `SettingError` for a program that does not sort photos into people.
        """
        if self.clusterer is None:
            raise SettingError(f"a program with {self.recognizer} that only compares faces finds no people; use match")
        found: Clusters = self.clusterer(self._own(embeddings))
        return found

    def _own(self, embeddings: Embeddings) -> Embeddings:
        return self.scale * (F.normalize(embeddings) if self.normalized else embeddings)


def _cosine(distance: float) -> float:
    """The Euclidean distance of two embeddings of unit length at that cosine distance."""
    return math.sqrt(2 * distance)


# Where verification draws the line: OpenCV's for SFace; deepface's for VGG-Face and for ArcFace, whose kind AuraFace
# and the buffalos are (of our cards, mobilefacenet-y1 has 1.169 at FAR 1e-3); our card's for FaceNet
_SFACE, _VGG, _ARCFACE, _FACENET = 1.128, _cosine(0.68), _cosine(0.68), 0.9436


def _photoprism_2026(
    recognizer: str, usual: float, distance: float, radius: float, match: float, card: str | None = None
) -> App:
    rules = PhotoPrism(distance, core=5, radius=radius, match=match, percentile=95, margin=0.01)
    return App(recognizer, "YuNet", distance, usual, rules, Preview(720, 83), card=card)


APPS: Mapping[str, App] = {
    "immich": App("buffalo_l", "SCRFD-10G", _cosine(0.5), _ARCFACE, Immich(_cosine(0.5), 3), Preview(1440, 80)),
    "photoprism-2024": App(
        "FaceNet", "Pigo", 0.64, _FACENET, PhotoPrism(0.64, 4, 0.35, 0.46), Preview(1280, 83), card="facenet"
    ),
    "photoprism-2026-sface": _photoprism_2026("SFace", _SFACE, 0.78, 0.60, 0.35),
    "photoprism-2026-facenet": _photoprism_2026("FaceNet", _FACENET, 0.64, 0.42, 0.40, "facenet"),
    "photoprism-2026-auraface": _photoprism_2026("AuraFace", _ARCFACE, 0.98, 0.76, 0.35),
    "photoprism-2026-arcface": _photoprism_2026("buffalo_l", _ARCFACE, 1.07, 0.67, 0.55),
    "photoprism-2026-mobilefacenet": _photoprism_2026("buffalo_s", _ARCFACE, 1.03, 0.64, 0.49),
    # compares no two faces: its threshold is the longest edge within a cluster that later versions allow
    "nextcloud": App("face-api", "face-api", 0.5, 0.6, HDBSCAN(4, 6), Preview(1024, 80), normalized=False),
    "face_recognition": App("dlib", "dlib HOG", 0.6, 0.6, normalized=False, card="dlib"),
    "deepface-default": App("VGG-Face", "OpenCV Haar", _VGG, _VGG),
    "opencv-sface": App("SFace", "YuNet", _SFACE, _SFACE),
    # that two photos make a cluster is our reading
    "insightface": App("buffalo_l", "SCRFD-10G", _cosine(1 - 0.48), _ARCFACE, DBSCAN(_cosine(1 - 0.48), 2)),
}
"""The programs, by the names under which `faceveil check --as` knows them."""


def app(name: str) -> App:
    """The program of that name; raises `SettingError` where there is none."""
    if name not in APPS:
        raise SettingError(f"no program is called {name!r}; there are {', '.join(APPS)}")
    return APPS[name]
