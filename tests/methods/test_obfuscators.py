"""The obfuscators do on people they never saw what their papers say, in kind: a few people, real recognizers.

Hidden is the share of pairs of a cloaked and another, clear photo of one person that no longer match at FAR 1e-3, of
those that did.
"""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from faceveil import recognizers
from faceveil.faces import templates
from faceveil.faces.align import align
from faceveil.faces.detect import Detector
from faceveil.methods import AdvFaces, Fawkes, Latent, LowKey, Opom
from faceveil.methods.scene import Scene
from faceveil.objectives.dissimilarity import Dissimilarity

pytestmark = pytest.mark.zoo

SURROGATE, HELD_OUT = "mobilefacenet-foamliu", "mobilefacenet-espdl"


@pytest.fixture(scope="module")
def nets(shared):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEVEIL_MIRROR", str(shared / "zoo" / "files"))
        return {name: recognizers.load(name) for name in (SURROGATE, HELD_OUT, "dlib")}


@pytest.fixture(scope="module")
def images(shared):
    """Five photos of each of three people [15, 3, 112, 112]; the generators learned from others (pins)."""
    detector, template, found = Detector(), templates.template("arcface", (112, 112)), []
    for name in ("Angie_Harmon", "Bill_Hader", "Michael_Vartan"):
        faces = []
        for path in sorted((shared / "data/facescrub" / name).iterdir())[:8]:
            pixels = np.array(Image.open(path).convert("RGB"))
            photo = torch.from_numpy(pixels).permute(2, 0, 1) / 255
            faces += [align(photo, face.points, template, (112, 112)) for face in detector([pixels])[0][:1]]
        found += faces[:5]
    return (255 * torch.cat(found)).round() / 255


def embed(net, images):
    """What a recognizer sees in faces that are aligned as for ArcFace."""
    return Scene.cut(images, "arcface", [net]).embed()[0]


@dataclass(frozen=True)
class Crowd:
    """Clear photos, five of each person, and the share of them that a recognizer matches to cloaked ones."""

    clear: Tensor

    def hidden(self, net, cloaked: Tensor, photos: Tensor) -> float:
        clear, threshold = embed(net, self.clear), net.card.thresholds["far_1e-3"]
        same = (photos[:, None] // 5 == torch.arange(len(clear)) // 5) & (photos[:, None] != torch.arange(len(clear)))
        before = same & (torch.cdist(clear[photos], clear) < threshold)
        after = torch.cdist(embed(net, (255 * cloaked).round() / 255), clear) < threshold
        return float((before & ~after).sum() / before.sum())


@pytest.fixture(scope="module")
def crowd(images):
    return Crowd(images)


def noisy(images, levels=8):
    noise = 2 * torch.rand(images.shape, generator=torch.Generator().manual_seed(0)) - 1
    return (images + levels / 255 * noise.sign()).clamp(0, 1)


def test_noise_hides_nobody(nets, images, crowd):
    assert crowd.hidden(nets[SURROGATE], noisy(images, 12), torch.arange(15)) < 0.1


def test_fawkes_leads_to_nobody_real_inside_its_dissimilarity(nets, images, crowd):
    net, photos = nets[SURROGATE], torch.tensor([0, 1, 5, 6])
    clear = images[photos]
    cloaked = Fawkes((net.surrogate(),), mode="mid", steps=40).aligned(clear)
    assert crowd.hidden(net, cloaked, photos) > 0.5
    assert (Dissimilarity(clear)(cloaked) <= 0.012 + 1e-5).all()


def test_lowkey_fools_a_recognizer_that_it_never_saw(nets, images, crowd):
    photos = torch.tensor([0, 1, 5, 6])
    cloaked = LowKey((nets[SURROGATE].surrogate(),), steps=20).aligned(images[photos])
    assert crowd.hidden(nets[HELD_OUT], cloaked, photos) > 0.5
    assert 255 * (cloaked - images[photos]).abs().max() <= 12.76


def test_one_cloak_of_opoms_hides_photos_of_the_person_that_it_was_not_made_from(nets, images, crowd):
    net = nets[SURROGATE]
    hidden = []
    for person in range(2):
        known, others = torch.arange(3) + 5 * person, torch.arange(3, 5) + 5 * person
        method = Opom((net.surrogate(),))
        method = method.enroll(Scene.aligned(images[known], method.surrogates))
        hidden.append(crowd.hidden(net, method.aligned(images[others]), others))
    assert np.mean(hidden) > 0.5


@pytest.mark.parametrize(
    ("method", "judge", "least", "worst"), [(AdvFaces, HELD_OUT, 0.5, 0.1), (Latent, "dlib", 0.4, 0.05)]
)
def test_trained_generators_hide_people_whom_they_never_saw(method, judge, least, worst, nets, images, crowd):
    """AdvFaces from a recognizer that it never saw, too; latent-space de-identification only from those that it did."""
    cloaked = method((nets[SURROGATE],)).aligned(images)
    assert crowd.hidden(nets[judge], cloaked, torch.arange(15)) > least
    assert Dissimilarity(images)(cloaked).mean() < worst
