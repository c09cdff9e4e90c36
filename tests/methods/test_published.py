"""What holds for every published method, on toys."""

import inspect

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
        ("veil", {"batch": 0}, "veil: batch is 0; give a whole number from 1 to 1000000$"),
        ("veil", {"batch": -1}, "batch is -1; give a whole number"),
        ("veil", {"batch": True}, "batch is True; give a whole number"),
        ("veil", {"batch": 2.0}, r"batch is 2\.0; give a whole number"),
        ("veil", {"steps": 0}, "steps is 0; give a whole number from 1"),
        ("fawkes", {"steps": "ten"}, "fawkes: steps is 'ten'; give a whole number from 1 to 1000000$"),
        ("cilloni", {"negatives": 0}, "negatives is 0; give a whole number from 1"),
        ("tip-im", {"power": 0}, "power is 0; give a whole number from 1"),
        ("illc", {"identities": 10**30}, "identities is 10+; give a whole number from 1"),
        ("opom", {"seed": -1}, f"seed is -1; give a whole number from 0 to {2**63 - 1}$"),
        ("opom", {"seed": 2**63}, "seed is 9223372036854775808; give"),
        ("veil", {"stride": float("nan")}, "veil: stride is nan; give a number greater than 0$"),
        ("veil", {"stride": 0}, "stride is 0; give a number greater than 0$"),
        ("fawkes", {"rate": -1.0}, r"rate is -1\.0; give a number greater than 0$"),
        ("veil", {"quality": float("-inf")}, "quality is -inf; give a number$"),
        ("veil", {"away": float("inf")}, "away is inf; give a number$"),
        ("fawkes", {"penalty": 10**400}, "penalty is 10+; give a number$"),
        ("veil", {"epsilon": True}, "epsilon is True; give a number$"),
        ("veil", {"jitter": [1]}, r"veil: jitter is \[1\]; give \[a number, a number, a number\]$"),
        ("veil", {"jitter": [0, 0, float("nan")]}, r"jitter is \[0, 0, nan\]; give"),
        ("veil", {"jitter": 0.1}, r"jitter is 0\.1; give \[a number"),
        ("veil", {"weights": ["a"]}, r"veil: weights is \['a'\]; give \[a number, \.\.\.\]$"),
        ("cilloni", {"targets": [1]}, r"cilloni: targets is \[1\]; give \[Float\[Tensor"),
        ("fawkes", {"mode": 1}, "mode is 1; give text$"),
        ("tip-im", {"view": 1}, "view is 1; give Callable$"),
    ],
)
def test_says_what_is_wrong_with_a_setting(name, settings, message, surrogates):
    with pytest.raises(SettingError, match=message):
        build(name, surrogates, settings)


def test_takes_settings_as_json_has_them(surrogates):
    """Lists in place of tuples, whole numbers in place of others, null where nothing is said."""
    method = build("veil", surrogates, {"jitter": [0, 0.5, 1], "weights": [2, 1], "steps": None, "apart": 0, "seed": 0})
    assert (method.jitter, method.weights, method.steps, method.apart) == ((0, 0.5, 1), (2, 1), None, 0)


@pytest.mark.parametrize("name", METHODS)
def test_every_setting_may_have_its_default(name, surrogates):
    settings = {key: one.default for key, one in inspect.signature(METHODS[name]).parameters.items()}
    del settings["surrogates"]
    assert build(name, surrogates, settings) == build(name, surrogates)


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
