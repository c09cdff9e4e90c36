import pytest
import torch
import torch.nn.functional as F
from torch import nn

from faceveil.recognizers.layers import PReLU, Stem, narrow


def test_prelu_and_its_gradients_are_pytorchs():
    torch.manual_seed(0)
    ours, theirs, x = PReLU(5), nn.PReLU(5), torch.randn(2, 5, 4, 4)
    with torch.no_grad():
        ours.weight.uniform_(-0.5, 1.5)
    theirs.load_state_dict(ours.state_dict())
    one, two = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours(one).square().sum().backward()
    theirs(two).square().sum().backward()
    assert torch.allclose(ours(x), theirs(x), atol=1e-6)
    assert torch.allclose(one.grad, two.grad, atol=1e-6)
    assert torch.allclose(ours.weight.grad, theirs.weight.grad, atol=1e-5)


def test_narrow_keeps_only_strided_depthwise_convolutions_wide():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, 2, groups=6), nn.Conv2d(6, 6, 3, groups=6))
    x = torch.rand(1, 3, 9, 9)
    expected = network(x)
    found = narrow(network)(x.bfloat16())
    assert found.dtype == torch.bfloat16
    assert F.cosine_similarity(found.float().flatten(), expected.flatten(), dim=0) > 0.999
    assert [p.dtype for p in network.parameters() if p.ndim == 4] == [torch.bfloat16, torch.float32, torch.bfloat16]


@pytest.mark.parametrize(
    ("kernel", "padding", "side"), [(7, 0, 150), (3, 0, 160), (3, 1, 112), (7, 3, 224), (3, 1, 97)]
)
def test_a_stem_over_blocks_computes_what_its_convolution_does(kernel, padding, side):
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 8, kernel, stride=2, padding=padding).requires_grad_(False)
    images = torch.rand(2, 3, side, side - 6)
    assert torch.allclose(Stem(layer)(images), layer(images), atol=1e-5)
