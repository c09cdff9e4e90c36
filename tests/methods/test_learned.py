"""AdvFaces and latent-space de-identification, learned on toys."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from attacks.toys import pictures, recognizer
from faceveil import trained
from faceveil.errors import SettingError, WeightsError
from faceveil.faces.region import GRID, Region
from faceveil.methods import AdvFaces, Latent, advfaces, latent
from faceveil.methods.learned import likeness
from faceveil.objectives.dissimilarity import Dissimilarity
from faceveil.recognizers import Recognizer
from faceveil.training import Engine, Examples, Workshop


@dataclass(frozen=True)
class Fabric:
    """An engine of one device."""

    device: torch.device

    def backward(self, loss):
        loss.backward()


KINDS = {"advfaces": (advfaces.Generator, AdvFaces), "latent": (latent.Autoencoder, Latent)}


@pytest.fixture(scope="module")
def net():
    return recognizer(size=(48, 48), template="arcface")


@pytest.fixture(scope="module")
def faces():
    """Smooth pictures, as faces are."""
    return torch.nn.functional.interpolate(pictures(12, size=12), 48, mode="bilinear")


def test_likeness_is_the_cosine_or_as_near_as_strangers_are_far(net, faces):
    others = faces.roll(1, 0)
    cosines = torch.nn.functional.cosine_similarity(net(faces), net(others))
    assert torch.allclose(likeness(faces, others, [net], "arcface"), cosines, atol=1e-5)
    plain = recognizer(normalized=False, size=(48, 48), template="arcface")
    away = (plain(faces) - plain(others)).norm(dim=1) / 0.75  # one and a half of the toy's thresholds
    assert torch.allclose(likeness(faces, others, [plain], "arcface"), 1 - away**2, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_a_module_starts_with_changes_of_a_few_levels(name, faces):
    torch.manual_seed(0)
    with torch.no_grad():
        added = KINDS[name][0](8)(faces)
    assert added.shape == faces.shape
    assert 0.3 < float(255 * added.square().mean().sqrt()) < 40


@pytest.mark.parametrize("name", KINDS)
def test_each_face_is_treated_as_if_alone(name, faces):
    module = KINDS[name][0](4).eval()
    with torch.no_grad():
        assert torch.allclose(module(faces)[3:4], module(faces[3:4]), atol=1e-5)


def test_both_gan_losses():
    scores = torch.tensor([0.0, 2.0])
    assert float(advfaces.least_squares(scores, True)) == pytest.approx(1)
    assert float(advfaces.least_squares(scores, False)) == pytest.approx(2)
    clear, cloaked = (float(advfaces.non_saturating(scores, flag)) for flag in (True, False))
    assert clear == pytest.approx((math.log(2) + math.log(1 + math.exp(-2))) / 2)
    assert cloaked == pytest.approx((math.log(2) + math.log(1 + math.exp(2))) / 2)


@pytest.mark.parametrize("gan", advfaces.GANS)
def test_advfaces_learns_to_hide(gan, net, faces, tmp_path):
    """Where likeness counts much; with the paper's weights a few steps lead nowhere."""
    learning = advfaces.Learning(2, 1, gan, identity=100.0, norm=8.0, rate=2e-3, epochs=8, batch=6)
    generator, history = advfaces.learn(Examples(12, faces.__getitem__), [net], tmp_path, learning)
    with torch.no_grad():
        after = float(likeness(faces, (faces + generator.eval()(faces)).clamp(0, 1), [net], "arcface").mean())
    assert after < 0.9 * history[0]["cosine"]


def test_latent_learns_to_hide_and_keeps_to_its_dissimilarity(net, faces, tmp_path):
    learning = latent.Learning(width=2, dssim=0.05, rate=5e-3, epochs=12, batch=6)
    module, history = latent.learn(Examples(12, faces.__getitem__), [net], tmp_path, learning)
    with torch.no_grad():
        cloaked = (faces + module.eval()(faces)).clamp(0, 1)
    assert float(likeness(faces, cloaked, [net], "arcface").mean()) < 0.9 * history[0]["cosine"]
    assert Dissimilarity(faces, scales=3)(cloaked).mean() < 0.1


@pytest.mark.parametrize("module", [advfaces, latent])
def test_other_faces_or_recognizers_need_another_folder(module, net, faces, tmp_path):
    learning = module.Learning(width=2, epochs=1, batch=6)

    def learn(told, surrogate):
        module.learn(Examples(12, faces.__getitem__, told), [surrogate], tmp_path, learning, Engine("cpu"))

    learn("these", net)
    with pytest.raises(SettingError, match="data 'these', not 'others'"):
        learn("others", net)
    other = Recognizer(net.card, recognizer(1, size=(48, 48)).network)
    with pytest.raises(SettingError, match=r"servers \['toy-0 \w+'\], not \['toy-0 \w+'\]"):
        learn("these", other)


