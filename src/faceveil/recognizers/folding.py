"""Batch normalization folded into the convolution or linear layer before it: the same numbers, sooner."""

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval


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
