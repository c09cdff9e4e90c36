"""Verification: two photos match where their embeddings lie nearer to each other than a threshold.

Positive means "one person": the true positive rate is the share of genuine pairs that match, the false positive rate,
also false acceptance rate (FAR), that of impostor pairs; the false rejection rate (FRR) is 1 - TPR.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy import ndarray

from faceveil.errors import SettingError
from faceveil.types import Embeddings

ROWS = 1024  # embeddings that are compared with all others at a time
STEPS = np.arange(150) * 0.02  # Cilloni's thresholds (Fig. 9)
# Cilloni's threshold elsewhere (III-B), FaceNet's own, there of squared distances between embeddings of unit length.
# Cilloni's distances are Euclidean (Eq. 1, V-A), and so is this one; its square root is 1.114.
FACENET = 1.242

Distances = Float[ndarray, " _"]


@dataclass(frozen=True)
class Pairs:
    """Euclidean distances between photos of one person (genuine) and of two people (impostor)."""

    genuine: Distances
    impostor: Distances

    def __post_init__(self) -> None:
        if not (len(self.genuine) and len(self.impostor)):
            found = f"{len(self.genuine)} genuine and {len(self.impostor)} impostor pairs"
            raise SettingError(f"{found}; give photos of two people at least, and two of one of them")

    def true_positive_rate(self, threshold: float) -> float:
        """The share of genuine pairs that match."""
        return float((self.genuine < threshold).mean())

    def false_positive_rate(self, threshold: float) -> float:
        """The share of impostor pairs that match: FAR (Vos, 2023, Eq. 1, over the attempts of impostors)."""
        return float((self.impostor < threshold).mean())


@dataclass(frozen=True)
class Curve:
    """A ROC curve: both rates at rising thresholds."""

    thresholds: Float[ndarray, " n"]
    tpr: Float[ndarray, " n"]
    fpr: Float[ndarray, " n"]

    @property
    def auc(self) -> float:
        """The area under the curve, drawn with straight lines and on to (0, 0) and (1, 1)."""
        x, y = np.concatenate([[0], self.fpr, [1]]), np.concatenate([[0], self.tpr, [1]])
        return float((np.diff(x) * (y[1:] + y[:-1])).sum() / 2)


@dataclass(frozen=True)
class Histogram:
    """The shares of the genuine and of the impostor pairs whose distances lie between neighboring edges."""

    edges: Float[ndarray, " edges"]
    genuine: Float[ndarray, " bins"]
    impostor: Float[ndarray, " bins"]


def all_pairs(embeddings: Embeddings, labels: Int64[ndarray, " n"], others: Embeddings | None = None) -> Pairs:
    """Every photo against every other one (Cilloni et al., 2020, IV-A), each pair once; labels say whom they show.

    With `others`, the same photos in another version, it is each photo against the other version of every other one.
    Photos with a negative label show somebody unknown and take no part. Distances are sums of products in float32: that
    of near-duplicates is off by up to a thousandth of their embeddings' length. Raises `SettingError` where there are
    no pairs of one kind.
    """
    return Pairs(*_compared(embeddings, labels, others))


def strangers(embeddings: Embeddings, labels: Int64[ndarray, " n"]) -> Distances:
    """The impostor pairs of `all_pairs` alone: nobody needs two photos. `SettingError` where there are none."""
    _, impostor = _compared(embeddings, labels)
    if not len(impostor):
        people = len(np.unique(labels[labels >= 0]))
        raise SettingError(f"the photos show {people} people who are known; give photos of two at least")
    return impostor


def _compared(
    embeddings: Embeddings, labels: Int64[ndarray, " n"], others: Embeddings | None = None
) -> tuple[Distances, Distances]:
    """Genuine and impostor pairs."""
    whom, places = torch.from_numpy(labels).to(embeddings.device), torch.arange(len(labels), device=embeddings.device)
    genuine, impostor = [], []
    for start in range(0, len(embeddings), ROWS):
        rows = slice(start, start + ROWS)
        distances = torch.cdist(embeddings[rows], embeddings if others is None else others)
        compared = places[rows, None] < places if others is None else places[rows, None] != places
        compared &= (whom[rows, None] >= 0) & (whom >= 0)
        same = whom[rows, None] == whom
        genuine.append(distances[compared & same].cpu().numpy())
        impostor.append(distances[compared & ~same].cpu().numpy())
    return np.concatenate(genuine), np.concatenate(impostor)


def listed_pairs(
    embeddings: Embeddings, first: Int64[ndarray, " m"], second: Int64[ndarray, " m"], same: Bool[ndarray, " m"]
) -> Pairs:
    """The pairs of a list such as LFW's, by the indices of their photos; raises `SettingError` as above."""
    distances = (embeddings[first] - embeddings[second]).norm(dim=1).cpu().numpy()
    return Pairs(distances[same], distances[~same])


def roc(pairs: Pairs, thresholds: Float[ndarray, " n"] | None = None) -> Curve:
    """Both rates at these thresholds (`STEPS` are Cilloni's), which must rise; or at all where one of them changes."""
    if thresholds is None:
        distances = np.concatenate([pairs.genuine, pairs.impostor], dtype=np.float64)
        thresholds = np.append(np.unique(distances), np.inf)
    tpr, fpr = (
        np.searchsorted(np.sort(distances), thresholds) / len(distances)
        for distances in (pairs.genuine, pairs.impostor)
    )
    return Curve(thresholds, tpr, fpr)


def equal_error_rate(pairs: Pairs) -> float:
    """(FAR + FRR) / 2 (Vos, 2023, Eq. 3) at the threshold where they differ least."""
    curve = roc(pairs)
    far, frr = curve.fpr, 1 - curve.tpr
    return float((far + frr)[np.abs(far - frr).argmin()] / 2)


def crossing(pairs: Pairs) -> float:
    """The equal error rate where FAR and FRR cross, with straight lines between thresholds."""
    curve = roc(pairs)
    return float(np.interp(0, curve.fpr + curve.tpr - 1, curve.fpr))


def threshold_below(impostor: Distances, rate: float = 1e-3) -> float:
    """The largest threshold whose FAR lies below that rate, which is the one with the lowest FRR (Vos, 2023, 3.2).

    Raises `SettingError` where the rate is not in (0, 1], or there are no pairs.
    """
    if not len(impostor):
        raise SettingError("there are no impostor pairs; give photos of two people at least")
    if not 0 < rate <= 1:
        raise SettingError(
            f"a false acceptance rate of {rate} cannot be kept below; choose one in (0, 1], such as 0.001"
        )
    allowed = math.ceil(len(impostor) * math.nextafter(rate, 0)) - 1
    return float(np.partition(impostor, allowed)[allowed])


def false_non_match_rate(distances: Distances, threshold: float) -> float:
    """The share of pairs of one person, one or both cloaked, that do not match; Vos' attack success rate (2023, Eq. 4).

    The paper compares similarities, which lie *below* its threshold where distances lie at ours or beyond.
    """
    return float((distances >= threshold).mean())


def histogram(pairs: Pairs, bins: int = 100) -> Histogram:
    """Genuine and impostor distances in bins of equal width from 0 to the largest distance (Vos, 2023, Fig. 4 to 7)."""
    edges = np.linspace(0, max(pairs.genuine.max(), pairs.impostor.max()), bins + 1)
    genuine, impostor = (
        np.histogram(distances, edges)[0] / len(distances) for distances in (pairs.genuine, pairs.impostor)
    )
    return Histogram(edges, genuine, impostor)
