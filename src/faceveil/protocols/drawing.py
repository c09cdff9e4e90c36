"""Which people and which of their photos take part in one of many repetitions."""

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from faceveil.errors import SettingError


def draw(
    labels: Int64[ndarray, " n"], people: int, photos: int, random: np.random.Generator
) -> Int64[ndarray, "people photos"]:
    """The indices of that many photos of each of that many people; a negative label means that nobody knows who it is.

    Raises `SettingError` where too few people have as many photos.
    """
    identities, counts = np.unique(labels[labels >= 0], return_counts=True)
    enough = identities[counts >= photos]
    if len(enough) < people:
        raise SettingError(f"{len(enough)} people have {photos} photos, and {people} are needed; ask for fewer")
    chosen = random.choice(enough, people, replace=False)
    return np.stack([random.choice(np.flatnonzero(labels == who), photos, replace=False) for who in chosen])
