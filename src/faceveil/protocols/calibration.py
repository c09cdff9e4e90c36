"""Calibration: how well a recognizer tells people apart, how far apart strangers lie and how fast it is, measured here.

Accuracy as in LFW's protocol: the threshold is chosen on all folds of the pairs but one and judged on that one, for
each in turn (Huang et al., 2007, http://vis-www.cs.umass.edu/lfw/). Nobody is in two of its folds. Thresholds at a
false acceptance rate come from all pairs of photos of different people, of which there are far more.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy import ndarray
from torch import Tensor

from faceveil.errors import SettingError, UnwritablePhotoError, WeightsError
from faceveil.files import one_line, publish
from faceveil.protocols.verification import Distances, Pairs, roc, strangers, threshold_below
from faceveil.recognizers import Recognizer
from faceveil.types import Embeddings

RATES = {"far_1e-2": 1e-2, "far_1e-3": 1e-3, "far_1e-4": 1e-4}


@dataclass(frozen=True)
class Calibration:
    """What was measured.

    `accuracy` is the mean over the folds and `accuracy_std` their standard deviation; `auc` is the area under the ROC
    curve; `thresholds` are Euclidean distances that a given share of strangers fall below; `tar` is the share of the
    genuine pairs that lie below the one for 1e-3. `pairs`, in so many `folds`, and `strangers` say how many pairs each
    came from.
    """

    accuracy: float
    accuracy_std: float
    auc: float
    tar: float
    pairs: int
    folds: int
    strangers: int
    thresholds: dict[str, float]


@dataclass(frozen=True)
class Speed:
    """Milliseconds for each image of a batch: forward, and forward and backward to the image."""

    batch: int
    forward: float
    both: float


def calibrate(
    embeddings: Embeddings,
    labels: Int64[ndarray, " n"],
    first: Int64[ndarray, " m"],
    second: Int64[ndarray, " m"],
    same: Bool[ndarray, " m"],
    fold: Int64[ndarray, " m"],
) -> Calibration:
    """Judges embeddings of photos, whose labels say whom they show, by pairs of their indices, each in its fold.

    Raises `SettingError` where there are fewer than two folds, no pairs of one kind, or no strangers.
    """
    numbers = np.unique(fold)
    if len(numbers) < 2 or same.all() or not same.any():
        found = f"{same.sum()} genuine and {(~same).sum()} impostor pairs in {len(numbers)} folds"
        raise SettingError(f"{found}; both kinds and two folds at least are needed: take LFW's own pairs.txt")
    distances = (embeddings[first] - embeddings[second]).norm(dim=1).double().numpy()
    listed, apart = Pairs(distances[same], distances[~same]), strangers(embeddings, labels)
    thresholds, folds = limits(apart), accuracies(distances, same, fold)
    return Calibration(
        accuracy=float(folds.mean()),
        accuracy_std=float(folds.std()),
        auc=roc(listed).auc,
        tar=listed.true_positive_rate(thresholds["far_1e-3"]),
        pairs=len(same),
        folds=len(folds),
        strangers=len(apart),
        thresholds=thresholds,
    )


def limits(apart: Distances) -> dict[str, float]:
    """The distance that fewer than one in a hundred, a thousand and ten thousand pairs of strangers lie below."""
    return {name: threshold_below(apart, rate) for name, rate in RATES.items()}


def best_threshold(distances: Distances, same: Bool[ndarray, " _"]) -> float:
    """The distance that separates genuine pairs (below) from the others with the fewest errors.

    Half way between two pairs' distances; where several places do equally well, the middle one.
    """
    order = np.argsort(distances)
    places, genuine = distances[order], same[order]
    below, beyond = np.cumsum(genuine), np.cumsum(~genuine[::-1])[::-1]
    right = np.concatenate([[0], below]) + np.concatenate([beyond, [0]])
    edges = np.concatenate([[places[0] - 1], places, [places[-1] + 1]])
    right[np.diff(edges) == 0] = -1  # nothing fits between two pairs at the same distance
    best = np.flatnonzero(right == right.max())
    middle = best[len(best) // 2]
    return float(edges[middle] + edges[middle + 1]) / 2


def accuracies(distances: Distances, same: Bool[ndarray, " m"], fold: Int64[ndarray, " m"]) -> Float[ndarray, " folds"]:
    """The share of right verdicts in each fold, by the threshold that is best in all others.

    LFW's protocol (Huang et al., 2007): its accuracy is the mean over ten folds.
    """
    found = []
    for judged in (fold == number for number in np.unique(fold)):
        threshold = best_threshold(distances[~judged], same[~judged])
        found.append(((distances[judged] < threshold) == same[judged]).mean())
    return np.array(found)


def speed(recognizer: Recognizer, batch: int, repeats: int = 5) -> Speed:
    """The median over repeats, on images of noise."""
    images = torch.rand(batch, 3, *recognizer.size, device=recognizer.device)

    def both(given: Tensor) -> Tensor:
        return torch.autograd.grad(recognizer(given).square().sum(), given)[0]

    with torch.no_grad():
        alone = median(_milliseconds(recognizer, images) for _ in range(repeats))
    images.requires_grad_()
    return Speed(batch, alone / batch, median(_milliseconds(both, images) for _ in range(repeats)) / batch)


def write(path: Path, measured: Calibration) -> None:
    """Puts the numbers at the end of a card, in place of older ones; the published threshold stays.

    Raises `WeightsError` where it cannot be written.
    """
    text = path.read_text("utf-8").split("\n[measured]")[0].rstrip()
    lines = [line for line in text.splitlines() if not line.startswith("far_1e")]
    if "[thresholds]" not in lines:
        lines += ["", "[thresholds]"]
    lines += [f"{name} = {distance:.4f}" for name, distance in measured.thresholds.items()]
    lines += ["", "[measured]", f"accuracy = {measured.accuracy:.4f}", f"accuracy_std = {measured.accuracy_std:.4f}"]
    lines += [f"auc = {measured.auc:.5f}", f"tar = {measured.tar:.4f}"]
    lines += [f"pairs = {measured.pairs}", f"folds = {measured.folds}", f"strangers = {measured.strangers}"]
    try:
        publish(("\n".join(lines) + "\n").encode(), path, force=True)
    except UnwritablePhotoError as error:
        reason = one_line(getattr(error.__cause__, "strerror", None) or error)
        found = f"the card {one_line(path)} cannot be written ({reason})"
        raise WeightsError(f"{found}; see that its folder is writable and has room, and calibrate again") from error


def _milliseconds(act: Callable[[Tensor], Tensor], images: Tensor) -> float:
    start = time.perf_counter()
    act(images).sum().item()
    return 1000 * (time.perf_counter() - start)
