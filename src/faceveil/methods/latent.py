"""Latent-space de-identification, after Kelly et al. (2022): Exploring Face De-Identification using Latent Spaces.

An encoder-decoder learns to change a face little and its embedding much. https://doi.org/10.1109/IJCB54206.2022.10007990

What Vos (2023) tells of the paper is all we have of it: its networks, weights and numbers are not ours.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from faceveil.attacks.universal import fooled
from faceveil.methods.learned import Generated, likeness, start_small
from faceveil.objectives.dissimilarity import Dissimilarity
from faceveil.recognizers import Recognizer
from faceveil.training import Engine, Examples, Learner, Track, Workshop, from_0, positive, train, untracked
from faceveil.types import Images

STAGES = 3  # of stride 2: a face of 112 x 112 becomes 14 x 14 latents


class Autoencoder(nn.Module):
    """From faces to what is added to them, each [n, 3, h, w] in [0, 1], through latents alone: nothing skips them.

    What is added therefore depends on broad parts of the face only, not on its pixels. It is brightness, no color:
    left free, it learns green and purple stripes, to which structural similarity is nearly blind.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = [3] + [width * 2**stage for stage in range(STAGES)]
        encoder: list[nn.Module] = []
        for before, after in pairwise(widths):
            encoder += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.GroupNorm(1, after), nn.ReLU()]
        decoder: list[nn.Module] = []
        for before, after in pairwise([*widths[:0:-1], width]):
            decoder += [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, padding=1)]
            decoder += [nn.GroupNorm(1, after), nn.ReLU()]
        self.encoder = nn.Sequential(*encoder)
        self.decoder = nn.Sequential(*decoder, start_small(nn.Conv2d(width, 1, 3, padding=1), 0.3), nn.Tanh())

    def forward(self, faces: Images) -> Images:
        added: Tensor = self.decoder(self.encoder(2 * faces - 1))
        return added.expand_as(faces)


@dataclass(frozen=True)
class Learning:
    """How the encoder-decoder learns: how much may change, as DSSIM at each of `scales`, and its price. All ours."""

    width: int = 32
    dssim: float = 0.04
    price: float = 10.0
    scales: int = 3
    rate: float = 2e-3
    epochs: int = 10
    batch: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        positive(width=self.width, dssim=self.dssim, scales=self.scales)
        positive(rate=self.rate, epochs=self.epochs, batch=self.batch)
        from_0(price=self.price, seed=self.seed)


def learn(
    faces: Examples,
    surrogates: Sequence[Recognizer],
    folder: Path,
    learning: Learning,
    engine: Engine | None = None,
    track: Track = untracked,
) -> tuple[Autoencoder, list[dict[str, float]]]:
    """An encoder-decoder that learned from faces [n, 3, h, w], aligned to its template, and each epoch's mean losses.

    L = likeness(x, x') + `price` max(DSSIM(x, x') - `dssim`, 0), likeness as the surrogates see it, DSSIM the largest
    of the images', their halves', quarters' ...: a mean would let stripes pass that only one of them shows.
    """
    torch.manual_seed(learning.seed)
    module = Autoencoder(learning.width)

    def step(shop: Workshop, clear: Images) -> dict[str, Tensor]:
        clear, nets = clear.to(shop.device), [net.to(shop.device) for net in surrogates]
        cloaked = (clear + shop.modules["autoencoder"](clear)).clamp(0, 1)
        alike = likeness(clear, cloaked, nets, Latent.template).mean()
        unlike = Dissimilarity(clear, scales=learning.scales).by_scale(cloaked.float()).amax(0)
        shop.descend("autoencoder", alike + learning.price * (unlike - learning.dssim).clamp(min=0).mean())
        return {"cosine": alike, "dssim": unlike.mean()}

    learners = {"autoencoder": Learner(module, torch.optim.Adam(module.parameters(), learning.rate))}
    told = {"servers": fooled(surrogates), **asdict(learning)}
    history = train(learners, step, faces, folder, engine=engine, track=track, **told)
    return module.cpu(), history


@dataclass(frozen=True)
class Latent(Generated):
    """Adds what the encoder-decoder makes of each face."""

    model: str = "latent"

    kind = Autoencoder
