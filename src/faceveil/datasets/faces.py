"""Aligned faces of a data set, on the disk until they are looked at."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from numpy import ndarray

from faceveil.datasets.base import Pair
from faceveil.types import Images


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Pairs of photos as indices into `Faces`; `left_out` counts the pairs of which a face is missing."""

    first: Int64[ndarray, " n"]
    second: Int64[ndarray, " n"]
    same: Bool[ndarray, " n"]
    fold: Int64[ndarray, " n"]
    left_out: int


@dataclass(frozen=True, eq=False)
class Faces:
    """The aligned faces of a data set, one for each photo that has one, in the data set's order.

    `labels[i]` is the place in `identities` of the person in the photo `names[i]`, -1 for somebody unknown. `missing`
    says of every other photo why it is not here. The face of photo i is `store[rows[i]]`, 8-bit RGB.
    """

    names: tuple[str, ...]
    labels: Int64[ndarray, " n"]
    identities: tuple[str, ...]
    missing: dict[str, str]
    rows: Int64[ndarray, " n"] = field(repr=False)
    store: UInt8[ndarray, "m height width 3"] = field(repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: slice | Int64[ndarray, " k"]) -> Images:
        """Images [k, 3, height, width] in [0, 1]; only these are read."""
        return torch.from_numpy(self.store[self.rows[index]]).permute(0, 3, 1, 2).contiguous() / 255

    def batches(self, size: int = 64) -> Iterator[Images]:
        """All images in order, `size` at a time."""
        return (self[start : start + size] for start in range(0, len(self), size))

    def of(self, people: Iterable[str]) -> Int64[ndarray, " k"]:
        """The indices of the photos of these people, in order; those who are not here have none."""
        wanted = set(people)
        return np.flatnonzero(
            np.isin(self.labels, [label for label, name in enumerate(self.identities) if name in wanted])
        )

    def by_person(self) -> list[Int64[ndarray, " _"]]:
        """The indices of each person's photos, in order; people as in `identities`."""
        order = self.labels.argsort(kind="stable")
        _, *own = np.split(order, self.labels[order].searchsorted(np.arange(len(self.identities))))
        return own

    def compare(self, pairs: Iterable[Pair]) -> Comparisons:
        """Those pairs of which both faces are here."""
        at = {name: index for index, name in enumerate(self.names)}
        pairs = list(pairs)
        here = [pair for pair in pairs if pair.first in at and pair.second in at]
        return Comparisons(
            first=np.array([at[pair.first] for pair in here], np.int64),
            second=np.array([at[pair.second] for pair in here], np.int64),
            same=np.array([pair.same for pair in here], np.bool_),
            fold=np.array([pair.fold for pair in here], np.int64),
            left_out=len(pairs) - len(here),
        )
