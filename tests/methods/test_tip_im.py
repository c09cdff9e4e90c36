import pytest
import torch
import torch.nn.functional as F
from torch import Generator

from attacks.toys import pictures, recognizer
from faceveil.errors import SettingError
from faceveil.methods.identities import apart, candidates, virtual
from faceveil.methods.scene import Scene
from faceveil.methods.tip_im import GAINS, SEARCHES, VARIANTS, Aims, TipIm
from faceveil.objectives.diversity import Dimming, Padding


@pytest.fixture(scope="module")
def nets():
    return recognizer(0), recognizer(1, (16, 12), normalized=False)


def aims_of(images, nets, count=4):
    scene = Scene.aligned(images, nets)
    sources = scene.embed()
    return Aims(scene, sources, candidates(scene, sources, (), count, 0))


def one_by_one(aims, images, view=None, generator=None):
    """Eq. 2's gradient for each target, a forward and a backward pass each."""
    gradients = []
    for k in range(aims.count):
        seen = images.detach().requires_grad_()
        gradients.append(torch.autograd.grad(aims.objective(k)(seen).sum(), seen)[0])
    return torch.stack(gradients)


def test_one_forward_pass_gives_every_targets_gradient(nets):
    images = pictures(3)
    moved = (images + 0.02).clamp(0, 1)
    aims = aims_of(images, nets)
    assert torch.allclose(aims.gradients(moved), one_by_one(aims, moved), atol=1e-5)


def test_the_shared_forward_pass_gives_the_same_cloak(nets, monkeypatch):
    images = pictures(3)
    cloaked = TipIm(nets[:1], steps=8, view=None).aligned(images)
    monkeypatch.setattr(Aims, "gradients", one_by_one)
    assert torch.allclose(TipIm(nets[:1], steps=8, view=None).aligned(images), cloaked, atol=1e-4)


@pytest.mark.parametrize("decay", [1.0, 0.4])
def test_is_algorithm_1_written_out(nets, decay):
    """Each image alone, each target in turn, as the paper has it, with one recognizer."""
    net, images, people = nets[0], pictures(2), nets[0](pictures(3, seed=4))
    together = TipIm(nets[:1], (people,), steps=6, decay=decay, view=None).aligned(images)
    for i in range(2):
        original = images[i : i + 1]
        source, cloaked, memory = net(original), original, torch.zeros_like(original)
        for _ in range(6):
            best = (-1.0,)
            for target in people:
                seen = cloaked.clone().requires_grad_()
                loss = (net(seen) - target).square().sum() - (net(seen) - source).square().sum()
                (gradient,) = torch.autograd.grad(loss, seen)
                moved = decay * memory + gradient / gradient.abs().mean()
                candidate = cloaked - 1.5 / 255 * moved.sign()
                candidate = candidate.clamp(original - 12 / 255, original + 12 / 255).clamp(0, 1)
                near = (net(candidate) - people).square().sum(1)
                gain = torch.log(1 + ((net(candidate) - source).square().sum() - near).exp().max())
                best = max(best, (float(gain), candidate, moved), key=lambda entry: entry[0])
            _, cloaked, memory = best
        assert torch.allclose(together[i : i + 1], cloaked, atol=1e-4)


@pytest.mark.parametrize("search", SEARCHES)
def test_with_one_target_every_search_is_the_same_walk(nets, search):
    images, someone = pictures(2), nets[0](pictures(1, seed=4))
    settings = {"steps": 6, "decay": 0.4, "step_size": 1.0, "view": None}
    found = TipIm(nets[:1], (someone,), search=search, **settings).aligned(images)
    assert torch.allclose(found, TipIm(nets[:1], (someone,), **settings).aligned(images), atol=1e-4)


@pytest.mark.parametrize("search", SEARCHES)
def test_each_step_sees_through_the_view(nets, search):
    """Where it shows nothing there is no gradient; where it is drawn, the seed decides."""
    images, people = pictures(2), nets[0](pictures(3, seed=4))
    assert torch.equal(TipIm(nets[:1], (people,), steps=3, search=search, view=Dimming(0.0)).aligned(images), images)
    found = [TipIm(nets[:1], (people,), steps=3, search=search, seed=seed).aligned(images) for seed in (0, 0, 1)]
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize(("kind", "expected"), [("sum", 1.7908156), ("min", 0.6910108), ("max", 0.6941980)])
def test_gains_equal_the_released_codes(kind, expected):
    """Gain1, Gain2 and Gain3 of its run.py, executed on these embeddings, with its Euclidean distances."""
    i = torch.arange(512, dtype=torch.float64)

    def embedding(k):
        return F.normalize(torch.sin(i * (k + 1) * 0.37 + k), dim=0)

    adversarial, source = embedding(0.3), embedding(0)
    gaps = torch.stack([(adversarial - source).norm() - (adversarial - embedding(k)).norm() for k in range(1, 6)])
    assert float(GAINS[kind](gaps)) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize(("normalized", "strangers"), [(True, 2**0.5), (False, 0.75)])
