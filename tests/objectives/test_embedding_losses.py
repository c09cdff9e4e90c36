import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from torch import Generator

from attacks.toys import pictures, recognizer
from faceveil.objectives.cross_entropy import Centroids, CrossEntropy, Softmax
from faceveil.objectives.feature import EUCLIDEAN, SQUARED, Dodging, Impersonation, RelativeIdentification, scattered
from faceveil.objectives.naturalness import Naturalness
from faceveil.objectives.triplet import Triplet

MEASURES = {"euclidean": EUCLIDEAN, "squared": SQUARED}


@pytest.fixture(scope="module")
def net():
    return recognizer()


@pytest.fixture(scope="module")
def images():
    return pictures(4)


@pytest.fixture(scope="module")
def others(net):
    return net(pictures(4, seed=9))


def every_objective(net, images, others):
    targets = torch.stack([others, others.flip(0)], 1)
    return {
        "dodging": Dodging(net, others),
        "impersonation": Impersonation(net, others, SQUARED),
        "relative": RelativeIdentification(net, others.roll(1, 0), targets),
        "relative, mostly away": RelativeIdentification(net, others.roll(1, 0), targets, 1.5),
        "triplet": Triplet(net, others, others.flip(0), 0.5),
        "softmax": CrossEntropy(net, Softmax(others, torch.zeros(4)), torch.arange(4)),
        "centroids": CrossEntropy(net, Centroids(targets), torch.tensor([0, 1, 0, 1])),
        "naturalness": Naturalness((images + 0.01).clamp(0, 1)),
    }


def test_every_loss_is_its_own_images_alone(net, images, others):
    for objective in every_objective(net, images, others).values():
        losses = objective(images)
        chosen = torch.tensor([False, True, False, True])
        assert torch.allclose(objective[chosen](images[chosen]), losses[chosen], atol=1e-5)
        assert torch.allclose(objective[torch.tensor([2])](images[2:3]), losses[2:3], atol=1e-5)


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_at_the_threshold_dodging_is_minus_one_and_impersonation_one(net, images, measure):
    """Unit vectors a Euclidean 0.5 apart, the toy's threshold."""
    embeddings = net(images)
    aside = F.normalize(others_orthogonal(embeddings))
    angle = 2 * np.arcsin(0.5 / 2)
    sources = np.cos(angle) * embeddings + np.sin(angle) * aside
    assert torch.allclose(Dodging(net, sources, measure)(images), -torch.ones(4), atol=1e-4)
    assert torch.allclose(Impersonation(net, sources, measure)(images), torch.ones(4), atol=1e-4)


def others_orthogonal(embeddings):
    other = embeddings.roll(1, 1)
    return other - (other * embeddings).sum(1, keepdim=True) * embeddings


def test_distance_to_oneself_has_a_gradient_that_is_finite(net, images):
    images = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(Dodging(net, net(images).detach())(images).sum(), images)
    assert gradient.isfinite().all()


def test_triplet_is_torchs_with_positive_and_negative_exchanged(net, images, others):
    positives, negatives = others, others.flip(0)
    expected = F.triplet_margin_loss(net(images), negatives, positives, margin=0.3, reduction="none")
    assert torch.allclose(Triplet(net, positives, negatives, 0.3)(images), expected, atol=1e-5)


def test_relative_loss_is_that_of_the_nearest_target(net, images, others):
    targets = torch.stack([others, others.flip(0)], 1)
    one = [RelativeIdentification(net, others.roll(1, 0), targets[:, i : i + 1])(images) for i in range(2)]
    both = RelativeIdentification(net, others.roll(1, 0), targets)(images)
    assert torch.allclose(both, torch.minimum(*one))


def test_relative_loss_counts_the_way_from_the_source_as_often_as_it_is_told(net, images, others):
    """|e - t|^2 - 1.5 |e - s|^2, by torch's own squared error."""
    sources, embeddings = others.roll(1, 0), net(images)
    toward, away = (F.mse_loss(embeddings, some, reduction="none").sum(1) for some in (others, sources))
    loss = RelativeIdentification(net, sources, others[:, None], 1.5)(images)
    assert torch.allclose(loss, toward - 1.5 * away, atol=1e-5)


def test_scattering_moves_a_tenth_of_the_numbers_by_up_to_its_reach():
    moved = scattered(torch.zeros(50, 100), Generator().manual_seed(0))
    assert ((moved != 0).sum(1) == 10).all()
    assert 0.06 < moved.abs().max() <= 0.07
    assert len(moved.unique(dim=0)) == 50


@pytest.fixture(scope="module")
def enrolled():
    classes = torch.arange(5).repeat_interleave(8)
    centers = torch.randn(5, 8, generator=Generator().manual_seed(1))
    return F.normalize(centers[classes] + torch.randn(40, 8, generator=Generator().manual_seed(2))), classes


def test_the_softmax_head_is_scikit_learns(enrolled):
    embeddings, classes = enrolled
    head = Softmax.train(embeddings, classes, decay=0.01, steps=500)
    fitted = LogisticRegression(C=1 / (0.01 * 40), tol=1e-8, max_iter=5000).fit(embeddings.numpy(), classes.numpy())
    assert np.allclose(head(embeddings).softmax(1), fitted.predict_proba(embeddings.numpy()), atol=1e-3)


def test_the_centroid_head_is_scikit_learns(enrolled):
    embeddings, classes = enrolled
    fitted = NearestCentroid().fit(embeddings.numpy(), classes.numpy())
    head = Centroids.enroll(embeddings, classes)
    probes = torch.randn(64, 8)
    assert np.array_equal(head(probes).argmax(1), fitted.predict(probes.numpy()))


@pytest.mark.parametrize("sharpness", [1.0, 3.0])
def test_centroids_are_a_softmax_of_squared_distances_as_sharp_as_they_are_told(net, images, enrolled, sharpness):
    embeddings, classes = enrolled
    centers = torch.stack([embeddings[classes == i].mean(0) for i in range(5)])
    expected = (-sharpness * torch.cdist(net(images), centers).square()).softmax(1)
    head = Centroids.enroll(embeddings, classes, sharpness)
    assert torch.allclose(head(net(images)).softmax(1), expected, atol=1e-5)
    own = Centroids(centers.expand(4, -1, -1), sharpness)[torch.tensor([2, 0])]
    assert torch.allclose(own(net(images)[[2, 0]]).softmax(1), expected[[2, 0]], atol=1e-5)


def test_cross_entropy_falls_toward_a_class(net, images, enrolled):
    head = Centroids.enroll(*enrolled)
    losses = [CrossEntropy(net, head, torch.full((4,), i))(images) for i in range(5)]
    assert torch.allclose(torch.stack([(-loss).exp() for loss in losses]).sum(0), torch.ones(4))
