import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.data import astronaut
from skimage.transform import SimilarityTransform, rescale

from faceveil.faces import align, templates
from oracles import DLIB_FIVE_POINTS, dlib_chip, dlib_place


def photo(scale: float) -> np.ndarray:
    resized = rescale(astronaut()[:256, 80:368], scale, channel_axis=2, anti_aliasing=scale < 1)
    return np.ascontiguousarray((255 * resized).clip(0, 255).astype(np.uint8))


def five_points(scale: float, angle: float) -> np.ndarray:
    turn = 100 * scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    noise = np.random.default_rng(0).normal(0, 1.5 * scale, (5, 2))
    return np.rint((DLIB_FIVE_POINTS - 0.5) @ turn.T + np.array([142, 115]) * scale + noise).astype(int)


def levels_above_dlibs(image: np.ndarray, points: np.ndarray, halvings: int) -> np.ndarray:
    """What dlib has rounded down in its chip of 150 pixels: the difference to ours, cut where dlib cuts."""
    place = torch.from_numpy(dlib_place(placed(points), halvings)).float()
    ours = 255 * align.chip(torch.from_numpy(image).permute(2, 0, 1) / 255, place, (150, 150))[0].permute(1, 2, 0)
    return ours.numpy() - dlib_chip(image, points)


def placed(points: np.ndarray) -> np.ndarray:
    template = templates.dlib_chip(torch.tensor(DLIB_FIVE_POINTS), 150)
    return align.similarity(torch.tensor(points + 0.5)[None], template)[0].numpy()


@pytest.mark.parametrize("angle", [0.0, 0.2, -0.7])
@pytest.mark.parametrize(("scale", "halvings"), [(0.5, 0), (1.0, 0), (1.9, 0), (2.2, 1), (5.0, 2)])
def test_chip_equals_dlibs_to_the_levels_that_it_rounds_down(scale, halvings, angle):
    """Less than one at each halving and one at the end; the face lies in the photo's corner, where halving begins."""
    image, points = photo(scale), five_points(scale, angle)
    matrix = placed(points)
    corners = matrix[:, :2] @ np.array([[0, 150, 0, 150], [0, 0, 150, 150]]) + matrix[:, 2:]
    x, y = np.maximum(0, corners.min(1).astype(int) - 2 ** (halvings + 1))
    above = levels_above_dlibs(np.ascontiguousarray(image[y:, x:]), points - (x, y), halvings)
    assert above.min() > -0.01
    assert above.max() < halvings + 1.01


@pytest.mark.parametrize(("scale", "halvings"), [(2.2, 1), (5.0, 2)])
def test_chip_is_nearly_dlibs_where_other_pixels_are_halved(scale, halvings):
    above = levels_above_dlibs(photo(scale), five_points(scale, 0.2), halvings)
    assert np.quantile(np.abs(above - (halvings + 1) / 2), 0.999) < 5


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_chip_passes_gradients(scale):
    image = (torch.from_numpy(photo(scale)).permute(2, 0, 1) / 255).requires_grad_()
    template = templates.template("dlib", (150, 150))
    landmarks = template[None] * scale * 0.8 + 60 * scale
    align.align(image, landmarks, template, (150, 150)).sum().backward()
    assert image.grad is not None
    assert image.grad.sum() > 0.9 * 3 * 150 * 150


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_similarity_equals_scikit_images(seed):
    points = np.random.default_rng(seed).normal(0, 50, (5, 2))
    template = templates.template("arcface", (112, 112)).double()
    expected = SimilarityTransform.from_estimate(template.numpy(), points).params[:2]
    ours = align.similarity(torch.tensor(points)[None], template)[0]
    # scikit-image may mirror where that fits better; a face is never mirrored
    if np.linalg.det(np.cov(template.numpy().T, points.T)[:2, 2:]) > 0:
        assert np.allclose(ours, expected, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.floats(-3, 3), st.floats(0.3, 3), st.floats(-20, 20))
def test_composed_matrices_act_one_after_the_other(angle, scale, shift):
    inner = torch.tensor([[[np.cos(angle), -np.sin(angle), shift], [np.sin(angle), np.cos(angle), 1.0]]])
    outer = torch.tensor([[[scale, 0.0, 1.0], [0.0, scale, shift]]], dtype=inner.dtype)
    point = torch.tensor([3.0, -2.0], dtype=inner.dtype)
    once = inner[0, :, :2] @ point + inner[0, :, 2]
    twice = outer[0, :, :2] @ once + outer[0, :, 2]
    both = align.compose(outer, inner)[0]
    assert torch.allclose(both[:, :2] @ point + both[:, 2], twice)


def test_a_face_outside_the_photo_is_black():
    matrix = torch.tensor([[1.0, 0.0, 500.0], [0.0, 1.0, 500.0]])
    assert align.chip(torch.ones(3, 40, 40), matrix, (150, 150)).count_nonzero() == 0


def test_templates_narrower_than_arcfaces_are_cut_on_both_sides():
    wide, narrow = templates.template("arcface", (112, 112)), templates.template("arcface", (112, 96))
    assert torch.allclose(wide - narrow, torch.tensor([8.0, 0.0]))


def test_the_smooth_warp_shows_the_same_and_carries_nearly_the_same_gradient_back():
    images = torch.rand(2, 3, 60, 70, generator=torch.Generator().manual_seed(0)).requires_grad_()
    matrices = torch.tensor([[[0.9, -0.3, 14.0], [0.3, 0.9, 4.0]], [[1.0, 0.0, 5.3], [0.0, 1.0, 3.1]]])
    smooth, exact = (f(images, matrices, (40, 40)) for f in (align.warp_smoothly, align.warp))
    assert torch.equal(smooth, exact)
    towards = torch.nn.functional.avg_pool2d(torch.rand_like(exact) - 0.5, 5, 1, 2)
    gradients = [torch.autograd.grad(warped, images, towards)[0].flatten() for warped in (smooth, exact)]
    assert torch.cosine_similarity(*gradients, dim=0) > 0.98


def test_inverted_matrices_lead_back():
    matrices = torch.tensor([[[0.9, -0.3, 14.0], [0.3, 0.9, 4.0]]])
    assert torch.allclose(align.compose(align.invert(matrices), matrices), torch.eye(3)[None, :2], atol=1e-6)
