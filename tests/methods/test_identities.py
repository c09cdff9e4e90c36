"""Whom a cloaked face is led to, where nobody is enrolled."""

import pytest
import torch
import torch.nn.functional as F
from torch import Generator

from attacks.toys import pictures, recognizer
from faceveil.methods.identities import apart, bent
from faceveil.methods.scene import Scene


@pytest.fixture(scope="module")
def scene():
    return Scene.aligned(pictures(3), (recognizer(0), recognizer(1, normalized=False)))


def test_a_flat_mirror_under_even_light_leads_where_brighter_photos_lie(scene):
    """With one place for all, the light is the third of the numbers that are drawn for the image."""
    sources = scene.embed()
    light = torch.stack([torch.randn(3, generator=Generator().manual_seed(each))[2] for each in scene.seeds(0)])
    brighter = scene.embed((scene.images + 0.2 * light[:, None, None, None]).clamp(0, 1))
    unit, free = bent(scene, sources, 0, reach=0, light=0.2, nodes=1)
    ways = [F.normalize(seen - source) for seen, source in zip(brighter, sources, strict=True)]
    assert torch.allclose(unit, F.normalize(sources[0] + 2**0.5 * ways[0]), atol=1e-3)
    assert torch.allclose(free, sources[1] + apart(scene.surrogates[1]) * ways[1], atol=1e-3)


@pytest.mark.parametrize("kind", [{"reach": 0.1, "light": 0.0}, {"reach": 0.0, "light": 0.2}])
def test_a_bent_or_unevenly_lit_mirror_leads_as_far_as_strangers_are(scene, kind):
    """Unit vectors where the recognizer's are; else as far off as a stranger."""
    sources = scene.embed()
    unit, free = bent(scene, sources, 0, **kind)
    assert torch.allclose(unit.norm(dim=1), torch.ones(3), atol=1e-5)
    assert ((unit - sources[0]).norm(dim=1) > 0.5).all()
    assert torch.allclose((free - sources[1]).norm(dim=1), torch.full((3,), apart(scene.surrogates[1])), atol=1e-3)


def test_each_image_has_a_mirror_of_its_own(scene):
    """Neighbors do not matter; another photo, or another seed, has another way."""
    sources = scene.embed()
    chosen = torch.tensor([2])
    whole, other = bent(scene, sources, 0), bent(scene, sources, 1)
    alone = bent(scene[chosen], tuple(some[chosen] for some in sources), 0)
    for together, single, elsewhere in zip(whole, alone, other, strict=True):
        assert torch.allclose(together[2:], single, atol=1e-5)
        assert not torch.allclose(together, elsewhere, atol=1e-2)
    ways = F.normalize(whole[0] - sources[0])
    assert (ways @ ways.T - torch.eye(3)).max() < 0.95
