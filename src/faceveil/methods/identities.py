"""Whom a cloaked face is to be taken for: enrolled photos, or identities that belong to nobody."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor

from faceveil.errors import SettingError
from faceveil.methods.scene import Scene
from faceveil.recognizers import Recognizer
from faceveil.types import Embeddings, Own

Candidates = Float[Tensor, "_ _ _"]  # one surrogate's embeddings [n, k, d] of k identities for each of n images


def candidates(
    scene: Scene, sources: Sequence[Own], targets: Sequence[Own], count: int, seed: int
) -> tuple[Candidates, ...]:
    """For each surrogate the targets [k, d], the same for every image; without any, `count` virtual identities.

    Raises `SettingError` if there are targets, but not for each surrogate.
    """
    if not targets:
        seeds = scene.seeds(seed)
        return tuple(virtual(*pair, count, seeds) for pair in zip(scene.surrogates, sources, strict=True))
    if len(targets) != len(scene.surrogates):
        raise SettingError(
            f"targets are there for {len(targets)} surrogates; embed them with all {len(scene.surrogates)}"
        )
    return tuple(some.to(source).expand(len(source), -1, -1) for some, source in zip(targets, sources, strict=True))


def virtual(recognizer: Recognizer, sources: Embeddings, count: int, seeds: Sequence[int]) -> Candidates:
    """Embeddings [n, count, d] that belong to nobody: about as far from each source as strangers, in random directions.

    Random directions are no nearer to real people than strangers are, as embeddings have many dimensions. Each image
    has its own, from its seed, so that cloaked photos of one person do not meet at one new identity.
    """
    drawn = [torch.randn(count, sources.shape[1], generator=Generator().manual_seed(seed)) for seed in seeds]
    directions = torch.stack(drawn).to(sources)
    if recognizer.card.embedding.normalized:
        return F.normalize(directions, dim=2)
    return sources[:, None] + apart(recognizer) / math.sqrt(sources.shape[1]) * directions


def bent(
    scene: Scene, sources: Sequence[Own], seed: int, reach: float = 0.07, light: float = 0.2, nodes: int = 4
) -> tuple[Own, ...]:
    """For each surrogate an embedding [n, d] of nobody: the way that a bent mirror leads, as far as strangers are.

    Each image is shifted and lit smoothly, by normal numbers at `nodes` x `nodes` places: the shift's deviation is
    `reach` in halves of the image's side, the light's is `light`, 1 being white. All surrogates see the same other
    face, so the way there is one that other recognizers know, too, unlike a random direction; and each image has its
    own, so that cloaked photos of one person do not meet.
    """
    height, width = scene.images.shape[2:]
    drawn = [torch.randn(3, nodes, nodes, generator=Generator().manual_seed(each)) for each in scene.seeds(seed)]
    smooth = F.interpolate(torch.stack(drawn), (height, width), mode="bicubic", align_corners=True)
    shift, lit = reach * smooth[:, :2], light * smooth[:, 2:].to(scene.images)
    here = F.affine_grid(torch.eye(2, 3).expand(len(drawn), 2, 3), [len(drawn), 3, height, width], align_corners=True)
    there = (here + shift.permute(0, 2, 3, 1)).to(scene.images)
    mirrored = F.grid_sample(scene.images, there.clamp(-1, 1), align_corners=True)
    others = scene.embed((mirrored + lit).clamp(0, 1))
    targets = []
    for recognizer, source, seen in zip(scene.surrogates, sources, others, strict=True):
        target = source + apart(recognizer) * F.normalize(seen - source)
        targets.append(F.normalize(target) if recognizer.card.embedding.normalized else target)
    return tuple(targets)


def apart(recognizer: Recognizer) -> float:
    """About how far apart strangers lie: at right angles on the unit sphere, else one and a half thresholds."""
    return math.sqrt(2) if recognizer.card.embedding.normalized else 1.5 * recognizer.threshold
