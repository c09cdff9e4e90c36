from dataclasses import replace

import numpy as np
import pytest
import torch

from attacks.toys import recognizer
from bench.miniature import album
from faceveil import Photo, datasets
from faceveil.bench import Plan, run, write
from faceveil.bench.ghafourian import GHAFOURIAN
from faceveil.bench.material import Crowd
from faceveil.objectives.cross_entropy import Softmax
from people import portrait

PRINTED = GHAFOURIAN.printed


def cells(photos, folder, *settings, size=12):
    nets = (recognizer(size=(size, size)), recognizer(1, (20, 16)))
    experiment = replace(GHAFOURIAN, full=Plan(Crowd(2, 2), settings))
    return nets, run(experiment, {"a": photos}, [nets[:1]], folder, judges=nets)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Three people, who differ by a tint, two photos of each: the second is mirrored."""
    folder = tmp_path_factory.mktemp("people")
    for who, tint in enumerate(((1, 1, 1), (1, 0.4, 0.4), (0.4, 0.4, 1))):
        face = (portrait()[20:260, 60:300] * np.array(tint)).astype(np.uint8)
        for name, pixels in (("1", face), ("2", face[:, ::-1])):
            Photo.from_array(np.ascontiguousarray(pixels)).save(folder / f"person {who}" / f"{name}.png")
    return datasets.open(folder)


def missed(people, net):
    """The share of people whose first photo, the probe here, lies nearer to somebody else's second than to theirs."""
    embeddings = net(datasets.prepare(people, *net.wanted)[:])
    return float((torch.cdist(embeddings[0::2], embeddings[1::2]).argmin(1) != torch.arange(3)).double().mean())


def test_the_table_is_the_papers():
    assert PRINTED["FaceNet bim 32", "ResNet-50 50"] == "89"
    assert PRINTED["SENet-50 illc 32", "FaceNet 25"] == "2"  # as it is printed, between 36 and 18
    assert PRINTED["ResNet-50 illc 4", "SENet-50 1"] == "9"
    assert PRINTED["* illc 4", "own 1"] == "39 to 68"
    assert PRINTED["* bim 8", "own 1"] == "100"
    assert PRINTED["* bim 8", "others 50"] == "4 to 26"


def test_faces_are_found_again_and_cloaks_protect(people, tmp_path):
    settings = ({"method": "clear", "probes": 3}, {"method": "bim", "epsilon": 32, "probes": 3})
    nets, done = cells(people, tmp_path, *settings)
    clear, bim = (cell.found for cell in done.cells)
    assert (clear["probes"], clear["people"], clear["found"], bim["found"]) == (3, 3, 1, 1)
    own, other = (net.name for net in nets)
    # three people are all among the best five
    assert clear["rates"][own] == dict.fromkeys(("1", "5", "10", "25", "50"), 0)
    assert (bim["rates"][own]["1"], bim["rates"][own]["5"]) == (1, 0)
    assert clear["rates"][own]["1"] == missed(people, nets[0]) == 0
    assert clear["rates"][other]["1"] == pytest.approx(missed(people, nets[1])) == pytest.approx(1 / 3)
    assert bim["quality"]["SSIM"]["most"] < clear["quality"]["SSIM"]["least"]
    write(done, tmp_path)
    rows = (tmp_path / "table.csv").read_text("utf-8").splitlines()
    assert rows[3].startswith("a,toy-0,bim,32,toy-0,100 (100),,,,,")  # among three people all are in the first five
    assert rows[4].startswith("a,toy-0,bim,32,toy-1,")
    assert "(81 to 99)" in rows[4]


def test_the_classifier_never_saw_the_cloaked_photos(people, tmp_path, monkeypatch):
    taught, train = [], Softmax.train

    def watch(embeddings, classes):
        taught.append(sorted(classes.tolist()))
        return train(embeddings, classes)

    monkeypatch.setattr(Softmax, "train", watch)
    cells(people, tmp_path, {"method": "illc", "epsilon": 4, "probes": 3})
    assert taught == [[0, 1, 2], [0, 1, 2]]


def test_who_is_not_seen_is_protected(tmp_path):
    """No face is found in noise that is given as aligned."""
    _, done = cells(album(tmp_path / "album"), tmp_path / "out", {"method": "clear", "probes": 2})
    (cell,) = done.cells
    assert (cell.found["found"], cell.found["rates"]["toy-0"]["50"]) == (0, 1)
