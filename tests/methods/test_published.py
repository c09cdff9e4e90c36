"""What holds for every published method, on toys."""

import pytest
import torch

from attacks.toys import pictures, recognizer, regions
from faceveil.attacks.budget import Linf
from faceveil.errors import SettingError
from faceveil.faces.region import GRID
from faceveil.methods import METHODS, build
from faceveil.methods.scene import Scene
from faceveil.objectives.cross_entropy import Softmax

SETTINGS = {
    "cilloni none": ("cilloni", {"steps": 5}),
    "cilloni farthest": ("cilloni", {"select": "farthest", "steps": 5}),
    "cilloni random": ("cilloni", {"select": "random", "steps": 3}),
    "cilloni similar": ("cilloni", {"select": "similar", "margin": 0.5, "steps": 5}),
    "bim": ("bim", {"epsilon": 6}),
    "illc": ("illc", {"epsilon": 6}),
    "tip-im": ("tip-im", {"steps": 4}),
    "tip-im natural": ("tip-im", {"steps": 2, "gamma": 0.1}),
    "tip-im each": ("tip-im", {"steps": 4, "search": "each", "identities": 3}),
    "tip-im nearest": ("tip-im", {"steps": 4, "search": "nearest"}),
    "tip-im drawn": ("tip-im", {"steps": 4, "search": "drawn"}),
    "fawkes": ("fawkes", {"steps": 8}),
    "lowkey": ("lowkey", {"steps": 4}),
    "opom": ("opom", {"steps": 4}),
}
EPSILON = {"bim": 6, "illc": 6, "tip-im": 12, "fawkes": 15, "lowkey": 12.75, "opom": 8}


@pytest.fixture(scope="module")
def surrogates():
    return recognizer(0), recognizer(1, (16, 12), normalized=False)


@pytest.mark.parametrize(("name", "settings"), SETTINGS.values(), ids=SETTINGS)
def test_cloaks_each_aligned_image_as_if_alone(name, settings, surrogates):
    images = pictures(3)
    method = build(name, surrogates, settings)
    together = method.aligned(images)
    alone = torch.cat([method.aligned(images[i : i + 1]) for i in range(3)])
    assert torch.allclose(together, alone, atol=1e-3)
    assert (together - images).abs().amax((1, 2, 3)).min() > 1 / 255


@pytest.mark.parametrize(("name", "settings"), SETTINGS.values(), ids=SETTINGS)
def test_moves_away_from_the_source(name, settings, surrogates):
    images = pictures(3)
    cloaked = build(name, surrogates, settings).aligned(images)
    scene = Scene.aligned(images, surrogates)
    for own, moved in zip(scene.embed(), scene.embed(cloaked), strict=True):
        assert ((moved - own).norm(dim=1) > 0.02).all()


@pytest.mark.parametrize("name", EPSILON)
def test_stays_inside_the_budget(name, surrogates):
    images, budget = pictures(3), Linf(EPSILON[name])
    cloaked = build(name, surrogates, SETTINGS[name][1]).aligned(images)
    assert torch.allclose(budget.project(cloaked, images), cloaked, atol=1e-6)


@pytest.mark.parametrize("name", ["veil", "cilloni", "bim", "illc", "tip-im", "fawkes", "lowkey", "opom"])
def test_cloaks_faces_in_photos_one_or_many(name, surrogates):
    faces = regions(3)
    method = build(name, surrogates, {} if name in ("bim", "illc") else {"steps": 2})
    cloaked = method(faces)
    assert cloaked.shape == (3, 3, GRID, GRID)
    for image, face in zip(cloaked, faces, strict=True):
        change = (image - face.images[0]).abs()
        assert change.max() > 0.5 / 255
        assert change[:, face.mask()[0, 0] == 0].max() == 0


@pytest.mark.parametrize("name", ["cilloni", "bim", "illc", "tip-im", "fawkes", "lowkey", "opom"])
def test_a_faces_cloak_does_not_depend_on_how_many_are_cloaked(name, surrogates):
    """Up to what the surrogates' 16-bit copies round differently."""
    faces = regions(3)
    settings = {} if name in ("bim", "illc") else {"steps": 2}
    together = build(name, surrogates, settings)(faces)
    by_two = build(name, surrogates, settings | {"batch": 2})(faces)
    assert float((together - by_two).abs().mean()) < 0.1 / 255


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("glaze", {}, "no method is called 'glaze'; there are veil, cilloni"),
        ("bim", {"margin": 1}, "bim has no setting 'margin'; it has"),
        ("bim", {"epsilon": 0}, "epsilon is 0"),
        ("tip-im", {"epsilon": 256}, "epsilon is 256"),
        ("tip-im", {"search": "best"}, "search is 'best'; it is one of greedy"),
        ("tip-im", {"gain": "mean"}, "gain is 'mean'; it is one of max"),
        ("cilloni", {"select": "nobody"}, "select is 'nobody'; it is one of none"),
        ("fawkes", {"mode": "min"}, "mode is 'min'; it is one of low, mid, high"),
        ("fawkes", {"aim": "me"}, "aim is 'me'; it is one of target, away"),
        ("lowkey", {"epsilon": -1}, "epsilon is -1"),
        ("opom", {"span": "all"}, "span is 'all'; it is one of own, center"),
        ("bim", {"heads": (Softmax(torch.ones(2, 8), torch.zeros(2)),)}, "there are 1 heads; give one for each of 2"),
    ],
)
def test_says_what_is_wrong_with_a_setting(name, settings, message, surrogates):
    with pytest.raises(SettingError, match=message):
        build(name, surrogates, settings)


@pytest.mark.parametrize("name", ["cilloni", "bim", "tip-im", "fawkes"])
def test_targets_are_for_every_surrogate(name, surrogates):
    settings = {"targets": (torch.rand(5, 8),)} | ({"select": "farthest"} if name == "cilloni" else {})
    with pytest.raises(SettingError, match="targets are there for 1"):
        build(name, surrogates, settings).aligned(pictures(1))


def test_aligned_images_have_the_first_surrogates_size(surrogates):
    with pytest.raises(SettingError, match="images are 8 x 8; toy-0 takes 12 x 12"):
        build("bim", surrogates).aligned(pictures(1, size=8))


def test_methods_are_known_by_name():
    own, papers = {"veil"}, {"cilloni", "bim", "illc", "tip-im", "fawkes", "lowkey", "opom", "advfaces", "latent"}
    assert set(METHODS) >= own | papers
