"""Layers that compute what PyTorch's do, with gradients that come several times sooner on a CPU."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PReLU(nn.Module):
    """`nn.PReLU` as a x + (1 - a) relu(x), whose gradient takes a quarter of the time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        slope = self.weight[:, None, None]
        return torch.addcmul(x * slope, F.relu(x), 1 - slope)


class Widened(nn.Module):
    """A layer that works in float32 inside a network of lower precision."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer.float()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x.float())
        return y.to(x.dtype)


def narrow(network: nn.Module) -> nn.Module:
    """The network in bfloat16, changed in place, but for depthwise convolutions with a stride.

    For these PyTorch has no fast gradient in bfloat16: it takes sixteen times as long as in float32.
    """
    network.to(torch.bfloat16)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and child.groups > 1 and child.stride != (1, 1):
                setattr(parent, name, Widened(child))
    return network
