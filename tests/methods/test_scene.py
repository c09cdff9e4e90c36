"""Several recognizers as one, on toys."""

import inspect
from dataclasses import replace

import pytest
import torch
from torch import Generator, Tensor

from attacks.toys import pictures, recognizer, regions
from faceveil.errors import SettingError
from faceveil.methods import METHODS, build
from faceveil.methods.scene import Scene
from faceveil.objectives import views
from faceveil.objectives.feature import PLAIN, Dodging

JITTER = (0.1, 0.1, 0.1)


@pytest.fixture(scope="module")
def surrogates():
    return recognizer(0), recognizer(1, (16, 12), normalized=False), recognizer(2)


def dodging(scene: Scene, images: Tensor):
    sources = scene.embed(images)
    return lambda i, surrogate: Dodging(surrogate, sources[i], PLAIN)


def test_a_face_is_cut_once_for_surrogates_that_see_the_same(surrogates, monkeypatch):
    sizes = []

    def warp(images, matrices, size):
        sizes.append(size)
        return views_warp(images, matrices, size)

    views_warp = views.warp_smoothly
    monkeypatch.setattr(views, "warp_smoothly", warp)
    scene = Scene.of(regions(2), surrogates, JITTER)
    scene.mean(dodging(scene, scene.images + 0.1))(scene.images, Generator().manual_seed(0))
    assert sizes == [(12, 12), (16, 12)] * 2  # the sources, then the loss


def test_surrogates_that_see_the_same_share_the_jitter(surrogates):
    scene = Scene.of(regions(1), (surrogates[0], surrogates[0]), JITTER)
    first, second = scene.see(scene.images, Generator().manual_seed(0))
    assert torch.equal(first, second)
    assert not torch.allclose(first, scene.see(scene.images, Generator().manual_seed(1))[0])


@pytest.mark.parametrize(("weights", "parts"), [((), (1 / 3, 1 / 3, 1 / 3)), ((2.0, 1.0, 1.0), (0.5, 0.25, 0.25))])
def test_losses_are_averaged_by_weight(weights, parts, surrogates):
    scene = Scene.of(regions(2), surrogates, weights=weights)
    make = dodging(scene, scene.images.flip(3))
    alone = [Scene.of(regions(2), [net]).mean(lambda _, own, i=i: make(i, own)) for i, net in enumerate(surrogates)]
    losses = [part * each(scene.images) for part, each in zip(parts, alone, strict=True)]
    assert torch.allclose(scene.mean(make)(scene.images), torch.stack(losses).sum(0))
    assert torch.allclose(scene.combine([torch.eye(3)[i] for i in range(3)]), torch.tensor(parts))


@pytest.mark.parametrize("name", ["cilloni", "bim", "illc", "tip-im"])
def test_a_surrogate_of_no_weight_has_no_say(name, surrogates):
    images, settings = pictures(2), {} if name in ("bim", "illc") else {"steps": 2}
    alone = build(name, surrogates[:1], settings).aligned(images)
    both = build(name, (surrogates[0], surrogates[2]), settings | {"weights": (1.0, 1e-12)}).aligned(images)
    assert torch.allclose(alone, both, atol=1e-4)


@pytest.mark.parametrize("weights", [(1.0,), (1.0, -1.0, 1.0)])
def test_weights_that_do_not_fit_are_refused(weights, surrogates):
    with pytest.raises(SettingError, match="give 3 positive numbers"):
        build("bim", surrogates, {"weights": weights}).aligned(pictures(1))


def test_gray_photos_are_seen_gray(surrogates):
    scene = Scene.of(regions(2, gray=True), surrogates)
    tinted = scene.images + torch.tensor([0.1, 0.0, -0.1])[:, None, None]
    for plain, seen in zip(scene.embed(), scene.embed(tinted), strict=True):
        assert torch.allclose(plain, seen, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_a_gray_photos_cloak_is_gray_by_every_method(name):
    (colored,) = regions(1, gray=True)
    images = colored.images.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    steps = {"steps": 2} if "steps" in inspect.signature(METHODS[name]).parameters else {}
    cloaked = build(name, (recognizer(size=(112, 112), template="arcface"),), steps)([replace(colored, images=images)])
    levels = (255 * (cloaked - images)).round()
    assert (levels == levels[:, :1]).all()
    assert levels.any()


def test_surrogates_see_aligned_images_aligned_for_themselves():
    """A template that is the first one's, twice as large: the second surrogate sees the image enlarged."""
    seen: list[Tensor] = []
    nets = recognizer(0), recognizer(1, (24, 24))
    nets[1].network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    images = torch.linspace(0.2, 0.8, 12).expand(1, 3, 12, 12).contiguous()
    Scene.aligned(images, nets).embed()
    levels = (seen[0] + 1) / 2
    assert torch.allclose(
        levels[0, 0, 5, 2:22], torch.nn.functional.interpolate(images, 24, mode="bilinear")[0, 0, 5, 2:22]
    )


def test_photos_differ_in_their_seeds_and_neighbors_do_not_matter(surrogates):
    scene = Scene.aligned(pictures(3), surrogates)
    assert len(set(scene.seeds(0))) == 3
    assert scene[torch.tensor([1])].seeds(0) == scene.seeds(0)[1:2]
    assert scene.seeds(0) != scene.seeds(1)
