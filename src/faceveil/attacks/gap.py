"""GAP (Poursaeed et al., 2018): Generative Adversarial Perturbations, universal. https://arxiv.org/abs/1712.02328"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor, nn

from faceveil.attacks.universal import Aim, Perturbation, TrainedAttack, Universal
from faceveil.training import Engine, Examples, Learner, Track, Workshop, train, untracked
from faceveil.types import Images


class PerturbationGenerator(nn.Module):
    """The ResNet of Johnson et al. (2016), `width` channels wide at full size, from fixed noise to a perturbation.

    Two convolutions with stride 2, `blocks` residual blocks, two back; scaled down to `radius` where it is larger.
    """

    noise: Tensor

    def __init__(self, size: tuple[int, int], radius: float, width: int = 64, blocks: int = 6, seed: int = 0) -> None:
        super().__init__()
        self.radius = radius
        drawn = torch.rand(1, 3, *size, generator=Generator().manual_seed(seed))
        self.register_buffer("noise", drawn)
        wide = 4 * width
        self.layers = nn.Sequential(
            *_layer(nn.Conv2d(3, width, 7, padding=3, padding_mode="reflect", bias=False)),
            *_layer(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False)),
            *_layer(nn.Conv2d(2 * width, wide, 3, stride=2, padding=1, bias=False)),
            *(_Residual(wide) for _ in range(blocks)),
            *_layer(nn.ConvTranspose2d(wide, 2 * width, 3, stride=2, padding=1, output_padding=1, bias=False)),
            *_layer(nn.ConvTranspose2d(2 * width, width, 3, stride=2, padding=1, output_padding=1, bias=False)),
            nn.Conv2d(width, 3, 7, padding=3, padding_mode="reflect"),
            nn.Tanh(),
        )

    def forward(self) -> Perturbation:
        height, width = self.noise.shape[2:]
        made: Tensor = self.layers(self.noise)[0, :, :height, :width]
        return made * (self.radius / made.abs().amax()).clamp(max=1)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_layer(nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect", bias=False)),
            nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect", bias=False),
            nn.InstanceNorm2d(width, affine=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.layers(x)
        return y


def _layer(convolution: nn.Module) -> tuple[nn.Module, ...]:
    """With a normalization over the image, as one of batches has one image here anyway."""
    width = int(convolution.out_channels)  # type: ignore[arg-type]
    return convolution, nn.InstanceNorm2d(width, affine=True), nn.ReLU()


@dataclass(frozen=True)
class GAP(TrainedAttack):
    """A generator learns the perturbation that lowers the images' mean loss; Adam, as in the released code.

    The paper's loss is a classifier's cross-entropy; here it is the objective that the images are given.
    """

    epsilon: float = 8.0
    width: int = 64
    blocks: int = 6
    rate: float = 2e-4
    epochs: int = 10
    batch: int = 30
    seed: int = 0

    def fit(
        self, images: Examples, aim: Aim, folder: Path, engine: Engine | None = None, track: Track = untracked
    ) -> Universal:
        size = images.read(np.arange(1)).shape[2:]
        torch.manual_seed(self.seed)
        generator = PerturbationGenerator((size[0], size[1]), self.radius, self.width, self.blocks, self.seed)
        optimizer = torch.optim.Adam(generator.parameters(), self.rate, (0.5, 0.999))

        def step(shop: Workshop, clear: Images) -> dict[str, Tensor]:
            clear = clear.to(shop.device)
            loss = aim(clear)((clear + shop.modules["generator"]()).clamp(0, 1)).mean()
            shop.descend("generator", loss)
            return {"loss": loss}

        learners = {"generator": Learner(generator, optimizer)}
        train(learners, step, images, folder, engine=engine, track=track, attack="gap", **asdict(self))
        with torch.no_grad():
            return Universal(generator.eval()().cpu())
