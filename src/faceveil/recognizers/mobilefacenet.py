"""MobileFaceNet: inverted residuals and a depthwise convolution over the whole last map (Chen et al., 2018).

112 x 112 (or 112 high and 96 wide) to 128 numbers, about a million parameters. https://arxiv.org/abs/1804.07573
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from faceveil.errors import WeightsError
from faceveil.recognizers import checkpoint
from faceveil.recognizers.layers import PReLU

# expansion, filters, blocks, stride of the first
STAGES = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))


class Block(nn.Module):
    """Expands, filters each channel, projects; added to what came in where the shapes allow it."""

    def __init__(self, before: int, expanded: int, filters: int, stride: int, activation: str) -> None:
        super().__init__()
        self.expand = nn.Conv2d(before, expanded, 1)
        self.expand_act = _activation(activation, expanded)
        self.dw = nn.Conv2d(expanded, expanded, 3, stride, 1, groups=expanded)
        self.dw_act = _activation(activation, expanded)
        self.project = nn.Conv2d(expanded, filters, 1)
        self.residual = stride == 1 and before == filters

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.dw_act(self.dw(self.expand_act(self.expand(x)))))
        return x + y if self.residual else y


class MobileFaceNet(nn.Module):
    """Normalized images [n, 3, height, width] to embeddings [n, size]; batch normalization is folded in."""

    def __init__(self, height: int, width: int, size: int, activation: str, pointwise: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 3, 2, 1)
        self.stem_act = _activation(activation, 64)
        self.dw = nn.Conv2d(64, 64, 3, 1, 1, groups=64)
        self.dw_act = nn.ReLU() if pointwise else _activation(activation, 64)
        self.pw = nn.Sequential(nn.Conv2d(64, 64, 1), nn.ReLU()) if pointwise else nn.Identity()
        self.blocks = nn.Sequential(*_blocks(activation))
        self.sep = nn.Conv2d(128, 512, 1)
        self.sep_act = _activation(activation, 512)
        self.gdc = nn.Conv2d(512, 512, (height // 16, width // 16), groups=512)
        self.fc = nn.Linear(512, size)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pw(self.dw_act(self.dw(self.stem_act(self.stem(x)))))
        x = self.sep_act(self.sep(self.blocks(x)))
        embeddings: Tensor = self.fc(self.gdc(x).flatten(1))
        return embeddings


def _blocks(activation: str) -> list[Block]:
    blocks, before = [], 64
    for expansion, filters, count, stride in STAGES:
        for i in range(count):
            blocks.append(Block(before, before * expansion, filters, stride if i == 0 else 1, activation))
            before = filters
    return blocks


def _activation(kind: str, channels: int) -> nn.Module:
    return PReLU(channels) if kind == "prelu" else nn.ReLU6()


def build(
    height: int = 112, width: int = 112, size: int = 128, activation: str = "prelu", pointwise: bool = False
) -> nn.Module:
    """The network, without weights.

    `activation` is "prelu", as in the paper, or "relu6"; `pointwise` adds a 1 x 1 convolution after the first
    depthwise one.
    """
    return MobileFaceNet(height, width, size, activation, pointwise)


# Xiaoccer/MobileFaceNet_Pytorch
XIAOCCER = (
    (r"^conv1\.", "stem."),
    (r"^dw_conv1\.", "dw."),
    (r"^conv2\.", "sep."),
    (r"^linear7\.", "gdc."),
    (r"^linear1\.", "fc."),
    (r"\.bn\.", ".norm."),
    (r"\.prelu\.", ".act."),
    *(
        (rf"^blocks\.(\d+)\.conv\.{i}\.", rf"blocks.\1.{layer}.{part}.")
        for i, (layer, part) in enumerate((x, y) for x in ("expand", "dw", "project") for y in ("conv", "norm", "act"))
    ),
)

# foamliu/MobileFaceNet
FOAMLIU = (
    (r"^bn\.", "fc.norm."),
    (r"^conv3\.", "fc.conv."),
    (r"^conv1\.0\.", "stem.conv."),
    (r"^conv1\.1\.", "stem.norm."),
    (r"^conv2\.0\.", "sep.conv."),
    (r"^conv2\.1\.", "sep.norm."),
    (r"^dw_conv\.depthwise\.", "dw.conv."),
    (r"^dw_conv\.bn1\.", "dw.norm."),
    (r"^dw_conv\.pointwise\.", "pw.0.conv."),
    (r"^dw_conv\.bn2\.", "pw.0.norm."),
    (r"^gdconv\.depthwise\.", "gdc.conv."),
    (r"^gdconv\.bn\.", "gdc.norm."),
    (r"^features\.(\d+)\.conv\.0\.0\.", r"blocks.\1.expand.conv."),
    (r"^features\.(\d+)\.conv\.0\.1\.", r"blocks.\1.expand.norm."),
    (r"^features\.(\d+)\.conv\.1\.0\.", r"blocks.\1.dw.conv."),
    (r"^features\.(\d+)\.conv\.1\.1\.", r"blocks.\1.dw.norm."),
    (r"^features\.(\d+)\.conv\.2\.", r"blocks.\1.project.conv."),
    (r"^features\.(\d+)\.conv\.3\.", r"blocks.\1.project.norm."),
)

# insightface's y1 (MXNet), as in liguiyuan/mobilefacenet-ncnn
Y1_BLOCKS = (
    "dconv_23",
    *(f"res_3_block{i}" for i in range(4)),
    "dconv_34",
    *(f"res_4_block{i}" for i in range(6)),
    "dconv_45",
    *(f"res_5_block{i}" for i in range(2)),
)
Y1 = (
    (r"_conv2d_weight$", ".conv.weight"),
    (r"_batchnorm_", ".norm."),
    (r"_relu_gamma$", ".act.weight"),
    (r"^pre_fc1_bias$", "fc.conv.bias"),
    (r"^fc1_weight$", "fc.conv.weight"),
    (r"^fc1_", "fc.norm."),
    (r"norm\.gamma$", "norm.weight"),
    (r"norm\.beta$", "norm.bias"),
    (r"norm\.moving_", "norm.running_"),
    *((rf"^{name}_conv_", f"blocks.{i}.") for i, name in enumerate(Y1_BLOCKS)),
    (r"\.sep\.", ".expand."),
    (r"\.proj\.", ".project."),
    (r"^conv_1\.", "stem."),
    (r"^conv_2_dw\.", "dw."),
    (r"^conv_6sep\.", "sep."),
    (r"^conv_6dw7_7\.", "gdc."),
)


def read(files: tuple[Path, ...]) -> dict[str, Tensor]:
    """The tensors of a folded safetensors file, or of Xiaoccer's, foamliu's or insightface's, under our names."""
    found = checkpoint.tensors(files[0])
    if "stem.weight" in found:
        return found
    if "dw_conv1.conv.weight" in found:
        folded = checkpoint.fold(checkpoint.rename(found, XIAOCCER))
    elif "gdconv.depthwise.weight" in found:
        folded = checkpoint.fold(checkpoint.rename(found, FOAMLIU))
    elif "conv_1_conv2d_weight" in found:
        named = checkpoint.rename(found, Y1)
        named["fc.norm.weight"] = torch.ones(len(named["fc.conv.weight"]))  # the symbol says fix_gamma
        last = {name: tensor for name, tensor in named.items() if name.startswith("fc.")}
        folded = checkpoint.fold(named, epsilon=1e-3) | checkpoint.fold(last, epsilon=2e-5)
    else:
        raise WeightsError(f"{files[0]} has the tensors of no MobileFaceNet that is known here; see the card's source")
    return folded | {"fc.weight": folded["fc.weight"].flatten(1)}
