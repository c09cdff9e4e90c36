"""AdvFaces (Deb et al., 2019): Adversarial Face Synthesis, in its obfuscation mode.

A generator learns to make a small perturbation of a face with which recognizers no longer know it and a discriminator
does not see it. https://arxiv.org/abs/1908.05008
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from faceveil.attacks.residual import Residual, normalized
from faceveil.attacks.universal import fooled
from faceveil.methods.learned import Generated, likeness, start_small
from faceveil.methods.settings import one_of
from faceveil.recognizers import Recognizer
from faceveil.training import Engine, Examples, Learner, Track, Workshop, from_0, positive, train, untracked
from faceveil.types import Images


class Generator(nn.Module):
    """From faces to what is added to them, each [n, 3, h, w] in [0, 1]: encoder, residual blocks, decoder.

    As in the released code: 7x7, then 4x4 with stride 2, `width` to 4 `width` channels, instance norms; back by nearest
    neighbors and 5x5, with layer norms; 7x7 and a tanh.
    """

    def __init__(self, width: int = 64, blocks: int = 3) -> None:
        super().__init__()
        wide = 4 * width
        self.layers = nn.Sequential(
            *normalized(nn.Conv2d(3, width, 7, padding=3, padding_mode="reflect")),
            *normalized(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, padding_mode="reflect")),
            *normalized(nn.Conv2d(2 * width, wide, 4, stride=2, padding=1, padding_mode="reflect")),
            *(Residual(wide, bias=True) for _ in range(blocks)),
            *_decoded(wide, 2 * width),
            *_decoded(2 * width, width),
            start_small(nn.Conv2d(width, 3, 7, padding=3, padding_mode="reflect"), 0.1),
            nn.Tanh(),
        )

    def forward(self, faces: Images) -> Images:
        added: Tensor = self.layers(2 * faces - 1)
        return added


def _decoded(before: int, after: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(before, after, 5, padding=2, padding_mode="reflect")
    return nn.Upsample(scale_factor=2), convolution, nn.GroupNorm(1, after), nn.ReLU()


class Discriminator(nn.Module):
    """From faces to a score for each of their patches, high for clear ones: five 4x4 layers of stride 2, then 1x1."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for after in (width, 2 * width, 4 * width, 8 * width, 16 * width):
            layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.BatchNorm2d(after), nn.LeakyReLU(0.2)]
            before = after
        self.layers = nn.Sequential(*layers, nn.Conv2d(before, 1, 1))

    def forward(self, faces: Images) -> Tensor:
        scores: Tensor = self.layers(2 * faces - 1)
        return scores


def least_squares(scores: Tensor, clear: bool) -> Tensor:
    """Scores to be 1 of clear faces, 0 of others (Mao et al., 2017)."""
    return (scores - float(clear)).square().mean()


def non_saturating(scores: Tensor, clear: bool) -> Tensor:
    """Cross-entropy of scores as logits (Goodfellow et al., 2014, with the generator's own loss)."""
    return F.softplus(-scores if clear else scores).mean()


GANS = {"least-squares": least_squares, "non-saturating": non_saturating}


@dataclass(frozen=True)
class Learning:
    """How AdvFaces learns. Weights, norm and Adam's numbers are the paper's (sections 3 and 4).

    `norm` is the L2 norm below which a perturbation costs nothing more, of one of 160 x 160 pixels as in the paper; a
    smaller one counts as if it were enlarged. `gan` is one of `GANS`; the paper has the original one, its code others.
    In the first `warmup` epochs, none in the paper, the norm's weight grows to `size`: so less training is needed, as
    from the start on it leads to no change at all.
    """

    width: int = 64
    blocks: int = 3
    gan: str = "least-squares"
    identity: float = 10.0
    size: float = 1.0
    norm: float = 3.0
    warmup: int = 0
    rate: float = 1e-4
    epochs: int = 10
    batch: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        one_of(GANS, gan=self.gan)
        positive(width=self.width, rate=self.rate, epochs=self.epochs, batch=self.batch)
        from_0(blocks=self.blocks, identity=self.identity, size=self.size, norm=self.norm)
        from_0(warmup=self.warmup, seed=self.seed)


def learn(
    faces: Examples,
    surrogates: Sequence[Recognizer],
    folder: Path,
    learning: Learning,
    engine: Engine | None = None,
    track: Track = untracked,
) -> tuple[Generator, list[dict[str, float]]]:
    """A generator that learned from faces [n, 3, h, w], aligned to AdvFaces' template, and each epoch's mean losses.

    L = L_GAN + `identity` likeness(x, x + G(x)) + `size` max(`norm`, |G(x)|), likeness as the surrogates see it.
    """
    torch.manual_seed(learning.seed)
    generator, discriminator = Generator(learning.width, learning.blocks), Discriminator(max(1, learning.width // 2))
    gan = GANS[learning.gan]

    def step(shop: Workshop, clear: Images) -> dict[str, Tensor]:
        clear, nets = clear.to(shop.device), [net.to(shop.device) for net in surrogates]
        added, judge = shop.modules["generator"](clear), shop.modules["discriminator"]
        cloaked = (clear + added).clamp(0, 1)
        seen = gan(judge(clear), True) + gan(judge(cloaked.detach()), False)
        shop.descend("discriminator", seen)
        unseen = gan(judge(cloaked), True)
        alike = likeness(clear, cloaked, nets, AdvFaces.template).mean()
        norm = added.square().mean((1, 2, 3)).sqrt() * (3 * 160 * 160) ** 0.5
        size = norm.clamp(min=learning.norm).mean()
        weight = learning.size * min(1.0, shop.epoch / learning.warmup if learning.warmup else 1.0)
        shop.descend("generator", unseen + learning.identity * alike + weight * size)
        return {"seen": seen, "unseen": unseen, "cosine": alike, "norm": norm.mean()}

    learners = {"generator": _learner(generator, learning), "discriminator": _learner(discriminator, learning)}
    told = {"servers": fooled(surrogates), **asdict(learning)}
    history = train(learners, step, faces, folder, engine=engine, track=track, **told)
    return generator.cpu(), history


def _learner(module: nn.Module, learning: Learning) -> Learner:
    return Learner(module, torch.optim.Adam(module.parameters(), learning.rate, (0.5, 0.9)))


@dataclass(frozen=True)
class AdvFaces(Generated):
    """Adds what AdvFaces' generator makes of each face."""

    model: str = "advfaces"

    kind = Generator
