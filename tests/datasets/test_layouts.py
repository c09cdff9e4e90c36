import os
from itertools import groupby, product
from pathlib import Path

import pytest
from synthetic import lay

from faceveil import datasets
from faceveil.datasets import Pair
from faceveil.datasets.base import Sample
from faceveil.errors import SettingError, UnreadablePhotoError


def test_a_folder_per_person_names_the_person(tmp_path):
    dataset = datasets.open(lay(tmp_path, "train/n1/a.jpg", "train/n1/b.PNG", "test/n2/c.jpg", "test/n2/.d.jpg"))
    assert dataset.layout == "folders"
    assert [(sample.name, sample.identity) for sample in dataset] == [
        ("test/n2/c.jpg", "n2"),
        ("train/n1/a.jpg", "n1"),
        ("train/n1/b.PNG", "n1"),
    ]
    assert dataset.identities() == {"n1": 2, "n2": 1}


def test_reads_lazily(tmp_path):
    samples = iter(datasets.open(lay(tmp_path, "a/1.jpg", "b/2.jpg")))
    first = next(samples)
    (tmp_path / "b/2.jpg").unlink()
    assert (first.name, list(samples)) == ("a/1.jpg", [])


@pytest.mark.parametrize(
    ("links", "found"),
    [
        ({"ann/up": ".", "bob/up": "."}, ["ann/1.jpg", "bob/2.jpg"]),
        ({"ann/to": "bob", "bob/to": "ann"}, ["ann/1.jpg", "ann/to/2.jpg", "bob/2.jpg", "bob/to/1.jpg"]),
        ({"cid": "ann"}, ["ann/1.jpg", "bob/2.jpg", "cid/1.jpg"]),
    ],
    ids=["up", "to each other", "aside"],
)
def test_links_that_lead_back_are_not_followed(tmp_path, links, found):
    lay(tmp_path, "ann/1.jpg", "bob/2.jpg")
    for link, there in links.items():
        (tmp_path / link).symlink_to(tmp_path / there)
    assert [sample.name for sample in datasets.open(tmp_path)] == found


@pytest.mark.parametrize("locked", ["", "ann"])
def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch, locked):
    lay(tmp_path, "ann/1.jpg")
    inside = Path.iterdir

    def iterdir(folder):
        if folder == tmp_path / locked:
            raise PermissionError(13, "Permission denied")
        return inside(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    with pytest.raises(SettingError, match=f"{locked} cannot be read .Permission denied.; check its permissions"):
        list(datasets.open(tmp_path))


@pytest.mark.parametrize("names", [["1.jpg", "2.jpg"], ["0/1.jpg", "1/2.jpg"]])
def test_distractors_are_nobody(tmp_path, names):
    dataset = datasets.open(lay(tmp_path, *names), layout=None if "1.jpg" in names else "distractors")
    assert [(sample.name, sample.identity) for sample in dataset] == [(name, None) for name in names]
    assert dataset.identities() == {}


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["", "marked"])
def test_lfw_has_the_folds_of_its_pairs(tmp_path, mark):
    lay(tmp_path, "lfw/A/A_0001.jpg", "lfw/A/A_0002.jpg", "lfw/B/B_0001.jpg")
    (tmp_path / "pairs.txt").write_text(f"{mark}2\t1\nA\t1\t2\nA\t1\tB\t1\nA\t2\t1\nA\t2\tC\t3\n", "utf-8")
    dataset = datasets.open(tmp_path)
    a1, a2, b1 = (sample.name for sample in dataset)
    assert dataset.layout == "lfw"
    assert dataset.pairs() == {
        "LFW": [Pair(a1, a2, True, 1), Pair(a1, b1, False, 1), Pair(a2, a1, True, 2), Pair(a2, "C_0003", False, 2)]
    }


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"1 1\nA 1 2\n",
        b"1 1\nA 1 2\nA 1 B C 2\n",
        b"0 0\nA 1 2\n",
        b"1 1\nA one 2\nA 1 B 2\n",
        b"1 1\nA\xff 1 2\n",
    ],
)
def test_a_damaged_list_of_pairs_is_refused(tmp_path, text):
    (tmp_path / "pairs.txt").write_bytes(text)
    with pytest.raises(SettingError, match=r"pairs\.txt"):
        datasets.open(tmp_path).pairs()


