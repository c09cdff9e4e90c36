"""How the package is used from Python: what it is given, where it is called, and what it says of mistakes."""

import io
import json
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import Generator

import faceveil
from attacks.toys import Linear, pictures, recognizer
from faceveil import recognizers
from faceveil.attacks.budget import Linf
from faceveil.attacks.cw import CarliniWagner
from faceveil.attacks.gradient import bim, fgsm, mim, tim
from faceveil.device import choose
from faceveil.errors import SettingError
from faceveil.faces.detect import Detector
from faceveil.methods.veil import Veil
from faceveil.objectives.feature import Dodging, Impersonation
from faceveil.protocols.clustering import Agreement, bcubed
from faceveil.protocols.rank import nearest, ranks
from faceveil.protocols.verification import threshold_below

OFF = [torch.no_grad, torch.inference_mode]
NOBODY = np.zeros(0, np.int64)

# Called where no types are checked, as a user calls them, with what these lines make.
SETUP = """
import io, json, sys, tempfile
import numpy as np
import torch
from faceveil import Choice, Photo, metrics
from faceveil.device import choose
from PIL import Image

pixels = np.zeros((3, 4, 3), np.uint8)
image = Image.fromarray(pixels)
stream = io.BytesIO()
image.save(stream, "PNG")
png = stream.getvalue()
told = {}
for call in json.loads(sys.argv[1]):
    try:
        told[call] = ["", str(eval(call))]
    except Exception as error:
        told[call] = [type(error).__name__, str(error)]
print(json.dumps(told))
"""
REFUSED = {
    "Photo.open(5)": "int is no photo; give a path, bytes or a binary stream",
    "Photo.open(None)": "NoneType is no photo; give a path, bytes or a binary stream",
    "Photo.open(io.StringIO('x'))": "StringIO is no photo; give a path, bytes or a binary stream",
    "Photo.open(png, 'many')": "max_pixels is 'many'; it is a number of pixels, 1 or more",
    "Photo.open(png, None)": "max_pixels is None; it is a number of pixels, 1 or more",
    "Photo.open(png, float('nan'))": "max_pixels is nan; it is a number of pixels, 1 or more",
    "Photo.from_array([[1], [2, 3]])": "list is no photo (setting an array element with a sequence.",
    "Photo.from_array(None)": "an array of object [] is no photo; give uint8 [height, width, 3] or [height, width]",
    "Photo.from_array(image.convert('P'))": "an image in mode P is no photo; give image.convert('RGB')",
    "Photo.from_array(image.convert('HSV'))": "an image in mode HSV is no photo; give image.convert('RGB')",
    "Choice(3)": "faces is 3; it is all, largest, or numbers (0 is the largest face)",
    "Choice([0.5])": "faces is [0.5]; it is all, largest, or numbers (0 is the largest face)",
    "Choice([True])": "faces is [True]; it is all, largest, or numbers (0 is the largest face)",
    "Choice(np.array([0]))": "faces is array([0]); it is all, largest, or numbers (0 is the largest face)",
    "choose(None)": "there is no device 'None' here; there is ",
    "metrics.psnr(pixels, pixels / 255)": "the pictures are uint8 [3, 4, 3] and float64 [3, 4, 3]; give two",
    "metrics.largest_change(-pixels.astype(int), pixels)": "the pictures are int64 [3, 4, 3] and uint8 [3, 4, 3]; give",
    "metrics.ssim(pixels, pixels[..., 0])": "the pictures are uint8 [3, 4, 3] and uint8 [3, 4]; give two of one size",
}
GIVEN = {
    "Choice([np.int64(1), 0]).faces[1]": "0",
    "Photo.open(png, np.int64(12)).size": "(4, 3)",
    "Photo.open(memoryview(png), 1e6).size": "(4, 3)",
    "Photo.from_array(image).size": "(4, 3)",
    "Photo.from_array(image.convert('L')).gray": "True",
    "Photo.from_array(np.memmap(tempfile.TemporaryFile(), np.uint8, shape=(3, 4, 3))).size": "(4, 3)",
    "Photo.from_array(torch.zeros(3, 4, dtype=torch.uint8)).size": "(4, 3)",
}


