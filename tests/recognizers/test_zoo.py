"""Real weights against the embeddings that independent implementations gave (../shared/zoo/expected)."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from faceveil import recognizers
from faceveil.recognizers import card, inception_resnet_v1, mobilefacenet, mobilenet_v1, store

EXACT = {"cosine": 0.9999, "relative": 1e-3}
ROUNDED = {"cosine": 0.9998, "relative": 2e-2}  # see below
TOLERANCE = {
    "facenet": EXACT,
    "mobilefacenet-espdl": EXACT,
    "mobilefacenet-foamliu": EXACT,
    "mobilefacenet-xiaoccer": EXACT,
    "mobilefacenet-y1": EXACT,
    "mobilenetv1-vggface2": ROUNDED,
}


@pytest.mark.zoo
@pytest.mark.parametrize("name", TOLERANCE)
def test_embeddings_equal_an_independent_implementations(name, shared):
    expected = np.load(shared / "zoo" / "expected" / f"{name}.npz")
    images = torch.from_numpy(expected["images"]).permute(0, 3, 1, 2) / 255
    wanted = torch.from_numpy(expected["embeddings"])
    recognizer = recognizers.load(name)
    features = recognizer.features(images)
    assert F.cosine_similarity(features, wanted).min() > TOLERANCE[name]["cosine"]
    assert (features - wanted).abs().max() < TOLERANCE[name]["relative"] * wanted.abs().max()
    assert torch.allclose(recognizer(images).norm(dim=1), torch.ones(len(images)))


@pytest.mark.zoo
def test_a_file_of_float16_is_off_by_no_more_than_its_rounding(shared):
    """The expected embeddings of mobilenetv1-vggface2 come from float32 kernels; its file holds them rounded.

    Kernels drawn at random among those that round to the file's are as far from it: of 60 the largest error of a cosine
    was 1.7e-4 at the median and 0.2e-4 to 6e-4 in all, the expected embeddings' is 1.5e-4. None of 38 other networks
    (each ReLU6 a ReLU, each padding at the near end, other means of the input) came nearer than 1.4e-4.
    """
    expected = np.load(shared / "zoo" / "expected" / "mobilenetv1-vggface2.npz")
    images, wanted = torch.from_numpy(expected["images"]).permute(0, 3, 1, 2) / 255, expected["embeddings"]
    recognizer = recognizers.load("mobilenetv1-vggface2")
    features, generator = recognizer.features(images), torch.Generator().manual_seed(0)
    kernels = {name: tensor.clone() for name, tensor in recognizer.network.state_dict().items() if "weight" in name}
    errors = []
    for _ in range(10):
        drawn = {name: unrounded(kernel, generator) for name, kernel in kernels.items()}
        recognizer.network.load_state_dict(drawn, strict=False)
        errors.append(float(1 - F.cosine_similarity(recognizer.features(images), features).min()))
    assert 1 - F.cosine_similarity(features, torch.from_numpy(wanted)).min() < np.median(errors)


def unrounded(kernel, generator):
    """Numbers at random that round to the same float16 numbers."""
    half = kernel.half().abs()
    gap = (half.nextafter(torch.tensor(torch.inf, dtype=torch.half)) - half).float()
    return kernel + gap * (torch.rand(kernel.shape, generator=generator) - 0.5)


@pytest.mark.zoo
@pytest.mark.parametrize("name", TOLERANCE)
def test_surrogate_points_the_same_way(name, shared):
    images = torch.from_numpy(np.load(shared / "zoo" / "expected" / f"{name}.npz")["images"]).permute(0, 3, 1, 2) / 255
    recognizer = recognizers.load(name)
    assert F.cosine_similarity(recognizer(images), recognizer.surrogate()(images)).min() > 0.98


@pytest.mark.zoo
def test_facenet_finds_every_tensor_in_its_public_files(shared, tmp_path):
    """The public files' names and shapes stand in a manifest; each file is filled with a number of its own."""
    files = card.read("facenet").sources[1].files
    lines = (shared / "zoo" / "facenet-originals.manifest").read_text().splitlines()[1:]
    shapes = {line.split("  ")[2].split("/")[-1]: json.loads(line.split("  ")[3]) for line in lines}
    for number, file in enumerate(files):
        np.save(tmp_path / file.name, np.full(shapes[file.name], number, np.float32))
    read = inception_resnet_v1.read(tuple(tmp_path / file.name for file in files))
    store.fit(card.read("facenet"), read)
    names = [file.name for file in files]
    for theirs, ours in FACENET_NAMES.items():
        assert read[f"{ours}.weight"].unique().tolist() == [names.index(f"{theirs}_kernel.npy")]
        assert read[f"{ours}.bias"].unique().tolist() == [names.index(f"{theirs}_Conv2D_bias.npy")]


FACENET_NAMES = {
    "Conv2d_4b_3x3": "conv4b",
    "Block35_1_Branch_0_Conv2d_1x1": "block35.0.branches.b0",
    "Block35_5_Branch_2_Conv2d_0b_3x3": "block35.4.branches.b2b",
    "Block17_10_Branch_1_Conv2d_0c_7x1": "block17.9.branches.b1c",
    "Block17_2_Conv2d_1x1": "block17.1.up",
    "Block8_6_Branch_1_Conv2d_0a_1x1": "block8.5.branches.b1a",
    "Mixed_6a_Branch_0_Conv2d_1a_3x3": "mixed6a.branches.b0",
    "Mixed_6a_Branch_1_Conv2d_0b_3x3": "mixed6a.branches.b1b",
    "Mixed_6a_Branch_1_Conv2d_1a_3x3": "mixed6a.branches.b1c",
    "Mixed_7a_Branch_0_Conv2d_1a_3x3": "mixed7a.branches.b0b",
    "Mixed_7a_Branch_1_Conv2d_1a_3x3": "mixed7a.branches.b1b",
    "Mixed_7a_Branch_2_Conv2d_1a_3x3": "mixed7a.branches.b2c",
}


def test_facenet_has_the_published_number_of_parameters():
    with torch.device("meta"):
        counts = {name: p.numel() for name, p in inception_resnet_v1.build().named_parameters()}
    # folding left one number where batch normalization trains two, except in the layers that have none
    normalized = sum(n for name, n in counts.items() if name.endswith("bias") and ".up." not in name)
    head = (512 + 1) * 8631
    assert sum(counts.values()) + normalized + head == 27_910_327


@pytest.mark.parametrize(("network", "millions"), [(mobilefacenet, 0.99), (mobilenet_v1, 3.2)])
def test_has_about_the_published_number_of_parameters(network, millions):
    with torch.device("meta"):
        count = sum(p.numel() for p in network.build().parameters())
    assert count == pytest.approx(millions * 1e6, rel=0.01)