@pytest.mark.parametrize("module", [advfaces, latent])
def test_recognizers_are_taken_to_the_device_that_learns(module, faces, tmp_path, monkeypatch):
    """The device without data stands for a second GPU."""

    def train(learners, step, examples, folder, **settings):
        modules = {name: learner.module.to("meta") for name, learner in learners.items()}
        optimizers = {name: torch.optim.SGD(each.parameters()) for name, each in modules.items()}
        shop = Workshop(Fabric(torch.device("meta")), modules, optimizers, 1, torch.Generator())
        losses = step(shop, examples.read(slice(4)))
        assert {loss.device.type for loss in losses.values()} == {"meta"}
        assert net.device.type == "meta"
        raise InterruptedError

    net = recognizer(size=(48, 48), template="arcface")
    monkeypatch.setattr(module, "train", train)
    with pytest.raises(InterruptedError):
        module.learn(Examples(12, faces.__getitem__), [net], tmp_path, module.Learning(width=2))


@pytest.mark.parametrize("name", KINDS)
def test_a_module_of_ones_own_cloaks_faces_in_photos(name, net, tmp_path):
    kind, method = KINDS[name]
    path = tmp_path / "mine.safetensors"
    torch.manual_seed(0)
    trained.write(trained.Trained(kind(2).state_dict(), {"width": 2}, {"servers": ["toy-9"]}), path)
    pixels = np.random.default_rng(0).integers(0, 256, (240, 220, 3), dtype=np.uint8)
    landmarks = torch.tensor([[[80.0, 90.0], [140.0, 92.0], [110.0, 130.0], [85.0, 165.0], [135.0, 165.0]]])
    region = Region.around(landmarks, pixels)
    free, limited = (method((net,), str(path), epsilon)([region]) - region.images for epsilon in (255.0, 1.0))
    assert free.shape == (1, 3, GRID, GRID)
    assert method((net,), str(path)).attacked == ("toy-9",)
    assert 255 * free.abs().max() > 1.5
    assert 255 * limited.abs().max() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("module", [advfaces, latent])
@pytest.mark.parametrize(("setting", "value"), [("rate", -1.0), ("width", 0), ("epochs", 0), ("batch", 0)])
def test_learning_that_makes_no_sense_is_refused(module, setting, value):
    with pytest.raises(SettingError, match=f"{setting} is {value:g}; choose more than 0"):
        module.Learning(**{setting: value})


@pytest.mark.parametrize(
    ("module", "setting", "value", "message"),
    [
        (advfaces, "identity", -5.0, "-5; choose 0 or more"),
        (advfaces, "size", -2.0, "-2; choose 0 or more"),
        (advfaces, "norm", math.nan, "nan; choose 0 or more"),
        (advfaces, "norm", math.inf, "too far from 0; choose 0 or more"),
        (advfaces, "warmup", -1, "-1; choose 0 or more"),
        (advfaces, "blocks", -1, "-1; choose 0 or more"),
        (advfaces, "seed", -1, "-1; choose 0 or more"),
        (latent, "dssim", -1.0, "-1; choose more than 0"),
        (latent, "dssim", 0.0, "0; choose more than 0"),
        (latent, "price", -math.inf, "too far from 0; choose 0 or more"),
        (latent, "seed", 2**63, "too far from 0; choose 0 or more"),
    ],
)
def test_learning_takes_no_number_beyond_what_makes_sense(module, setting, value, message):
    with pytest.raises(SettingError, match=f"^{setting} is {message}"):
        module.Learning(**{setting: value})


@pytest.mark.parametrize("module", [advfaces, latent])
def test_learning_takes_the_ends_of_what_makes_sense(module):
    none = {"price": 0} if module is latent else {"blocks": 0, "identity": 0, "size": 0, "norm": 0, "warmup": 0}
    learning = module.Learning(**none, seed=2**63 - 1)
    assert {setting: getattr(learning, setting) for setting in none} == none


def test_says_what_is_wrong(net):
    with pytest.raises(SettingError, match="gan is 'wasserstein'; it is one of least-squares"):
        advfaces.Learning(gan="wasserstein")
    with pytest.raises(WeightsError, match=r"nowhere.safetensors is neither"):
        AdvFaces((net,), "nowhere.safetensors")
