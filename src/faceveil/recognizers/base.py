"""The contract: a recognizer takes aligned faces and gives embeddings."""

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from faceveil.device import choose
from faceveil.errors import SettingError, WeightsError
from faceveil.files import one_line
from faceveil.recognizers import card as cards
from faceveil.recognizers import store
from faceveil.recognizers.card import Card
from faceveil.recognizers.folding import fold
from faceveil.recognizers.layers import narrow
from faceveil.types import Embeddings, Images

Wanted = tuple[
    str, tuple[int, int]
]  # the template to which a recognizer's images are aligned, and their height and width


class Recognizer(nn.Module):
    """A network and its card, behind one face: aligned RGB in [0, 1] in, embeddings out.

    `images` are [n, 3, h, w] of the card's size, aligned to the card's template. Embeddings are float32; they have
    unit length where the card says so. Gradients reach the images, never the weights. The network is taken over: it
    evaluates and learns no more. For the fast copy, it must run in bfloat16. Raises `SettingError` for a script.
    """

    scale: Tensor
    shift: Tensor

    @torch.inference_mode(False)
    def __init__(self, card: Card, network: nn.Module) -> None:
        super().__init__()
        if isinstance(network, torch.jit.ScriptModule):
            raise SettingError(f"{card.name}: its network is a script; give the module that it was made from")
        self.card = card
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        scale = torch.tensor(card.input.scale)
        self.register_buffer("scale", (255 / scale)[:, None, None], persistent=False)
        self.register_buffer("shift", (torch.tensor(card.input.mean) / scale)[:, None, None], persistent=False)

    @property
    def name(self) -> str:
        """The card's name."""
        return self.card.name

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        return self.card.input.height, self.card.input.width

    @property
    def wanted(self) -> Wanted:
        """What images it takes: the template to which they are aligned, and their height and width."""
        return self.card.input.template, self.size

    @property
    def device(self) -> torch.device:
        """Where it is, and its images belong."""
        return self.scale.device

    @property
    def threshold(self) -> float:
        """The Euclidean distance between embeddings below which two faces count as one person."""
        return self.card.threshold

    def check(self, *, guides: bool = False) -> None:
        """Runs the network once, on gray images; where it `guides` cloaks, its fast copy, which must pass gradients.

        Raises `WeightsError` for one that fails, or gives something else than the card says.
        """
        images = torch.full((2, 3, *self.size), 0.5, device=self.device, requires_grad=guides)
        try:
            found = (self.surrogate() if guides else self).features(images)
        except Exception as error:  # whatever somebody's network may raise
            raise WeightsError(
                f"{self.name}: its network fails on images of {self.size} ({one_line(error)})"
            ) from error
        wanted = (2, self.card.embedding.size)
        if found.shape != wanted:
            raise WeightsError(f"{self.name}: its network gives {tuple(found.shape)}, and its card says {wanted}")
        if not found.isfinite().all():
            raise WeightsError(f"{self.name}: its network gives what is no number, or infinite")
        if guides and not found.requires_grad:
            raise WeightsError(f"{self.name}: its network passes no gradient, and can guide no cloak")

    def forward(self, images: Images) -> Embeddings:
        """Embeddings [n, d] of aligned images."""
        features = self.features(images)
        return F.normalize(features) if self.card.embedding.normalized else features

    def features(self, images: Images) -> Embeddings:
        """What the network gives, whatever its length."""
        if self.card.input.channels == "bgr":
            images = images.flip(1)
        x = (images * self.scale - self.shift).to(self._kind())
        if len(x) == 1 and x.dtype == torch.bfloat16:
            # one image alone takes other kernels, whose last digits differ: a cloak would depend on its neighbors
            x = x.expand(2, -1, -1, -1)
        features: Tensor = self.network(x).float()[: len(images)]
        return features

    @torch.inference_mode(False)
    def surrogate(self) -> "Recognizer":
        """A copy for making cloaks: in bfloat16, twice as fast and as good a guide.

        Its embeddings are some 1 % off, so verdicts are given by the recognizer itself.
        """
        return Recognizer(self.card, narrow(deepcopy(self.network))).to(self.device)

    def _kind(self) -> torch.dtype:
        return next((weights.dtype for weights in self.network.parameters()), torch.float32)


@torch.inference_mode(False)
def load(name: str = "dlib", device: str | torch.device = "cpu") -> Recognizer:
    """The recognizer of that card name, its weights checked; nothing is downloaded.

    Raises `SettingError` for a name without a card or a device that is not here, and `WeightsError` for weights that
    are not on this machine.
    """
    card = cards.read(name)
    return Recognizer(card, fold(store.network(card))).to(choose(device))
