"""What holds for every published method, on toys."""

import inspect
import re
from fractions import Fraction

import numpy as np
import pytest
import torch

from attacks.toys import pictures, recognizer, regions
from faceveil.attacks.budget import Linf
from faceveil.errors import SettingError
from faceveil.faces.region import GRID
from faceveil.methods import (
    METHODS,
    AdvFaces,
    Cilloni,
    Deidentification,
    Fawkes,
    Latent,
    LowKey,
    Opom,
    TipIm,
    UniversalMethod,
    Veil,
    build,
)
from faceveil.methods.scene import Scene
from faceveil.methods.settings import FROM_0, POSITIVE, WHOLE
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


@pytest.mark.parametrize(
    "name", ["veil", "cilloni", "bim", "illc", "tip-im", "tip-im nearest", "fawkes", "lowkey", "opom"]
)
def test_cloaks_faces_in_photos_one_or_many(name, surrogates):
    faces = regions(3)
    settings = {"search": "nearest"} if name == "tip-im nearest" else {}
    steps = {} if name in ("bim", "illc") else {"steps": 2}
    method = build(name.removesuffix(" nearest"), surrogates, settings | steps)
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
        ("veil", {"away": float("inf")}, "away is inf; give a number from 0$"),
        ("fawkes", {"penalty": 10**400}, "penalty is 10+; give a number from 0$"),
        ("fawkes", {"penalty": 10**5000}, "^fawkes: penalty is too long to be shown; give a number from 0$"),
        ("fawkes", {"penalty": Fraction(10**400)}, r"penalty is Fraction\(10+; give a number from 0$"),
        ("fawkes", {"penalty": Fraction(-(10**5000))}, "penalty is too long to be shown; give a number from 0$"),
        ("veil", {"jitter": [0, 0, 10**5000]}, r"jitter is too long to be shown; give \[a number from 0, "),
        ("opom", {"seed": 10**5000}, "seed is too long to be shown; give a whole number from 0"),
        ("veil", {"epsilon": True}, "epsilon is True; give 8-bit levels, more than 0 and at most 255$"),
        ("veil", {"jitter": [1]}, rf"veil: jitter is \[1\]; give \[{', '.join(['a number from 0'] * 3)}\]$"),
        ("veil", {"jitter": [0, 0, float("nan")]}, r"jitter is \[0, 0, nan\]; give"),
        ("veil", {"jitter": [0, 0, -1]}, r"jitter is \[0, 0, -1\]; give"),
        ("veil", {"jitter": 0.1}, r"jitter is 0\.1; give \[a number"),
        ("veil", {"weights": ["a"]}, r"veil: weights is \['a'\]; give \[a number, \.\.\.\]$"),
        ("cilloni", {"targets": [1]}, r"cilloni: targets is \[1\]; give \[Float\[Tensor"),
        ("cilloni", {"targets": torch.eye(3)}, r"^cilloni: targets is tensor\([^\n]*; give \[Float\[Tensor[^\n]*\Z"),
        ("veil", {"steps": np.int64(0)}, r"steps is np.int64\(0\); give a whole number from 1"),
        ("veil", {"steps": np.float64(3)}, r"steps is np.float64\(3.0\); give a whole number from 1"),
        ("veil", {"steps": np.True_}, "steps is np.True_; give a whole number from 1"),
        ("veil", {"stride": np.float32("nan")}, r"stride is np.float32\(nan\); give a number greater than 0$"),
        ("veil", {"apart": -1e-9}, "veil: apart is -1e-09; give a number from 0$"),
        ("veil", {"decay": -5}, "veil: decay is -5; give a number from 0$"),
        ("tip-im", {"gamma": -4}, "tip-im: gamma is -4; give a number from 0$"),
        ("cilloni", {"margin": -0.2}, r"margin is -0\.2; give a number from 0$"),
        ("lowkey", {"price": -1}, "price is -1; give a number from 0$"),
        ("lowkey", {"start": 256}, "start is 256; give 8-bit levels, more than 0 and at most 255$"),
        ("lowkey", {"kernel": 8}, "kernel is 8; give an odd number of pixels"),
        ("lowkey", {"kernel": GRID + 1}, f"kernel is {GRID + 1}; give a whole number from 1 to {GRID - 1}$"),
        ("apf", {"scatter": -1}, "apf: scatter is -1; give a number from 0$"),
        ("veil", {"weights": [0, 0]}, r"the weights are \(0, 0\); give 2 positive numbers$"),
        ("veil", {"weights": [-1, 1]}, r"the weights are \(-1, 1\); give 2 positive numbers$"),
        ("bim", {"weights": [1]}, r"the weights are \(1,\); give 2 positive numbers$"),
        ("fawkes", {"mode": 1}, "mode is 1; give text$"),
        ("tip-im", {"view": 1}, "view is 1; give View$"),
    ],
)
def test_says_what_is_wrong_with_a_setting(name, settings, message, surrogates):
    with pytest.raises(SettingError, match=message):
        build(name, surrogates, settings)


