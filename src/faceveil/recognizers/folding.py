"""Batch normalization folded into the convolution or linear layer before it: the same numbers, sooner."""

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval


class Normalized(nn.Sequential):
    """A layer, and batch normalization of what it gives, as long as it learns."""


def fold(network: nn.Module) -> nn.Module:
    """The network, changed in place.

    Our networks register their layers in the order of use, so a normalization belongs to the layer registered right
    before it in the same module, if that is a convolution or linear; others stay.
    """
    network.eval()
    for parent in list(network.modules()):
        before_name, before = "", nn.Module()
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
                setattr(parent, before_name, fuse_conv_bn_eval(before, child))
                setattr(parent, name, nn.Identity())
            elif isinstance(child, nn.BatchNorm1d) and isinstance(before, nn.Linear):
                setattr(parent, before_name, fuse_linear_bn_eval(before, child))
                setattr(parent, name, nn.Identity())
            before_name, before = name, child
    return network


def normalize(network: nn.Module) -> nn.Module:
    """The network with batch normalization behind its layers, changed in place, so that it can learn from scratch.

    Where a network normalizes already, and behind layers without a bias, into which nothing could be folded, nothing
    is put.
    """
    if any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in network.modules()):
        return network
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and child.bias is not None:
                setattr(parent, name, Normalized(child, nn.BatchNorm2d(child.out_channels)))
            elif isinstance(child, nn.Linear) and child.bias is not None:
                setattr(parent, name, Normalized(child, nn.BatchNorm1d(child.out_features)))
    return network


def restore(network: nn.Module) -> nn.Module:
    """The network as it was before `normalize`, with what was learned folded into its layers; changed in place."""
    network.eval()
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Normalized):
                fold(child)
                setattr(parent, name, child[0])
    return network
