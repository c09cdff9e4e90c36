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
from faceveil.recognizers import card

pytestmark = pytest.mark.zoo

SURROGATE, HELD_OUT = "mobilefacenet-y1", ("mobilefacenet-foamliu", "mobilefacenet-espdl")


@dataclass(frozen=True)
class People:
    """Aligned faces [n, 3, h, w], 8-bit, and whose they are; `first` marks each person's first photo."""

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
    detector = Detector()

    def read(dataset: str, people: int, each: int, name: str = SURROGATE) -> People:
        given = card.read(name).input
        template, size = templates.template(given.template, (given.height, given.width)), (given.height, given.width)
        folders = [path for path in sorted((shared / "data" / dataset).iterdir()) if len(list(path.iterdir())) >= each]
        images, labels = [], []
        for label, folder in enumerate(folders[:people]):
            for path in sorted(folder.iterdir())[:each]:
                pixels = np.array(Image.open(path).convert("RGB"))
                for face in detector([pixels])[0][:1]:
                    photo = torch.from_numpy(pixels).permute(2, 0, 1) / 255
                    images.append(align(photo, face.points, template, size))
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


@pytest.mark.parametrize("name", ["dlib", SURROGATE])
def test_cilloni_without_a_target_hides_people_at_little_change(name, nets, load):
    """Section IV-F: true positives fall by 90 %, DSSIM is 0.0099 on average and 0.0332 at most.

    Here it is 0.023 and 0.032 (of 50 photos cloaked against dlib 49 stay under 0.035; the largest is 0.038). Where
    embeddings have unit length, cloaked photos of one person meet again on the far side of the sphere: for others than
    dlib only pairs of a cloaked and a clear photo are told apart. (Both cloaked: 11 of 12 still match.)
    """
    net, people = nets.get(name) or recognizers.load(name), load("facescrub", 4, 3, name)
    cloaked = stored(Cilloni((net,)).aligned(people.images))
    clear, moved = embed(net, people.images), embed(net, cloaked)
    genuine = (people.labels[:, None] == people.labels) & ~torch.eye(len(clear), dtype=torch.bool)
    pairs = {"clear": (clear, clear), "one cloaked": (clear, moved), "both cloaked": (moved, moved)}
    rate = {kind: float((torch.cdist(*pair)[genuine] < net.threshold).float().mean()) for kind, pair in pairs.items()}
    assert rate["clear"] > 0.9
    assert rate["one cloaked"] < 0.2 * rate["clear"]
    assert net.card.embedding.normalized or rate["both cloaked"] < 0.2 * rate["clear"]
    assert max(dssim(cloaked, people.images)) < 0.035


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


def test_tip_im_and_mt_dim_reach_targets_more_often_than_mim(nets, load):
    """Table 3, in kind: Rank-1-T on recognizers that were not attacked, with other photos of everybody in the gallery.

    TIP-IM is three points ahead of MT-DIM (tip-im-black-box in docs/results.md: with each of six recognizers), which 16
    cases cannot tell; it is far ahead of targets that are drawn by lot.
    """
    people, targets = load("lfw/photos", 8, 3), load("pins", 4, 3)
    gallery = torch.cat([people.images[~people.first], targets.images[~targets.first]])
    wanted = torch.arange(len(gallery)) >= int((~people.first).sum())
    surrogate = nets[SURROGATE].surrogate()
    known = (embed(surrogate, targets.images[targets.first]),)
    reached = {}
    ways = {"tip-im": {}, "mt-dim": VARIANTS["mt-dim"], "mim": VARIANTS["mim"], "drawn": {"search": "drawn"}}
    for name, settings in ways.items():
        method = TipIm((surrogate,), known, steps=15, **settings)
        cloaked = stored(method.aligned(people.images[people.first]))
        nearest = [torch.cdist(embed(nets[n], cloaked), embed(nets[n], gallery)).argmin(1) for n in HELD_OUT]
        reached[name] = int(wanted[torch.cat(nearest)].sum())
    assert reached["mim"] < reached["mt-dim"] <= reached["tip-im"], reached
    assert reached["drawn"] < reached["tip-im"], reached


def test_virtual_identities_are_nearer_to_people_no_more_often_than_strangers(nets, load):
    """One in a thousand pairs of strangers passes the threshold."""
    people = load("lfw/photos", 40, 2)
    scene = Scene.aligned(people.images, (nets[SURROGATE],))
    clear = scene.embed()[0]
    identities = virtual(nets[SURROGATE], clear, 10, scene.seeds(0)).flatten(0, 1)
    assert (torch.cdist(identities, clear) < nets[SURROGATE].threshold).float().mean() < 1e-3