def test_takes_settings_as_json_has_them(surrogates):
    """Lists in place of tuples, whole numbers in place of others, null where nothing is said."""
    method = build("veil", surrogates, {"jitter": [0, 0.5, 1], "weights": [2, 1], "steps": None, "apart": 0, "seed": 0})
    assert (method.jitter, method.weights, method.steps, method.apart) == ((0, 0.5, 1), (2, 1), None, 0)


def test_takes_numbers_as_numpy_has_them(surrogates):
    given = {"steps": np.int64(3), "stride": np.float32(0.5), "quality": np.int8(40), "jitter": list(np.zeros(3))}
    method = build("veil", surrogates, given)
    numbers = [method.steps, method.stride, method.quality, *method.jitter]
    assert numbers == [3, 0.5, 40, 0, 0, 0]
    assert list(map(type, numbers)) == [int, float, int, float, float, float]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("tip-im", {"decay": 0, "gamma": 0}),  # no momentum, and nothing natural
        ("tip-im", {"decay": 2, "gamma": 3}),  # the most that Dong et al. and the paper try
        ("cilloni", {"margin": 0, "slowest": -1}),  # never halts
        ("veil", {"quality": -20, "away": 0, "apart": 0, "jitter": (0, 0, 0)}),
        ("lowkey", {"start": 255, "price": 0, "kernel": 1}),
        ("lowkey", {"kernel": GRID - 1}),
        ("apf", {"scatter": 0, "decay": 0}),
    ],
)
def test_takes_the_ends_of_what_makes_sense(name, settings, surrogates):
    method = build(name, surrogates, settings)
    assert {setting: getattr(method, setting) for setting in settings} == settings


@pytest.mark.parametrize(
    ("make", "setting", "value"),
    [
        (Veil, "decay", -5.0),
        (Veil, "jitter", (0.0, -1.0, 0.0)),
        (Veil, "stride", float("nan")),
        (Veil, "batch", 0),
        (Cilloni, "margin", -1.0),
        (Deidentification, "step_size", 0.0),
        (Fawkes, "rate", -1.0),
        (LowKey, "sigma", 0.0),
        (LowKey, "kernel", 99999),
        (Opom, "steps", 0),
        (TipIm, "gamma", -4.0),
        (AdvFaces, "batch", 0),
        (Latent, "seed", -1),
        (UniversalMethod, "batch", 10**7),
    ],
)
def test_a_class_says_what_is_wrong_with_a_number(make, setting, value, surrogates):
    with pytest.raises(SettingError, match=f"^{setting} is {re.escape(repr(value))}; give "):
        make(surrogates, **{setting: value})


@pytest.mark.parametrize("make", [Veil, Cilloni, Deidentification, Fawkes, LowKey, Opom, TipIm])
@pytest.mark.parametrize("weights", [(0.0, 0.0), (1.0, -1.0), (1.0,), (1.0, 1.0, 1.0)])
def test_a_class_takes_a_positive_weight_for_each_surrogate(make, weights, surrogates):
    with pytest.raises(SettingError, match=re.escape(f"the weights are {weights}; give 2 positive numbers")):
        make(surrogates, weights=weights)
    assert make(surrogates, weights=(0.25, 4.0)).weights == (0.25, 4.0)


@pytest.mark.parametrize("name", METHODS)
def test_it_is_known_of_every_number_what_it_may_be(name):
    """Their names are in `settings`, or the class itself says it, as of an epsilon; `slowest` may be anything."""
    kinds = {key: str(one.annotation) for key, one in inspect.signature(METHODS[name]).parameters.items()}
    numbers = {key for key, kind in kinds.items() if "int" in kind or "float" in kind}
    assert {"batch", "seed"} <= numbers
    assert numbers <= {*WHOLE, *POSITIVE, *FROM_0, "epsilon", "quality", "slowest", "weights"}


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