@pytest.fixture(scope="module")
def told():
    calls = json.dumps([*REFUSED, *GIVEN])
    done = subprocess.run([sys.executable, "-c", SETUP, calls], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("call", REFUSED)
def test_a_mistake_is_a_setting_error_of_one_line(told, call):
    kind, text = told[call]
    assert kind == "SettingError"
    assert text.startswith(REFUSED[call])
    assert "\n" not in text


@pytest.mark.parametrize("call", GIVEN)
def test_what_is_near_enough_is_taken(told, call):
    assert told[call] == ["", GIVEN[call]]


def test_the_package_names_its_errors_without_pytorch():
    program = (
        "import faceveil, sys; print(faceveil.NoFaceError, faceveil.PhotoError, faceveil.WeightsError);"
        "print('torch' in sys.modules, set(faceveil.__all__) <= set(dir(faceveil)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1] == "False True"
    assert faceveil.FaceveilError in faceveil.SettingError.__mro__


@pytest.mark.parametrize("off", OFF)
@pytest.mark.parametrize("attack", [fgsm(Linf(8)), bim(Linf(8)), mim(Linf(8))])
def test_an_attack_works_where_gradients_are_turned_off(attack, off):
    weights = torch.randn(2, 3, 12, 12, generator=Generator().manual_seed(0))
    with off():
        images = pictures(2)
        cloaked = attack(images, Linear(weights))
        again = attack(images, Linear(weights), start=images)
    expected = (images - 8 / 255 * weights.sign()).clamp(0, 1)
    assert torch.allclose(cloaked, expected, atol=1e-6)
    assert torch.equal(cloaked, again)


@pytest.mark.parametrize("off", OFF)
def test_carlini_and_wagner_work_where_gradients_are_turned_off(off):
    objective = Linear(torch.ones(1, 3, 4, 4))
    with off():
        images = torch.full((1, 3, 4, 4), 0.5)
        cloaked = CarliniWagner(searches=6, steps=100)(images, objective, 23.5)
    assert torch.allclose(cloaked, images - 0.5 / 48, atol=1e-3)  # the plane's nearest point: 48 numbers share the fall


@pytest.mark.parametrize("off", OFF)
def test_what_is_loaded_where_gradients_are_turned_off_gives_some_later(off):
    with off():
        loaded = recognizers.load()
        guide, detector = loaded.surrogate(), Detector()
    for net in (loaded, guide):
        images = torch.full((1, 3, *net.size), 0.5, requires_grad=True)
        (gradient,) = torch.autograd.grad(net(images).sum(), images)
        assert gradient.abs().sum() > 0
    assert not any(weights.is_inference() for net in (detector.pnet, detector.rnet) for weights in net.parameters())


def test_images_that_want_gradients_are_attacked_like_others():
    net, images = recognizer(), pictures(2)
    objective = Impersonation(net, net(pictures(2, seed=1)))
    wanting = images.clone().requires_grad_()
    attack = tim(Linf(8), 3)
    cloaked = attack(wanting, objective)
    assert not cloaked.requires_grad
    assert torch.equal(cloaked, attack(images, objective))
    least = CarliniWagner(1, 1)
    assert not least(wanting, objective, 9.0).requires_grad


def test_a_source_is_left_by_noise_alone():
    """The distance from a face's own embedding has its minimum there, so that its gradient is 0: docstrings say so."""
    net, images = recognizer(), pictures(2)
    objective = Dodging(net, net(images))
    assert torch.equal(mim(Linf(8))(images, objective), images)
    noise = torch.randn(images.shape, generator=Generator().manual_seed(0)) / 2550
    assert (objective(mim(Linf(8))(images, objective, start=images + noise)) < -0.5).all()


def test_nothing_is_attacked_to_nothing():
    none = pictures(0)
    for attack in (fgsm(Linf(8)), mim(Linf(8)), tim(Linf(8)), CarliniWagner()):
        assert attack(none, Linear(none)).shape == none.shape
    assert len(Veil((recognizer(),))([])) == 0


@pytest.mark.parametrize(
    "make", [partial(mim, steps=0), partial(mim, step_size=0), partial(bim, steps=-3), partial(bim, step_size=-1 / 255)]
)
def test_a_walk_without_steps_is_refused(make):
    with pytest.raises(SettingError, match=r"^-?\d+ steps of \S+ lead nowhere; give 1 or more, each above 0$"):
        make(Linf(8))


def test_an_objective_is_scaled_from_both_sides():
    images = pictures(2)
    objective = Linear(torch.ones(images.shape))
    assert torch.equal((objective * 0.5)(images), images.sum((1, 2, 3)) / 2)
    assert torch.equal((0.5 * objective)(images), (objective * 0.5)(images))


def test_loading_leaves_pytorchs_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3, generator=Generator().manual_seed(5))
    Detector()
    recognizers.load().surrogate()
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("device", ["cpu", "cpu:0", torch.device("cpu"), torch.device("cpu", 0)])
def test_a_device_is_chosen_by_name_or_as_itself(device):
    assert choose(device) == torch.device(device)
    assert recognizers.load("dlib", device).device.type == Detector(device).device.type == "cpu"


@pytest.mark.parametrize(
    "device", ["gpu", "", "cpu:1", "cuda:99", "a\nb", torch.device("meta"), torch.device("cuda", 99)]
)
def test_a_device_that_is_not_here_is_refused_in_a_line(device):
    for use in (choose, partial(recognizers.load, "dlib"), Detector):
        with pytest.raises(SettingError, match=r"^there is no device '.*' here; there is .*cpu$"):
            use(device)


def test_cuda_has_as_many_devices_as_are_counted(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # whatever is counted, it cannot be used
    assert choose().type != "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [choose(name) for name in ("auto", "cuda", "cuda:1")] == list(map(torch.device, ("cuda", "cuda", "cuda:1")))
    with pytest.raises(SettingError, match=r"^there is no device 'cuda:2' here; there is cuda, .*cpu$"):
        choose("cuda:2")


def test_without_probes_nothing_is_near_and_nothing_is_ranked():
    found = nearest(torch.zeros(0, 4), torch.ones(5, 4), 3)
    assert (found.rows.shape, found.distances.shape) == ((0, 3), (0, 3))
    with pytest.raises(SettingError, match="there are no probes; give one or more"):
        ranks(torch.zeros(0, 4), NOBODY, torch.ones(5, 4), np.arange(5), {1})


def test_a_threshold_needs_pairs():
    with pytest.raises(SettingError, match="there are no impostor pairs"):
        threshold_below(np.zeros(0))


def test_clusters_of_nothing_agree_in_nothing():
    assert bcubed(NOBODY, NOBODY) == Agreement(0.0, 0.0)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, io.BytesIO])
def test_a_photo_opens_from_bytes(kind):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    stream = io.BytesIO(faceveil.Photo.from_array(pixels).encode())
    np.testing.assert_array_equal(faceveil.Photo.open(kind(stream.getvalue())).pixels, pixels)


def test_bytes_that_are_no_photo_are_told_of_in_a_line():
    with pytest.raises(faceveil.PhotoError, match=r"^the photo: is empty \(0 bytes\)"):
        faceveil.Photo.open(b"")


@pytest.mark.parametrize("shape", [(6, 5, 3), (6, 5)])
def test_a_photo_keeps_its_pixels_when_the_array_changes(shape):
    array = np.full(shape, 7, np.uint8)
    photo = faceveil.Photo.from_array(array)
    other = photo.with_pixels(pixels := np.full((6, 5, 3), 8, np.uint8))
    array[:], pixels[:] = 200, 200
    assert (photo.pixels == 7).all()
    assert (other.pixels == 8).all()


def test_a_photo_of_a_frozen_array_can_be_given_to_pytorch():
    array = np.zeros((6, 5, 3), np.uint8)
    array.flags.writeable = False
    assert torch.from_numpy(faceveil.Photo.from_array(array).pixels).shape == (6, 5, 3)  # a warning is an error here
