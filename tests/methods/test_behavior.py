"""Each method does on real recognizers what its paper says, in kind: on a few people, with few steps."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from faceveil import metrics, recognizers
from faceveil.faces import templates
from faceveil.faces.align import align
from faceveil.faces.detect import Detector
from faceveil.methods import Cilloni, Deidentification
from faceveil.methods.identities import virtual
from faceveil.methods.scene import Scene
from faceveil.methods.tip_im import VARIANTS, TipIm
from faceveil.objectives.cross_entropy import Centroids
from faceveil.proof import landmarks_of

pytestmark = pytest.mark.zoo

SURROGATE, HELD_OUT = "mobilefacenet-y1", ("mobilefacenet-foamliu", "mobilefacenet-espdl")


@dataclass(frozen=True)
class People:
    """Aligned 112 x 112 faces [n, 3, 112, 112], 8-bit, and whose they are; `first` marks each person's first photo."""

    images: Tensor
    labels: Tensor

    @property
    def first(self) -> Tensor:
        return torch.tensor([i == 0 or bool(self.labels[i] != self.labels[i - 1]) for i in range(len(self.labels))])


@pytest.fixture(scope="module")
def nets(shared):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEVEIL_MIRROR", str(shared / "zoo" / "files"))
        return {name: recognizers.load(name) for name in (SURROGATE, *HELD_OUT)}


@pytest.fixture(scope="module")
def load(shared):
    detector, template = Detector(), templates.template("arcface", 112, 112)

    def read(dataset: str, people: int, each: int) -> People:
        folders = [path for path in sorted((shared / "data" / dataset).iterdir()) if len(list(path.iterdir())) >= each]
        images, labels = [], []
        for label, folder in enumerate(folders[:people]):
            for path in sorted(folder.iterdir())[:each]:
                pixels = np.array(Image.open(path).convert("RGB"))
                for face in detector([pixels])[0][:1]:
                    photo = torch.from_numpy(pixels).permute(2, 0, 1) / 255
                    images.append(align(photo, landmarks_of(face), template, (112, 112)))
                    labels.append(label)
        return People((255 * torch.cat(images)).round() / 255, torch.tensor(labels))

    return read


@torch.no_grad()
def embed(net, images):
    return torch.cat([net(batch) for batch in images.split(32)])


def stored(images):
    return (255 * images).round() / 255


def dssim(images, others):
    pairs = zip(images, others, strict=True)
    levels = ([(255 * image).round().byte().permute(1, 2, 0).numpy() for image in pair] for pair in pairs)
    return [(1 - metrics.ssim(*pair)) / 2 for pair in levels]


def test_cilloni_without_a_target_hides_people_at_little_change(nets, load):
    """Section IV-F: true positives fall by 90 %, DSSIM stays under 0.0332. Here cloaked photos meet clear ones."""
    net, people = nets[SURROGATE], load("facescrub", 4, 3)
    cloaked = stored(Cilloni((net.surrogate(),)).aligned(people.images))
    clear = embed(net, people.images)
    genuine = (people.labels[:, None] == people.labels) & ~torch.eye(len(clear), dtype=torch.bool)
    before, after = (torch.cdist(clear, other)[genuine] < net.threshold for other in (clear, embed(net, cloaked)))
    assert after.float().mean() < 0.2 * before.float().mean()
    assert np.mean(dssim(cloaked, people.images)) < 0.035


def test_bim_transfers_better_than_illc(nets, load):
    """Table 1, in every black-box column."""
    people = load("lfw/photos", 40, 3)
    enrolled, probes = ~people.first, people.first.nonzero()[:12, 0]
    heads = {
        name: Centroids.enroll(embed(net, people.images[enrolled]), people.labels[enrolled])
        for name, net in nets.items()
    }
    images, classes = people.images[probes], people.labels[probes]
    hidden = {}
    for attack in ("bim", "illc"):
        method = Deidentification((nets[SURROGATE],), attack, 8, (heads[SURROGATE],))
        cloaked = stored(method.aligned(images, classes))
        hidden[attack] = [float((heads[name](embed(nets[name], cloaked)).argmax(1) != classes).sum()) for name in heads]
    assert hidden["bim"][0] == 12
    assert all(bim > illc + 2 for bim, illc in zip(hidden["bim"][1:], hidden["illc"][1:], strict=True))


def test_tip_im_reaches_targets_at_least_as_often_as_mt_dim_and_both_more_often_than_mim(nets, load):
    """Table 3, in kind: Rank-1-T on recognizers that were not attacked, with other photos of everybody in the gallery.

    The first two are close here, since MT-DIM takes the nearest target at each step. (The paper's own misses targets on
    the surrogate, too, as one does that takes a random target at each step.)
    """
    people, targets = load("lfw/photos", 8, 3), load("pins", 4, 3)
    gallery = torch.cat([people.images[~people.first], targets.images[~targets.first]])
    wanted = torch.arange(len(gallery)) >= int((~people.first).sum())
    surrogate = nets[SURROGATE].surrogate()
    known = (embed(surrogate, targets.images[targets.first]),)
    reached = {}
    for name in ("tip-im", "mt-dim", "mim"):
        method = TipIm((surrogate,), known, **({"steps": 15} | VARIANTS.get(name, {})))
        cloaked = stored(method.aligned(people.images[people.first]))
        nearest = [torch.cdist(embed(nets[n], cloaked), embed(nets[n], gallery)).argmin(1) for n in HELD_OUT]
        reached[name] = int(wanted[torch.cat(nearest)].sum())
    assert reached["tip-im"] >= reached["mt-dim"] > reached["mim"], reached


def test_virtual_identities_are_nearer_to_people_no_more_often_than_strangers(nets, load):
    """One in a thousand pairs of strangers passes the threshold."""
    people = load("lfw/photos", 40, 2)
    scene = Scene.aligned(people.images, (nets[SURROGATE],))
    clear = scene.embed()[0]
    identities = virtual(nets[SURROGATE], clear, 10, scene.seeds(0)).flatten(0, 1)
    assert (torch.cdist(identities, clear) < nets[SURROGATE].threshold).float().mean() < 1e-3