def test_gaps_are_those_of_each_version_and_target(normalized, strangers, power):
    """In units in which strangers, sqrt(2) or one and a half thresholds of 0.5 apart, have 2 as squares."""
    images, net = pictures(2), recognizer(normalized=normalized)
    aims = aims_of(images, (net,), 3)
    versions = torch.stack([images, images.flip(3)])
    gaps = aims.gaps(versions, power)
    assert gaps.shape == (2, 2, 3)
    moved = net(versions[1])
    own, others = torch.cdist(moved, aims.sources[0]).diag(), (moved[:, None] - aims.targets[0]).norm(dim=2)
    expected = (own[:, None] ** power - others**power) * (2**0.5 / strangers) ** power
    assert torch.allclose(gaps[1], expected, atol=1e-5)


def test_naturalness_makes_smaller_changes(nets):
    images = pictures(2, size=12)
    plain, natural = (TipIm(nets[:1], steps=20, gamma=gamma, view=None).aligned(images) for gamma in (0.0, 100.0))
    assert (natural - images).square().mean() < 0.9 * (plain - images).square().mean()


def test_every_variant_comes_nearer_to_a_target(nets):
    images, people = pictures(2), nets[0](pictures(3, seed=4))
    for settings in VARIANTS.values():
        cloaked = TipIm(nets[:1], (people,), **(settings | {"steps": 10})).aligned(images)
        assert (torch.cdist(nets[0](cloaked), people).amin(1) < torch.cdist(nets[0](images), people).amin(1)).all()


def test_a_step_of_the_released_code_goes_along_the_gradient(nets):
    """The change's root mean square is the step's, its direction the gradient's; each channel's bound stays."""
    images = 0.25 + pictures(2) / 2
    settings = VARIANTS["released"] | {"identities": 1, "view": None}
    first = TipIm(nets[:1], **(settings | {"steps": 1})).aligned(images) - images
    (gradient,) = aims_of(images, nets[:1], 1).gradients(images)
    along = F.cosine_similarity(first.flatten(1), -gradient.flatten(1))
    assert along.tolist() == pytest.approx([1, 1], abs=1e-4)
    assert (255 * first.square().mean((1, 2, 3)).sqrt()).tolist() == pytest.approx([0.18, 0.18], rel=1e-3)
    moved = TipIm(nets[:1], **(settings | {"epsilon": 1.0})).aligned(images) - images
    assert 255 * float(moved.abs().max()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("search", SEARCHES)
def test_every_search_takes_either_norm(nets, search):
    images = pictures(1)
    by_sign, along = (TipIm(nets[:1], steps=2, search=search, norm=norm).aligned(images) for norm in ("linf", "l2"))
    assert not torch.allclose(by_sign, along, atol=1e-3)


def test_refuses_a_norm_that_it_does_not_know(nets):
    with pytest.raises(SettingError, match="norm is 'l1'; it is one of linf, l2"):
        TipIm(nets, norm="l1")


@pytest.mark.parametrize("normalized", [True, False])
def test_virtual_identities_are_strangers_and_differ_by_image(normalized):
    net = recognizer(normalized=normalized)
    sources = F.normalize(torch.randn(2, 128, generator=Generator().manual_seed(0)))
    identities = virtual(net, sources, 20, [1, 2])
    away = (identities - sources[:, None]).norm(dim=2)
    assert identities.shape == (2, 20, 128)
    assert away.min() > 1.2 * net.threshold
    assert away.mean() == pytest.approx(apart(net), rel=0.05)
    assert not torch.allclose(identities[0], identities[1], atol=0.1)
    assert torch.equal(identities[1:], virtual(net, sources[1:], 20, [2]))
    assert not normalized or torch.allclose(identities.norm(dim=2), torch.ones(2, 20))


def test_the_papers_numbers_are_the_defaults(nets):
    method = TipIm(nets)
    assert (method.epsilon, method.steps, method.step_size, method.decay, method.identities) == (12, 50, 1.5, 1, 10)
    assert (method.gamma, method.search, method.gain, method.power, method.norm) == (0, "greedy", "max", 2, "linf")
    assert method.view == Padding()
