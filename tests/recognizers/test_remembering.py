import torch

from attacks.toys import pictures, recognizer
from faceveil.methods.cilloni import Cilloni
from faceveil.recognizers.remembering import Remembering


def counted(net):
    """The recognizer, and a list that grows by the number of images each time its network runs."""
    runs = []
    net.network.register_forward_hook(lambda network, images, features: runs.append(len(features)))
    return net, runs


def test_looks_once_at_the_same_images():
    guide = recognizer().surrogate()
    net, runs = counted(Remembering(recognizer()))
    images = pictures(3)
    with torch.no_grad():
        seen = net(images)
    leaf = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(net(leaf)[:, 0].sum(), leaf)
    assert runs == [3]
    plain = images.clone().requires_grad_()
    expected = guide(plain)
    assert torch.equal(seen, expected)
    assert torch.equal(gradient, torch.autograd.grad(expected[:, 0].sum(), plain)[0])


def test_looks_again_at_others_and_at_what_changed():
    net, runs = counted(Remembering(recognizer()))
    images = pictures(3)
    first = net(images)
    assert not torch.equal(first[:2], net(pictures(2, seed=1)))
    images[0] = 0
    assert not torch.equal(net(images)[0], first[0])
    images[0] = 1
    net(images)
    net(images[:2])
    assert runs == [3, 2, 3, 3, 2]


def test_a_walk_that_looks_after_each_step_runs_forward_once_for_each():
    images = pictures(4)
    guide, steps = counted(recognizer().surrogate())
    plain = Cilloni((guide,), steps=9, slowest=-1.0).aligned(images)
    net, runs = counted(Remembering(recognizer()))
    assert torch.equal(Cilloni((net,), steps=9, slowest=-1.0).aligned(images), plain)
    assert (len(steps), len(runs)) == (1 + 1 + 9 + 2 * 8, 1 + 9)
