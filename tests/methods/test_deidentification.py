import pytest
import torch

from attacks.toys import pictures, recognizer
from faceveil.methods.deidentification import EPSILONS, Deidentification
from faceveil.objectives.cross_entropy import Centroids, CrossEntropy, Softmax


@pytest.fixture(scope="module")
def net():
    return recognizer()


@pytest.fixture(scope="module")
def head(net):
    return Softmax.train(net(pictures(12, seed=3)), torch.arange(4).repeat_interleave(3), decay=1e-3)


def plain(net, head, images, classes, sign, epsilon, steps):
    """Eq. 3 and 4, written out."""
    cloaked = images
    for _ in range(steps):
        cloaked = cloaked.detach().requires_grad_()
        loss = torch.nn.functional.cross_entropy(head(net(cloaked)), classes, reduction="sum")
        step = sign * torch.autograd.grad(loss, cloaked)[0].sign() / 255
        cloaked = (cloaked.detach() + step).clamp(images - epsilon / 255, images + epsilon / 255).clamp(0, 1)
    return cloaked


@pytest.mark.parametrize(("attack", "sign"), [("bim", 1), ("illc", -1)])
@pytest.mark.parametrize(("epsilon", "steps"), [(4, 5), (8, 10), (16, 20)])
def test_is_the_papers_equation(net, head, attack, sign, epsilon, steps):
    images = pictures(3)
    own = torch.tensor([0, 1, 2])
    classes = own if attack == "bim" else head(net(images)).argmin(1)
    cloaked = Deidentification((net,), attack, epsilon, (head,)).aligned(images, own)
    assert torch.allclose(cloaked, plain(net, head, images, classes, sign, epsilon, steps), atol=1e-6)


def test_the_likeliest_class_is_left_where_none_is_given(net, head):
    images = pictures(3)
    method = Deidentification((net,), "bim", heads=(head,))
    likeliest = head(net(images)).argmax(1)
    assert torch.equal(method.aligned(images), method.aligned(images, likeliest))


def test_without_heads_the_face_itself_is_left_for_others(net):
    """Each face is an identity of its own beside the targets, and the nearest of them is likeliest."""
    images, people = pictures(3), net(pictures(6, seed=8))
    sources = net(images)
    heads = Centroids(torch.cat([sources[:, None], people.expand(3, -1, -1)], 1))
    before = CrossEntropy(net, heads, torch.zeros(3, dtype=torch.long))
    cloaked = Deidentification((net,), "bim", 16, targets=(people,)).aligned(images)
    assert (before(cloaked) > before(images) + 0.3).all()
    target = torch.cdist(sources, people).argmax(1)
    cloaked = Deidentification((net,), "illc", 16, targets=(people,)).aligned(images)
    rows = torch.arange(3)
    assert (torch.cdist(net(cloaked), people)[rows, target] < torch.cdist(sources, people)[rows, target] - 0.2).all()


def test_a_step_is_as_large_as_it_is_told(net):
    """Ten steps of a quarter of a level."""
    images = pictures(2).clamp(0.3, 0.7)
    change = 255 * (Deidentification((net,), epsilon=8, step_size=0.25).aligned(images) - images)
    assert change.abs().max() == pytest.approx(2.5, abs=1e-3)


def test_the_papers_budgets(net):
    assert EPSILONS == (4, 8, 16, 32, 64, 128)
