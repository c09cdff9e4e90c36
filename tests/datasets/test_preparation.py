import io
import pickle
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from synthetic import LANDMARKS, Finder, lay, png

from faceveil import datasets
from faceveil.datasets import Pair, preparation
from faceveil.datasets.preparation import subject
from faceveil.datasets.store import Rows
from faceveil.errors import SettingError
from faceveil.faces.align import align
from faceveil.faces.detect import Face
from faceveil.faces.templates import template

NAMES = [f"{person}/{number}.png" for person in "abc" for number in range(3)]


def prepared(dataset, finder, template="dlib", size=(16, 16), **settings):
    return datasets.prepare(dataset, template, size, detector=finder, **settings)


@pytest.fixture
def dataset(tmp_path):
    return datasets.open(lay(tmp_path / "photos", *NAMES))


def test_gives_each_photos_face_in_order(dataset):
    faces = prepared(dataset, Finder())
    assert (faces.names, faces.identities, faces.missing) == (tuple(NAMES), ("a", "b", "c"), {})
    assert faces.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for level, image in enumerate(faces[:], 1):
        photo = torch.full((3, 20, 24), level / 255)
        expected = align(photo, torch.tensor([LANDMARKS]), template("dlib", (16, 16)), (16, 16))[0]
        assert (image - expected).abs().max() <= 0.5 / 255 + 1e-6


def test_batches_are_the_faces(dataset):
    faces = prepared(dataset, Finder(), "arcface", (14, 12))
    batches = list(faces.batches(4))
    assert [list(batch.shape) for batch in batches] == [[4, 3, 14, 12], [4, 3, 14, 12], [1, 3, 14, 12]]
    assert torch.equal(torch.cat(batches), faces[np.arange(9)])


def test_a_photo_without_a_face_or_broken_is_listed(dataset):
    (dataset.path / "a/1.png").write_bytes(png(0))
    (dataset.path / "b/1.png").write_bytes(png(9)[:60])
    (dataset.path / "c/1.png").write_bytes(b"")
    finder = Finder()
    for _ in range(2):
        faces = prepared(dataset, finder)
        assert len(faces) == 6
        assert list(faces.missing) == ["a/1.png", "b/1.png", "c/1.png"]
        assert faces.missing["a/1.png"] == "no face was found"
    assert finder.seen == 7


def test_looks_at_nothing_twice(dataset):
    finder = Finder()
    first = prepared(dataset, finder)
    again = prepared(dataset, finder)
    other = prepared(dataset, finder, "arcface", (14, 12))
    assert finder.seen == len(first) == len(again) == len(other) == 9
    assert torch.equal(first[:], again[:])


def test_another_detector_looks_for_itself(dataset):
    prepared(dataset, Finder())
    other = Finder(min_size=12)
    assert len(prepared(dataset, other)) == other.seen == 9


def test_one_content_is_kept_once_and_a_changed_photo_is_made_anew(dataset):
    (dataset.path / "a/0.png").write_bytes(png(2))
    faces = prepared(dataset, Finder())
    assert (len(faces), len(faces.store)) == (9, 8)
    (dataset.path / "a/0.png").write_bytes(png(200))
    assert prepared(dataset, Finder())[:1].max() == pytest.approx(200 / 255)


def test_goes_on_where_it_was_stopped(dataset, monkeypatch, cache):
    monkeypatch.setattr(preparation, "PHOTOS", 2)

    def until_the_fifth(samples):
        yield from samples[:5]
        raise KeyboardInterrupt

    finder = Finder()
    with pytest.raises(KeyboardInterrupt):
        prepared(dataset, finder, track=until_the_fifth)
    for file in cache.rglob("mtcnn*/**/*"):
        if file.is_file():
            file.write_bytes(file.read_bytes() + b'["torn in the middle of')
    assert finder.seen == 4
    faces = prepared(dataset, finder)
    assert finder.seen == 9
    assert torch.equal(faces[:], prepared(dataset, Finder(), folder=cache / "other")[:])


