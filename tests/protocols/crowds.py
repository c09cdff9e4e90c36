"""People who do not exist, for tests of protocols."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def crowd(people: int, photos: int, spread: float = 0.2, size: int = 32, seed: int = 0) -> tuple[Tensor, np.ndarray]:
    """Embeddings of unit length, photo by photo of each person, and whom they show."""
    random = torch.Generator().manual_seed(seed)
    centers = F.normalize(torch.randn(people, 1, size, generator=random), dim=2)
    embeddings = F.normalize(centers + spread * torch.randn(people, photos, size, generator=random), dim=2)
    return embeddings.flatten(0, 1), np.repeat(np.arange(people), photos)


def strangers(count: int, size: int = 32, seed: int = 1) -> Tensor:
    """Embeddings of which each shows somebody else."""
    return F.normalize(torch.randn(count, size, generator=torch.Generator().manual_seed(seed)))
