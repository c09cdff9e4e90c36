"""Rank-N: what stands among the N photos of a gallery that are nearest to a probe? (TIP-IM, Yang et al., 2021, 5.1.)"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from faceveil.errors import SettingError
from faceveil.types import Embeddings

PROBES = 1024  # that are compared at a time,
BLOCK = 2**20  # and distances that are held meanwhile: few enough to stay in a cache

Gallery = Float[Tensor, "m d"] | Float[ndarray, "m d"]


@dataclass(frozen=True)
class Nearest:
    """The nearest rows of a gallery to each probe, the nearest first, and their Euclidean distances."""

    rows: Int64[ndarray, "n k"]
    distances: Float[ndarray, "n k"]


@dataclass(frozen=True)
class Rank:
    """Shares of the probes: `targeted` is Rank-N-T, `untargeted` Rank-N-UT; higher is better protected."""

    targeted: float
    untargeted: float


@dataclass(frozen=True)
class Parts:
    """The indices of the photos that play each part; no photo plays two."""

    probes: Int64[ndarray, " probes"]
    targets: Int64[ndarray, " targets"]
    gallery: Int64[ndarray, " gallery"]


def nearest(probes: Embeddings, gallery: Gallery, k: int) -> Nearest:
    """The `k` nearest rows of a gallery to each probe; the gallery is read in pieces and may lie on the disk.

    Whatever its length, some tens of MB are used besides it.
    """
    k = min(k, len(gallery))
    parts = [_nearest(some, gallery, k) for some in torch.split(probes, PROBES)]
    distances, rows = (torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True))
    return Nearest(rows, distances)


def _nearest(probes: Embeddings, gallery: Gallery, k: int) -> tuple[Float[Tensor, "n k"], Int64[Tensor, "n k"]]:
    best = probes.new_empty(len(probes), 0)
    rows = torch.empty(len(probes), 0, dtype=torch.int64, device=probes.device)
    length = max(1, BLOCK // max(1, len(probes)))
    for start in range(0, len(gallery), length):
        piece = gallery[start : start + length]
        piece = torch.from_numpy(np.array(piece)) if isinstance(piece, ndarray) else piece
        near, which = torch.cdist(probes, piece.to(probes)).topk(min(k, len(piece)), largest=False)
        best, chosen = torch.cat([best, near], 1).topk(min(k, best.shape[1] + near.shape[1]), largest=False)
        rows = torch.cat([rows, which + start], 1).gather(1, chosen)
    return best, rows


def ranks(
    probes: Embeddings,
    identities: Int64[ndarray, " n"],
    gallery: Gallery,
    labels: Int64[ndarray, " m"],
    targets: Collection[int],
    sizes: Sequence[int] = (1, 5),
) -> Mapping[int, Rank]:
    """Rank-N-T and Rank-N-UT for each N of `sizes`.

    `identities` say whom the probes show, `labels` whom the gallery shows; `targets` are the labels of the people as
    whom the probes are disguised. Targeted: at least one of the N nearest photos shows one of them. Untargeted: none of
    the N shows the probe's own person. Raises `SettingError` where there is no probe, or the gallery lacks a probe's
    person, for then the latter would mean nothing.
    """
    if not len(probes):
        raise SettingError("there are no probes; give one or more")
    if missing := set(identities.tolist()) - set(labels.tolist()):
        raise SettingError(
            f"the gallery has no photo of {len(missing)} people of the probes; add some, or leave them out"
        )
    found = labels[nearest(probes, gallery, max(sizes)).rows]
    hit, own = np.isin(found, list(targets)), found == identities[:, None]
    return {n: Rank(float(hit[:, :n].any(1).mean()), float(1 - own[:, :n].any(1).mean())) for n in sizes}


def arrange(
    labels: Int64[ndarray, " n"],
    protected: Collection[int],
    targets: Collection[int],
    additional: Collection[int],
    seed: int = 0,
) -> Parts:
    """TIP-IM's gallery: a photo of each protected person is the probe, one of each target is what cloaks are made with.

    Their other photos, and all of the additional people, are the gallery: nothing in it was seen while cloaking.
    The paper has 500, 10 and 500 people. Raises `SettingError` where a protected or target person has one photo only.
    """
    random = np.random.default_rng(seed)
    probes, known = (np.array([_one(labels, who, random) for who in some], np.int64) for some in (protected, targets))
    people = [*protected, *targets, *additional]
    gallery = np.setdiff1d(np.flatnonzero(np.isin(labels, people)), np.concatenate([probes, known]))
    return Parts(probes, known, gallery)


def _one(labels: Int64[ndarray, " n"], who: int, random: np.random.Generator) -> int:
    photos = np.flatnonzero(labels == who)
    if len(photos) < 2:
        raise SettingError(f"person {who} has {len(photos)} photos, and 2 are needed; choose another")
    return int(random.choice(photos))
