"""How well a recognizer tells people apart, how far apart strangers lie and how fast it is: measured here.

Accuracy as in LFW's protocol: the threshold is chosen on nine tenths of the pairs and judged on the rest, ten times
(Huang et al., 2007, http://vis-www.cs.umass.edu/lfw/). Thresholds at a false acceptance rate come from all pairs of
photos of different people, of which there are far more.
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

from faceveil.errors import SettingError
from faceveil.recognizers.base import Recognizer
from faceveil.types import Embeddings

RATES = {"far_1e-2": 1e-2, "far_1e-3": 1e-3, "far_1e-4": 1e-4}
FOLDS = 10
ROWS = 1024  # embeddings that are compared with all others at a time

Distances = Float[ndarray, " _"]


@dataclass(frozen=True)
class Calibration:
    """What was measured.

    `accuracy` is the mean over the folds and `accuracy_std` their standard deviation; `auc` is the area under the ROC
    curve; `thresholds` are Euclidean distances that a given share of strangers fall below; `tar` is the share of the
    genuine pairs that lie below the one for 1e-3. `pairs` and `strangers` say how many pairs each came from.
    """

    accuracy: float
    accuracy_std: float
    auc: float
    tar: float
    pairs: int
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
) -> Calibration:
    """Judges embeddings of photos, whose labels say whom they show, by pairs of their indices.

    Raises `SettingError` where there are fewer than ten pairs of one kind.
    """
    if min(same.sum(), (~same).sum()) < FOLDS:
        raise SettingError(f"{same.sum()} genuine and {(~same).sum()} impostor pairs; {FOLDS} of each are needed")
    distances = (embeddings[first] - embeddings[second]).norm(dim=1).double().numpy()
    far = np.sort(strangers(embeddings, labels))
    thresholds = {name: float(far[int(rate * len(far))]) for name, rate in RATES.items()}
    folds = _accuracies(distances, same)
    return Calibration(
        accuracy=float(np.mean(folds)),
        accuracy_std=float(np.std(folds)),
        auc=area(distances[same], distances[~same]),
        tar=float((distances[same] < thresholds["far_1e-3"]).mean()),
        pairs=len(same),
        strangers=len(far),
        thresholds=thresholds,
    )


def strangers(embeddings: Embeddings, labels: Int64[ndarray, " n"]) -> Distances:
    """The distances between all photos of different people, each pair once."""
    whom, found = torch.from_numpy(labels), []
    for start in range(0, len(embeddings), ROWS):
        rows = embeddings[start : start + ROWS]
        later = torch.arange(start, start + len(rows))[:, None] < torch.arange(len(embeddings))
        apart = whom[start : start + ROWS, None] != whom
        found.append(torch.cdist(rows, embeddings)[later & apart].numpy())
    return np.concatenate(found)


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


def area(genuine: Distances, impostor: Distances) -> float:
    """The chance that a genuine pair lies nearer than an impostor pair: the area under the ROC curve."""
    impostor = np.sort(impostor)
    nearer = np.searchsorted(impostor, genuine, "left") + np.searchsorted(impostor, genuine, "right")
    return float(1 - nearer.mean() / 2 / len(impostor))


def speed(recognizer: Recognizer, batch: int, repeats: int = 5) -> Speed:
    """The median over repeats, on images of noise."""
    images = torch.rand(batch, 3, *recognizer.size, device=recognizer.scale.device)

    def both(given: Tensor) -> Tensor:
        return torch.autograd.grad(recognizer(given).square().sum(), given)[0]

    with torch.no_grad():
        alone = median(_milliseconds(recognizer, images) for _ in range(repeats))
    images.requires_grad_()
    return Speed(batch, alone / batch, median(_milliseconds(both, images) for _ in range(repeats)) / batch)


def write(path: Path, measured: Calibration) -> None:
    """Puts the numbers at the end of a card, in place of older ones; the published threshold stays."""
    text = path.read_text("utf-8").split("\n[measured]")[0].rstrip()
    lines = [line for line in text.splitlines() if not line.startswith("far_1e")]
    if "[thresholds]" not in lines:
        lines += ["", "[thresholds]"]
    lines += [f"{name} = {distance:.4f}" for name, distance in measured.thresholds.items()]
    lines += ["", "[measured]", f"accuracy = {measured.accuracy:.4f}", f"accuracy_std = {measured.accuracy_std:.4f}"]
    lines += [f"auc = {measured.auc:.5f}", f"tar = {measured.tar:.4f}"]
    lines += [f"pairs = {measured.pairs}", f"strangers = {measured.strangers}"]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def _accuracies(distances: Distances, same: Bool[ndarray, " n"]) -> list[float]:
    """The share of right verdicts in each tenth of the pairs; pairs of a kind go to the tenths in turn."""
    fold = np.empty(len(same), int)
    fold[same], fold[~same] = np.arange(same.sum()) % FOLDS, np.arange((~same).sum()) % FOLDS
    found = []
    for judged in (fold == i for i in range(FOLDS)):
        threshold = best_threshold(distances[~judged], same[~judged])
        found.append(float(((distances[judged] < threshold) == same[judged]).mean()))
    return found


def _milliseconds(act: Callable[[Tensor], Tensor], images: Tensor) -> float:
    start = time.perf_counter()
    act(images).sum().item()
    return 1000 * (time.perf_counter() - start)
