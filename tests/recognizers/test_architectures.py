"""The networks whose weights are not at hand, against a second statement of each, with its authors' tensor names.

A statement asks for each tensor by name and shape, and gets random numbers. So it says three things at once: what an
official file holds, how many parameters there are, and what comes out of every layer.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from faceveil import recognizers
from faceveil.recognizers import card, checkpoint, iresnet, openface_nn4, resnet50, sphere20, store
from faceveil.recognizers.folding import fold


class Official:
    """An official file that comes into being as its tensors are asked for, and a trace of what they computed."""

    def __init__(self) -> None:
        self.state: dict[str, Tensor] = {}
        self.trace: dict[str, Tensor] = {}
        self.random = torch.Generator().manual_seed(0)

    def __call__(self, name: str, *shape: int, low: float = -1.0, high: float = 1.0) -> Tensor:
        self.state[name] = low + (high - low) * torch.rand(shape, generator=self.random)
        return self.state[name]

    def conv(
        self, x: Tensor, name: str, out: int, kernel: int, stride: int = 1, pad: int = 0, bias: bool = False
    ) -> Tensor:
        reach = (3 / (x.shape[1] * kernel**2)) ** 0.5
        weight = self(f"{name}.weight", out, x.shape[1], kernel, kernel, low=-reach, high=reach)
        return F.conv2d(x, weight, self(f"{name}.bias", out) if bias else None, stride, pad)

    def norm(self, x: Tensor, name: str) -> Tensor:
        n = x.shape[1]
        mean, variance = self(f"{name}.running_mean", n), self(f"{name}.running_var", n, low=0.5, high=2.0)
        weight, bias = self(f"{name}.weight", n, low=0.5, high=1.5), self(f"{name}.bias", n)
        by_channel = (1, n, *[1] * (x.ndim - 2))
        centered = (x - mean.view(by_channel)) / (variance.view(by_channel) + 1e-5).sqrt()
        return centered * weight.view(by_channel) + bias.view(by_channel)

    def prelu(self, x: Tensor, name: str) -> Tensor:
        slope = self(f"{name}.weight", x.shape[1], low=0.0, high=0.5).view(1, -1, 1, 1)
        return torch.where(x > 0, x, slope * x)

    def linear(self, x: Tensor, name: str, out: int) -> Tensor:
        reach = (3 / x.shape[1]) ** 0.5
        return x @ self(f"{name}.weight", out, x.shape[1], low=-reach, high=reach).T + self(f"{name}.bias", out)

    @property
    def parameters(self) -> int:
        return sum(t.numel() for name, t in self.state.items() if "running" not in name)


def sphereface(w: Official, x: Tensor) -> Tensor:
    """clcarwin/sphereface_pytorch, net_sphere.py: sphere20a, table 1 of the paper."""
    for stage, (filters, blocks) in enumerate(zip((64, 128, 256, 512), (1, 2, 4, 1), strict=True), 1):
        x = w.prelu(w.conv(x, f"conv{stage}_1", filters, 3, 2, 1, bias=True), f"relu{stage}_1")
        for block in range(blocks):
            first, second = 2 * block + 2, 2 * block + 3
            y = w.prelu(w.conv(x, f"conv{stage}_{first}", filters, 3, 1, 1, bias=True), f"relu{stage}_{first}")
            y = w.prelu(w.conv(y, f"conv{stage}_{second}", filters, 3, 1, 1, bias=True), f"relu{stage}_{second}")
            x = x + y
            w.trace[f"layer{stage}.{block + 2}"] = x
    return w.linear(x.flatten(1), "fc5", 512)


def cosface(w: Official, x: Tensor) -> Tensor:
    """MuggleWang/CosFace_pytorch, net.py: sphere(type=20)."""
    for stage, (filters, blocks) in enumerate(zip((64, 128, 256, 512), (1, 2, 4, 1), strict=True), 1):
        x = w.prelu(w.conv(x, f"layer{stage}.0", filters, 3, 2, 1, bias=True), f"layer{stage}.1")
        for block in range(blocks):
            name = f"layer{stage}.{block + 2}"
            y = w.prelu(w.conv(x, f"{name}.conv1", filters, 3, 1, 1), f"{name}.prelu1")
            x = x + w.prelu(w.conv(y, f"{name}.conv2", filters, 3, 1, 1), f"{name}.prelu2")
            w.trace[name] = x
    return w.linear(x.flatten(1), "fc", 512)


def arcface(w: Official, x: Tensor) -> Tensor:
    """insightface, recognition/arcface_torch/backbones/iresnet.py: iresnet50."""
    x = w.prelu(w.norm(w.conv(x, "conv1", 64, 3, 1, 1), "bn1"), "prelu")
    for stage, (filters, blocks) in enumerate(zip((64, 128, 256, 512), (3, 4, 14, 3), strict=True), 1):
        for block in range(blocks):
            name, stride = f"layer{stage}.{block}", 1 if block else 2
            y = w.norm(w.conv(w.norm(x, f"{name}.bn1"), f"{name}.conv1", filters, 3, 1, 1), f"{name}.bn2")
            y = w.norm(w.conv(w.prelu(y, f"{name}.prelu"), f"{name}.conv2", filters, 3, stride, 1), f"{name}.bn3")
            if block == 0:
                x = w.norm(w.conv(x, f"{name}.downsample.0", filters, 1, stride), f"{name}.downsample.1")
            x = x + y
            w.trace[name] = x
    return w.norm(w.linear(w.norm(x, "bn2").flatten(1), "fc", 512), "features")


def irse50(w: Official, x: Tensor) -> Tensor:
    """TreB1eN/InsightFace_Pytorch, model.py: Backbone(50, mode="ir_se"), before its output is normalized."""
    x = w.prelu(w.norm(w.conv(x, "input_layer.0", 64, 3, 1, 1), "input_layer.1"), "input_layer.2")
    number = 0
    for stage, (filters, blocks) in enumerate(zip((64, 128, 256, 512), (3, 4, 14, 3), strict=True), 1):
        for block in range(blocks):
            name, stride = f"body.{number}.res_layer", 1 if block else 2
            y = w.conv(w.norm(x, f"{name}.0"), f"{name}.1", filters, 3, 1, 1)
            y = w.norm(w.conv(w.prelu(y, f"{name}.2"), f"{name}.3", filters, 3, stride, 1), f"{name}.4")
            squeezed = F.relu(w.conv(y.mean((2, 3), keepdim=True), f"{name}.5.fc1", filters // 16, 1))
            y = y * torch.sigmoid(w.conv(squeezed, f"{name}.5.fc2", filters, 1))
            if x.shape[1] == filters:
                x = x[:, :, ::stride, ::stride]
            else:
                shortcut = f"body.{number}.shortcut_layer"
                x = w.norm(w.conv(x, f"{shortcut}.0", filters, 1, stride), f"{shortcut}.1")
            x = x + y
            w.trace[f"layer{stage}.{block}"] = x
            number += 1
    return w.norm(w.linear(w.norm(x, "output_layer.0").flatten(1), "output_layer.3", 512), "output_layer.4")


def vggface2(w: Official, x: Tensor, attention: bool = False) -> Tensor:
    """cydonia999/VGGFace2-pytorch, models/resnet.py: the map of 7 x 7 is averaged."""
    x = F.relu(w.norm(w.conv(x, "conv1", 64, 7, 2, 3), "bn1"))
    x = F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-torch.inf), 3, 2)
    for stage, (filters, blocks) in enumerate(zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True), 1):
        for block in range(blocks):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = F.relu(w.norm(w.conv(x, f"{name}.conv1", filters, 1, stride), f"{name}.bn1"))
            y = F.relu(w.norm(w.conv(y, f"{name}.conv2", filters, 3, 1, 1), f"{name}.bn2"))
            y = w.norm(w.conv(y, f"{name}.conv3", 4 * filters, 1), f"{name}.bn3")
            if attention:
                z = F.relu(w.conv(F.avg_pool2d(y, y.shape[2]), f"{name}.conv4", filters // 4, 1, bias=True))
                y = y * torch.sigmoid(w.conv(z, f"{name}.conv5", 4 * filters, 1, bias=True))
            if block == 0:
                x = w.norm(w.conv(x, f"{name}.downsample.0", 4 * filters, 1, stride), f"{name}.downsample.1")
            x = F.relu(x + y)
            w.trace[name] = x
    x = F.avg_pool2d(x, 7).flatten(1)
    w.linear(x, "fc", 8631)
    return x


def senet(w: Official, x: Tensor) -> Tensor:
    """cydonia999/VGGFace2-pytorch, models/senet.py."""
    return vggface2(w, x, attention=True)


def openface(w: Official, x: Tensor) -> Tensor:
    """cmusatyalab/openface, nn4.small2.def.lua, with dpnn's nn.Inception; names of its conversion OpenFacePytorch."""

    def unit(x: Tensor, conv: str, norm: str, out: int, kernel: int = 1, stride: int = 1) -> Tensor:
        return F.relu(w.norm(w.conv(x, conv, out, kernel, stride, kernel // 2, bias=True), norm))

    def contrast(x: Tensor) -> Tensor:
        squares = F.pad(x.square(), (0, 0, 0, 0, 2, 2))
        sums = torch.stack([squares[:, i : i + x.shape[1]] for i in range(5)]).sum(0)
        return x / (1 + 1e-4 / 5 * sums) ** 0.75

    def inception(
        x: Tensor, layer: int, kernels: dict[int, tuple[int, int]], stride: int, pool: str, *reduced: int
    ) -> Tensor:
        ends = []
        for i, (kernel, (narrow, out)) in enumerate(kernels.items()):
            name = f"layer{layer}.seq_list.{i}"
            y = unit(x, f"{name}.1_conv", f"{name}.2_bn", narrow)
            ends.append(unit(y, f"{name}.4_conv", f"{name}.5_bn", out, kernel, stride))
        name, y = (
            f"layer{layer}.seq_list.{len(kernels)}",
            F.max_pool2d(x, 3, 2) if pool == "max" else F.lp_pool2d(x, 2, 3),
        )
        ends.append(unit(y, f"{name}.2_conv", f"{name}.3_bn", reduced[0]) if reduced else y)
        if reduced:
            name = f"layer{layer}.seq_list.{len(kernels) + 1}"
            ends.append(unit(x, f"{name}.1_conv", f"{name}.2_bn", reduced[1]))
        side = ends[0].shape[2]
        joined = torch.zeros(len(x), sum(end.shape[1] for end in ends), side, side)
        at = 0
        for end in ends:
            offset = (side - end.shape[2]) // 2
            joined[:, at : at + end.shape[1], offset : offset + end.shape[2], offset : offset + end.shape[3]] = end
            at += end.shape[1]
        w.trace[f"inceptions.{layer - 14 if layer < 21 else 6}"] = joined
        return joined

    x = contrast(F.max_pool2d(unit(x, "layer1", "layer2", 64, 7, 2), 3, 2, 1))
    x = unit(unit(x, "layer6", "layer7", 64), "layer9", "layer10", 192, 3)
    x = F.max_pool2d(contrast(x), 3, 2, 1)
    x = inception(x, 14, {3: (96, 128), 5: (16, 32)}, 1, "max", 32, 64)
    x = inception(x, 15, {3: (96, 128), 5: (32, 64)}, 1, "norm", 64, 64)
    x = inception(x, 16, {3: (128, 256), 5: (32, 64)}, 2, "max")
    x = inception(x, 17, {3: (96, 192), 5: (32, 64)}, 1, "norm", 128, 256)
    x = inception(x, 18, {3: (160, 256), 5: (64, 128)}, 2, "max")
    x = inception(x, 19, {3: (96, 384)}, 1, "norm", 96, 256)
    x = inception(x, 21, {3: (96, 384)}, 1, "max", 96, 256)
    return w.linear(F.avg_pool2d(x, 3).flatten(1), "layer25", 128)


# what is built, its second statement, height, width, and the published number of parameters: RobFR gives SphereFace
# 28.08 M with its head, CosFace 22.67 M and IR-SE-50 43.80 M, torchvision ResNet-50 25,557,032 and pretrainedmodels
# SE-ResNet-50 28,088,024 with heads for 1,000 classes, OpenFace says 3,733,968 itself
VGG_HEAD = 2049 * (8631 - 1000)
NETWORKS = {
    "sphereface": (sphere20, {}, sphereface, 112, 96, 22_670_656),
    "cosface": (sphere20, {"bias": False}, cosface, 112, 96, 22_666_944),
    "arcface": (iresnet, {}, arcface, 112, 112, 43_590_848),
    "irse50": (iresnet, {"attention": True}, irse50, 112, 112, 43_797_696),
    "resnet50": (resnet50, {}, vggface2, 224, 224, 25_557_032 + VGG_HEAD),
    "senet50": (resnet50, {"attention": True}, senet, 224, 224, 28_088_024 + VGG_HEAD),
    "openface": (openface_nn4, {}, openface, 96, 96, 3_733_968),
}


@pytest.fixture(params=NETWORKS)
def case(request: pytest.FixtureRequest) -> tuple:
    return NETWORKS[request.param]


@torch.no_grad()
def test_every_layer_gives_what_the_published_network_gives(case, monkeypatch):
    architecture, options, statement, height, width, published = case
    official, images = Official(), torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1
    expected = statement(official, images)
    assert official.parameters == published

    monkeypatch.setattr(checkpoint, "tensors", lambda path: official.state)
    with torch.device("meta"):
        network = architecture.build(**options)
    assert sum(p.numel() for p in network.parameters()) == published
    network.to_empty(device="cpu").load_state_dict(architecture.read((Path("official"),)), strict=False)

    seen: dict[str, Tensor] = {}
    network = fold(network)
    for name in official.trace:
        network.get_submodule(name).register_forward_hook(remember(seen, name))
    embeddings = network(images)
    for name, wanted in official.trace.items():
        assert seen[name].shape == wanted.shape
        assert (seen[name] - wanted).abs().max() < 1e-4 * wanted.abs().max()
    assert (embeddings - expected).abs().max() < 1e-4 * expected.abs().max()


def remember(seen: dict[str, Tensor], name: str) -> Callable[..., None]:
    return lambda module, given, result: seen.update({name: result})


def test_gradients_stay_finite_where_a_pooled_cell_is_zero():
    x = torch.zeros(1, 1, 3, 3, requires_grad=True)
    openface_nn4.NormPool()(x).sum().backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_openface_takes_the_layers_of_a_torch7_file_in_their_order(monkeypatch):
    """Torch 7 stores the kernels of `SpatialConvolutionMM` as matrices, and names no layer."""
    with torch.device("meta"):
        expected = {n: t for n, t in openface_nn4.build().state_dict().items() if "num_batches" not in n}
    numbered = {name: torch.full(t.shape, float(i)) for i, (name, t) in enumerate(expected.items())}
    layers = {f"{i}.weight": t.flatten(1) if t.ndim > 1 else t for i, t in enumerate(numbered.values())}
    monkeypatch.setattr(checkpoint, "tensors", lambda path: layers)
    read = openface_nn4.read((Path("nn4.small2.v1.t7"),))
    assert all(torch.equal(read[name], numbered[name]) for name in numbered)


@pytest.mark.parametrize("name", card.published())
def test_every_network_guides_cloaks_in_half_precision(name):
    torch.manual_seed(0)
    read = card.read(name)
    guide = recognizers.Recognizer(read, store.untrained(read)).surrogate()
    images = torch.rand(2, 3, *guide.size, requires_grad=True)
    (gradient,) = torch.autograd.grad(guide(images).square()[:, 0].sum(), images)
    assert gradient.isfinite().all()
    assert gradient.any()