def test_cfp_reads_the_official_protocol(tmp_path):
    numbers = list(product(("001", "002"), ("frontal", "profile"), ("01", "02")))
    lay(tmp_path, *(f"Data/Images/{'/'.join(each)}.jpg" for each in numbers))
    protocol = tmp_path / "Protocol"
    for kind, pose in ("F", "frontal"), ("P", "profile"):
        protocol.mkdir(exist_ok=True)
        listed = [f"../Data/Images/{'/'.join(each)}.jpg" for each in numbers if each[1] == pose]
        (protocol / f"Pair_list_{kind}.txt").write_text("\r\n".join(f"{n} {name}" for n, name in enumerate(listed, 1)))
    for name, fold in product(("FF", "FP"), ("01", "02")):
        folder = protocol / "Split" / name / fold
        folder.mkdir(parents=True)
        (folder / "same.txt").write_text("1,2\n")
        (folder / "diff.txt").write_text("2,3\n")
    dataset = datasets.open(tmp_path)
    front, side = "Data/Images/{}/frontal/{}.jpg".format, "Data/Images/{}/profile/{}.jpg".format
    assert dataset.identities() == {"001": 4, "002": 4}
    assert dataset.pairs()["FF"][:2] == [
        Pair(front("001", "01"), front("001", "02"), True, 1),
        Pair(front("001", "02"), front("002", "01"), False, 1),
    ]
    assert dataset.pairs()["FP"][2:] == [
        Pair(front("001", "01"), side("001", "02"), True, 2),
        Pair(front("001", "02"), side("002", "01"), False, 2),
    ]


def test_a_damaged_cfp_protocol_is_refused(tmp_path):
    (tmp_path / "pairs_FP.txt").write_text("1\t1\t001/frontal_01.jpg\n")
    with pytest.raises(SettingError, match="FP"):
        datasets.open(tmp_path).pairs()


@pytest.mark.parametrize(
    ("where", "layout", "told"),
    [("nowhere", None, "there is no data set"), (".", "lfw", "not laid out as lfw"), (".", "lwf", "pack, cfp, lfw")],
)
def test_says_what_cannot_be_opened(tmp_path, where, layout, told):
    with pytest.raises(SettingError, match=told):
        datasets.open(tmp_path / where, layout)


@pytest.mark.zoo
def test_lfw_at_hand_is_whole(shared):
    dataset = datasets.open(shared / "data/lfw")
    pairs = dataset.pairs()["LFW"]
    samples = {sample.name: sample.identity for sample in dataset}
    assert (len(samples), len(dataset.identities())) == (3074, 1664)
    assert [(*key, len(list(group))) for key, group in groupby(pairs, lambda pair: (pair.fold, pair.same))] == [
        (fold, same, 300) for fold in range(1, 5) for same in (True, False)
    ]
    assert all((samples[pair.first] == samples[pair.second]) == pair.same for pair in pairs)


@pytest.mark.zoo
def test_cfp_at_hand_is_whole(shared):
    dataset = datasets.open(shared / "data/cfp")
    pairs = dataset.pairs()
    samples = {sample.name: sample.identity for sample in dataset}
    assert (len(samples), len(dataset.identities())) == (840, 60)
    assert {name: len(each) for name, each in pairs.items()} == {"FF": 783, "FP": 778}
    assert all((samples[pair.first] == samples[pair.second]) == pair.same for each in pairs.values() for pair in each)
    assert all("frontal" in pair.first and "profile" in pair.second for pair in pairs["FP"])


def test_a_photo_of_a_data_set_is_a_file(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(UnreadablePhotoError, match="is not a file"):
        Sample("a.jpg", "a", tmp_path / "a.jpg").read()
