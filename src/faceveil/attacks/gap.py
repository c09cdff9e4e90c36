"""GAP (Poursaeed et al., 2018): Generative Adversarial Perturbations, universal. https://arxiv.org/abs/1712.02328"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor, nn

from faceveil.attacks.residual import Residual, normalized
from faceveil.attacks.universal import Aim, Perturbation, TrainedAttack, Universal
from faceveil.training import Engine, Examples, Learner, Track, Workshop, from_0, positive, train, untracked
from faceveil.types import Images


class PerturbationGenerator(nn.Module):
    """The ResNet of Johnson et al. (2016), `width` channels wide at full size, from fixed noise to a perturbation.

    Two convolutions with stride 2, `blocks` residual blocks, two back; scaled down to `radius` where it is larger. Its
    layers are normalized over the image: by batch would be the same, as a batch is of one noise.
    """

    noise: Tensor

    def __init__(self, size: tuple[int, int], radius: float, width: int = 64, blocks: int = 6, seed: int = 0) -> None:
        super().__init__()
        self.radius = radius
        drawn = torch.rand(1, 3, *size, generator=Generator().manual_seed(seed))
        self.register_buffer("noise", drawn)
        wide = 4 * width
        self.layers = nn.Sequential(
            *normalized(nn.Conv2d(3, width, 7, padding=3, padding_mode="reflect", bias=False)),
            *normalized(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False)),
            *normalized(nn.Conv2d(2 * width, wide, 3, stride=2, padding=1, bias=False)),
            *(Residual(wide) for _ in range(blocks)),
            *normalized(nn.ConvTranspose2d(wide, 2 * width, 3, stride=2, padding=1, output_padding=1, bias=False)),
            *normalized(nn.ConvTranspose2d(2 * width, width, 3, stride=2, padding=1, output_padding=1, bias=False)),
            nn.Conv2d(width, 3, 7, padding=3, padding_mode="reflect"),
            nn.Tanh(),
        )

    def forward(self) -> Perturbation:
        height, width = self.noise.shape[2:]
        made: Tensor = self.layers(self.noise)[0, :, :height, :width]
        return made * (self.radius / made.abs().amax()).clamp(max=1)


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

    def __post_init__(self) -> None:
        super().__post_init__()
        positive(width=self.width, rate=self.rate, epochs=self.epochs)
        from_0(blocks=self.blocks)

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