def test_two_do_not_fill_one_folder(dataset, tmp_path):
    prepared(dataset, Finder(), folder=tmp_path)
    with FileLock(tmp_path / "mtcnn-24-0.6-0.7-0.8/lock"), pytest.raises(SettingError, match="another faceveil"):
        prepared(dataset, Finder(), folder=tmp_path)


def test_several_processes_of_one_torchrun_wait_for_each_other(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    place = tmp_path / "mtcnn-24-0.6-0.7-0.8"
    place.mkdir()
    held = threading.Event()

    def hold():
        with FileLock(place / "lock"):
            held.set()
            time.sleep(0.3)

    threading.Thread(target=hold).start()
    assert held.wait(10)
    assert len(prepared(dataset, Finder(), folder=tmp_path))


def test_pairs_become_indices(dataset):
    (dataset.path / "b/1.png").write_bytes(png(0))
    pairs = [
        Pair("a/0.png", "a/2.png", True, 1),
        Pair("a/0.png", "b/1.png", False, 1),
        Pair("c/2.png", "a/1.png", False, 2),
    ]
    found = prepared(dataset, Finder()).compare(pairs)
    assert (found.first.tolist(), found.second.tolist()) == ([0, 7], [2, 1])
    assert (found.same.tolist(), found.fold.tolist(), found.left_out) == ([True, False], [1, 2], 1)


def test_a_splits_people_are_found_again(dataset):
    faces = prepared(dataset, Finder())
    assert faces.of(["c", "a", "nobody"]).tolist() == [0, 1, 2, 6, 7, 8]


def test_photos_are_grouped_by_person_without_those_of_nobody(dataset):
    faces = prepared(dataset, Finder())
    strangers = replace(faces, labels=np.array([-1, *faces.labels[1:-1], -1]))
    assert [photos.tolist() for photos in strangers.by_person()] == [[1, 2], [3, 4, 5], [6, 7]]
    assert strangers.of(["c", "a"]).tolist() == [1, 2, 6, 7]


def test_says_where_nothing_can_be_kept(dataset, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match="FACEVEIL_CACHE"):
        prepared(dataset, Finder(), folder=tmp_path / "file")


def test_an_aligned_photo_stays_as_it_is(tmp_path):
    """Packs need no detector: between ArcFace's template and itself there is nothing to do."""
    noise = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "PNG")
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps(([stream.getvalue(), png(1)], [False])))
    faces = datasets.prepare(datasets.open(tmp_path / "lfw.bin"), "arcface", (112, 112))
    assert np.array_equal(faces.store[0], noise)
    assert faces.labels.tolist() == [-1, -1]
    narrow = datasets.prepare(datasets.open(tmp_path / "lfw.bin"), "arcface", (112, 96))
    assert np.array_equal(narrow.store[0], noise[:, 8:-8])


def test_a_photo_is_of_the_large_face_near_the_center():
    def face(left, top, side):
        return Face((left, top, left + side, top + side), LANDMARKS, 1.0)

    central, aside, speck = face(80.0, 80.0, 90.0), face(-10.0, 0.0, 100.0), face(120.0, 120.0, 10.0)
    assert subject([aside, central, speck], 250, 250) is central


@pytest.mark.zoo
def test_finds_the_faces_of_lfw(shared):
    few = datasets.open(shared / "data/lfw/photos/Abdoulaye_Wade")
    assert len(datasets.prepare(few, "arcface", (112, 112))) == 4


def test_faces_are_made_anew_where_the_power_failed(tmp_path):
    Rows(tmp_path, (1, 1)).add({"1" * 64: np.full((1, 1, 3), 1, np.uint8)})
    for name, lost in (("images.uint8", 3), ("photos.sha256", 65)):
        with (tmp_path / name).open("ab") as stream:
            stream.write(bytes(lost))
    for key in "34":
        Rows(tmp_path, (1, 1)).add({key * 64: np.full((1, 1, 3), int(key), np.uint8)})
    rows = Rows(tmp_path, (1, 1))
    assert [rows.images()[rows[key * 64]][0, 0, 0] for key in "34"] == [3, 4]
