"""Identification: whom does a photo show, among people of whom labeled photos are at hand? (Cilloni et al., 2020, V-B.)

A rule takes the embeddings of the photos in question, those of the labeled photos, and the labels of the latter; it
gives a label for each photo, or `NOBODY`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from faceveil.protocols.drawing import draw
from faceveil.protocols.verification import FACENET
from faceveil.types import Embeddings

NOBODY = -1

Labels = Int64[ndarray, " _"]
Rule = Callable[[Tensor, Tensor, Labels], Labels]
Accuracies = Mapping[str, Float[ndarray, " times"]]


@dataclass(frozen=True)
class Neighbors:
    """The `k` nearest labeled photos vote, or as many of them as lie nearer than `bound`.

    Weighted votes count 1 / distance. Of people with equal votes the one with the smallest label is taken, as
    scikit-learn does; where nobody votes it is `NOBODY`. The paper does not say which k it used.
    """

    k: int = 1
    bound: float = float("inf")
    weighted: bool = False

    def __call__(
        self, asked: Embeddings, labeled: Float[Tensor, "m d"], labels: Int64[ndarray, " m"]
    ) -> Int64[ndarray, " n"]:
        distances, nearest = torch.cdist(asked, labeled).topk(min(self.k, len(labeled)), largest=False)
        votes = (distances < self.bound).to(distances)
        if self.weighted:
            votes /= distances.clamp(min=1e-12)
        people, numbers = np.unique(labels, return_inverse=True)
        voted = torch.from_numpy(numbers).to(nearest)[nearest]
        most, winner = votes.new_zeros(len(asked), len(people)).scatter_add_(1, voted, votes).max(1)
        return np.where((most > 0).cpu().numpy(), people[winner.cpu().numpy()], NOBODY)


def nearest_centroid(
    asked: Embeddings, labeled: Float[Tensor, "m d"], labels: Int64[ndarray, " m"]
) -> Int64[ndarray, " n"]:
    """The person the mean of whose embeddings is nearest."""
    people, numbers = np.unique(labels, return_inverse=True)
    centroids = torch.stack([labeled[numbers == number].mean(0) for number in range(len(people))])
    return np.asarray(people[torch.cdist(asked, centroids).argmin(1).cpu().numpy()])


RULES: Mapping[str, Rule] = {
    "nearest neighbor": Neighbors(),
    "nearest centroid": nearest_centroid,
    "k-NN": Neighbors(5),
    "weighted k-NN": Neighbors(5, weighted=True),
    "distance-bound NN": Neighbors(bound=FACENET),
}


def identify(
    labeled: Embeddings,
    asked: Embeddings,
    labels: Int64[ndarray, " n"],
    *,
    people: int = 20,
    depth: int = 20,
    probes: int = 10,
    times: int = 100,
    seed: int = 0,
    rules: Mapping[str, Rule] = RULES,
) -> Accuracies:
    """The share of photos that each rule assigns to the right person, each time that people and photos are drawn.

    `labeled` and `asked` hold the same photos in the order of `labels`, as they are when labeled and when in question.
    Of each of `people` people (the breadth) `depth` photos are labeled and `probes` others are in question, as in
    Table I; Fig. 10 varies breadth and depth. Divide by 1 / `people`, the accuracy of chance, for Fig. 11.
    Raises `SettingError` where too few people have as many photos.
    """
    random = np.random.default_rng(seed)
    accuracies = {name: np.zeros(times) for name in rules}
    for turn in range(times):
        drawn = draw(labels, people, depth + probes, random)
        known, unknown = drawn[:, :depth].ravel(), drawn[:, depth:].ravel()
        for name, rule in rules.items():
            found = rule(asked[unknown], labeled[known], labels[known])
            accuracies[name][turn] = (found == labels[unknown]).mean()
    return accuracies


def scenarios(clear: Embeddings, cloaked: Embeddings) -> dict[str, tuple[Embeddings, Embeddings]]:
    """What is labeled and what is in question in each of Table I's three columns: the first arguments of `identify`."""
    return {
        "all clear": (clear, clear),
        "clear enrolled only": (clear, cloaked),
        "all cloaked": (cloaked, cloaked),
    }
