import numpy as np
import pytest
import torch
from skimage.data import astronaut

from faceveil import recognizers
from oracles import dlib_embeddings


@pytest.fixture(scope="module")
def dlib_twin() -> recognizers.Recognizer:
    return recognizers.load("dlib")


def chips() -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (3, 150, 150, 3), dtype=np.uint8)
    portrait = astronaut()
    faces = [portrait[y : y + 150, x : x + 150] for x, y in ((150, 30), (140, 40), (300, 300))]
    return np.concatenate([noise, faces])


def test_embeddings_equal_the_compiled_networks(dlib_twin):
    images = torch.from_numpy(chips()).permute(0, 3, 1, 2) / 255
    assert np.abs(dlib_twin(images).numpy() - dlib_embeddings(chips())).max() < 1e-4


def test_has_the_published_number_of_convolutions(dlib_twin):
    kinds = [type(module).__name__ for module in dlib_twin.modules()]
    assert kinds.count("Conv2d") == 29


def test_surrogate_embeds_nearly_the_same_and_leaves_the_original_exact(dlib_twin):
    images = torch.from_numpy(chips()).permute(0, 3, 1, 2) / 255
    exact = dlib_twin(images)
    near = dlib_twin.surrogate()(images)
    assert (near - exact).norm(dim=1).max() < 0.03
    assert torch.equal(dlib_twin(images), exact)
