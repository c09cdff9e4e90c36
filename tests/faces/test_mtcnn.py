import sys
from importlib.machinery import ModuleSpec

import numpy as np
import pytest
import torch

from faceveil import weights
from faceveil.errors import WeightsError
from faceveil.faces import mtcnn

Array = np.ndarray


def convolve(x: Array, kernel: Array, bias: Array) -> Array:
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(1, 2))
    return np.einsum("nyxchw,hwco->nyxo", windows, kernel) + bias


def prelu(x: Array, slope: Array) -> Array:
    return np.maximum(x, 0) + slope * np.minimum(x, 0)


def pool(x: Array, size: int) -> Array:
    """Max-pooling with stride 2; the last window may reach over the edge."""
    rows, columns = (-(-(length - size) // 2) for length in x.shape[1:3])
    steps = [
        [x[:, 2 * i : 2 * i + size, 2 * j : 2 * j + size].max((1, 2)) for j in range(columns + 1)]
        for i in range(rows + 1)
    ]
    return np.stack([np.stack(row, 1) for row in steps], 1)


def softmax(x: Array) -> Array:
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def published(name: str, levels: Array, pools: list[int]) -> tuple[Array, Array]:
    """Figure 2 of the paper, in NumPy, for images [n, h, w, 3]; `pools` are the poolings after each convolution."""
    arrays = iter(mtcnn.read(name))
    x = (levels - 127.5) / 128
    for size in pools:
        x = prelu(convolve(x, next(arrays), next(arrays)), next(arrays))
        x = pool(x, size) if size else x
    if name != "pnet.lz4":
        x = prelu(x.swapaxes(1, 2).reshape(len(x), -1) @ next(arrays) + next(arrays), next(arrays))
    rest = list(arrays)
    heads = [x @ kernel.reshape(kernel.shape[-2:]) + bias for kernel, bias in zip(rest[::2], rest[1::2], strict=True)]
    return np.concatenate(heads[:-1], -1), softmax(heads[-1])[..., 1]


@pytest.mark.parametrize(
    ("name", "network", "pools", "shape"),
    [
        ("pnet.lz4", mtcnn.pnet, [2, 0, 0], (2, 19, 26)),
        ("rnet.lz4", mtcnn.rnet, [3, 3, 0], (3, 24, 24)),
        ("onet.lz4", mtcnn.onet, [3, 3, 2, 0], (3, 48, 48)),
    ],
)
def test_computes_the_published_networks(name, network, pools, shape):
    levels = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.float64)
    geometry, scores = network()(torch.from_numpy(levels).float().permute(0, 3, 1, 2))
    expected_geometry, expected_scores = published(name, levels, pools)
    np.testing.assert_allclose(np.moveaxis(geometry.numpy(), 1, -1), expected_geometry, atol=1e-5)
    np.testing.assert_allclose(scores.numpy(), expected_scores, atol=1e-5)


def test_reads_the_weights_without_the_code_beside_them():
    mtcnn.onet()
    assert "mtcnn" not in sys.modules


def test_opens_no_unknown_pickle(monkeypatch, tmp_path):
    file = tmp_path / "assets" / "weights" / "pnet.lz4"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"cos\nsystem\n(S'echo opened'\ntR.")
    spec = ModuleSpec("mtcnn", None)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(weights, "find_spec", lambda _: spec)
    monkeypatch.setattr(mtcnn.joblib, "load", lambda _: pytest.fail("opened"))
    with pytest.raises(WeightsError, match="reinstall mtcnn"):
        mtcnn.pnet()
