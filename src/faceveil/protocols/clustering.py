"""Clustering: which photos show one person, with nothing labeled? (Cilloni et al., 2020, V-C.)

A clusterer takes embeddings and gives each the number of its cluster; `ALONE` means that it belongs to none.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from faceveil.protocols.drawing import draw
from faceveil.protocols.verification import FACENET
from faceveil.types import Embeddings

ALONE = -1
SHARES = (0.0, 0.1, 0.5, 1.0)  # of the photos that are cloaked: Table II's rows

Clusters = Int64[ndarray, " _"]
Clusterer = Callable[[Tensor], Clusters]
Score = Callable[[Clusters, Clusters], float]


@dataclass(frozen=True)
class Agglomerative:
    """Merges the two nearest clusters until they lie `distance` or more apart, or until `count` are left: give one.

    The paper does not name its linkage; `average` is the mean distance between the photos of both.
    """

    distance: float | None = None
    count: int | None = None
    linkage: str = "average"

    def __call__(self, embeddings: Embeddings) -> Int64[ndarray, " n"]:
        from sklearn.cluster import AgglomerativeClustering

        model = AgglomerativeClustering(self.count, distance_threshold=self.distance, linkage=self.linkage)
        return np.asarray(model.fit_predict(embeddings.cpu().numpy()), np.int64)


CLUSTERERS: Mapping[str, Clusterer] = {
    "distance": Agglomerative(distance=FACENET),  # the paper's configuration 1
    "count": Agglomerative(count=20),  # and 2
}


@dataclass(frozen=True)
class Agreement:
    """How far clusters and people agree; `f1` is the harmonic mean of the two."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; 0 where both are."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def purity(labels: Int64[ndarray, " n"], clusters: Int64[ndarray, " n"]) -> float:
    """The share of photos that show the most frequent person of their cluster, clusters of one photo left out.

    The paper's clustering accuracy. It flatters fragments: pairs of duplicates score 1. Where all photos are alone
    nothing was found, and it is 0.
    """
    counts = _contingency(labels, clusters)
    counts = counts[:, counts.sum(0) > 1]
    return float(counts.max(0).sum() / counts.sum()) if counts.size else 0.0


def pairwise(labels: Int64[ndarray, " n"], clusters: Int64[ndarray, " n"]) -> Agreement:
    """Of the pairs in one cluster, the share that show one person; and of the pairs of one person, that in one cluster.

    Where there are no such pairs it is 0.
    """
    counts = _contingency(labels, clusters)
    both, together, same = (_pairs(some) for some in (counts, counts.sum(0), counts.sum(1)))
    return Agreement(both / max(together, 1), both / max(same, 1))


def bcubed(labels: Int64[ndarray, " n"], clusters: Int64[ndarray, " n"]) -> Agreement:
    """The means over photos: what share of a photo's cluster shows its person, and of its person's photos is there.

    B-cubed (Bagga and Baldwin, 1998, https://aclanthology.org/P98-1012/). Without photos it is 0.
    """
    counts = _contingency(labels, clusters)
    squares, photos = counts * counts, max(1, counts.sum())
    precision, recall = squares.sum(0) / counts.sum(0), squares.sum(1) / counts.sum(1)
    return Agreement(float(precision.sum() / photos), float(recall.sum() / photos))


SCORES: Mapping[str, Score] = {
    "purity": purity,
    "pairwise F1": lambda labels, clusters: pairwise(labels, clusters).f1,
    "B-cubed F1": lambda labels, clusters: bcubed(labels, clusters).f1,
}


def cluster(
    clear: Embeddings,
    cloaked: Embeddings,
    labels: Int64[ndarray, " n"],
    *,
    shares: Sequence[float] = SHARES,
    people: int = 20,
    depth: int = 20,
    times: int = 100,
    seed: int = 0,
    clusterers: Mapping[str, Clusterer] = CLUSTERERS,
    scores: Mapping[str, Score] = SCORES,
) -> dict[tuple[float, str, str], Float[ndarray, " times"]]:
    """Table II: the scores of each share of cloaked photos, clusterer and score, by their names, each time drawn.

    `depth` photos of each of `people` people take part; which of them are cloaked is drawn, and those of a smaller
    share are among those of a larger one. Raises `SettingError` where too few people have as many photos.
    """
    random = np.random.default_rng(seed)
    found = {(share, by, score): np.zeros(times) for share in shares for by in clusterers for score in scores}
    for turn in range(times):
        drawn = random.permutation(draw(labels, people, depth, random).ravel())
        for share in shares:
            embeddings = clear[drawn].clone()
            changed = round(share * len(drawn))
            embeddings[:changed] = cloaked[drawn[:changed]]
            for by, clusterer in clusterers.items():
                clusters = clusterer(embeddings)
                for name, score in scores.items():
                    found[share, by, name][turn] = score(labels[drawn], clusters)
    return found


def _contingency(labels: Clusters, clusters: Clusters) -> Int64[ndarray, "people clusters"]:
    """How many photos of each person lie in each cluster; a photo that is alone has a cluster of its own."""
    from sklearn.metrics.cluster import contingency_matrix

    alone = clusters == ALONE
    apart = np.where(alone, clusters.max(initial=0) + np.cumsum(alone), clusters)
    counts: Int64[ndarray, "people clusters"] = contingency_matrix(labels, apart)
    return counts


def _pairs(counts: Int64[ndarray, "..."]) -> float:
    return float((counts * (counts - 1)).sum() / 2)
