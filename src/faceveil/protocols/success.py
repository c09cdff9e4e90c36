"""How often a cloak succeeds: against a classifier (Ghafourian et al., 2023) and against verification (APF, 2020)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy import ndarray
from torch import Tensor

from faceveil.errors import SettingError
from faceveil.types import Embeddings

TOPS = (1, 5, 10, 25, 50)  # Ghafourian's Table 1


@dataclass(frozen=True)
class Matching:
    """Attack success rates where cloaked photos are compared with a clear one, and with one another."""

    original: float
    adversarial: float


def protection_success_rate(
    scores: Float[Tensor, "n classes"],
    truth: Int64[ndarray, " n"],
    found: Bool[ndarray, " n"] | None = None,
    tops: Sequence[int] = TOPS,
) -> Mapping[int, float]:
    """The share of photos whose person is not among the 1, 5, 10, 25, 50 best classes (Ghafourian et al., 2023, Eq. 5).

    `scores` are a classifier's, higher for likelier classes, or a `likeness`; `truth` is the class of each photo's
    person. A class with an equal score is not better. `found` says in which photos the detector still sees a face: who
    is not seen is not classified, so the others count as protected. The paper gives percent.
    """
    given = scores.cpu().numpy()
    better = (given > np.take_along_axis(given, truth[:, None], 1)).sum(1)
    seen = np.ones(len(truth), np.bool_) if found is None else found
    return {top: float(1 - (seen & (better < top)).mean()) for top in tops}


def likeness(
    probes: Embeddings, gallery: Float[Tensor, "m d"], labels: Int64[ndarray, " m"]
) -> Float[Tensor, "n people"]:
    """Scores without a classifier: minus the distance to each person's nearest photo, in the order of the labels."""
    people, numbers = np.unique(labels, return_inverse=True)
    columns = torch.from_numpy(numbers).to(probes.device).expand(len(probes), -1)
    scores = probes.new_full((len(probes), len(people)), -torch.inf)
    return scores.scatter_reduce_(1, columns, -torch.cdist(probes, gallery), "amax")


def attack_success_rate(without: Bool[ndarray, " n"], cloaked: Bool[ndarray, " n"]) -> float:
    """The share of photos that were recognized without a cloak less the share that are with one (APF, 2020, Eq. 11)."""
    return float(without.mean() - cloaked.mean())


def matching(clear: Embeddings, cloaked: Embeddings, labels: Int64[ndarray, " n"], threshold: float) -> Matching:
    """Adversarial-original and adversarial-adversarial matching (APF, 2020, 4.3.2), the mean over people.

    The first photo of each person is enrolled as it is, the others are cloaked: `original` compares each of them with
    the former, `adversarial` each with each of the others. Both photos match where their distance is below the
    threshold. (APF's released code has 1.02 for the *squared* distance of embeddings of unit length.)
    Raises `SettingError` where a person has fewer than three photos.
    """
    rates = []
    for who in np.unique(labels):
        photos = np.flatnonzero(labels == who)
        if len(photos) < 3:
            raise SettingError(f"person {who} has {len(photos)} photos, and 3 are needed; leave them out")
        enrolled, others = clear[photos[:1]], photos[1:]
        against = [torch.cdist(some[others], enrolled).flatten() for some in (clear, cloaked)]
        among = [torch.pdist(some[others]) for some in (clear, cloaked)]
        rates.append([attack_success_rate(*((d < threshold).cpu().numpy() for d in both)) for both in (against, among)])
    return Matching(*np.mean(rates, 0).tolist())
