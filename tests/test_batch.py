import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

import faceveil
from faceveil import batch
from faceveil.batch import protect_files
from faceveil.errors import ServiceError, WeightsError
from faceveil.jobs import plan
from people import group, landscape, portrait


@pytest.fixture(scope="module")
def protector() -> faceveil.Protector:
    return faceveil.Protector()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ServiceError("example.org: refused (401): another token"), "example.org: refused (401): another token"),
        (MemoryError("no room"), "cannot be cloaked (no room); try it smaller"),
    ],
)
def test_each_photo_says_why_it_was_not_cloaked(error, told, tmp_path):
    def cloud(gradient):
        raise error

    for name in "ab":
        faceveil.Photo.from_array(portrait()).save(tmp_path / f"{name}.png")
    protector = faceveil.Protector("apf", surrogates=["dlib"], settings={"attack": "fgsm", "cloud": cloud})
    outcomes = list(protect_files(protector, plan([tmp_path / "a.png", tmp_path / "b.png"])))
    assert [outcome.error for outcome in outcomes] == [f"{outcome.job.source}: {told}" for outcome in outcomes]
    assert len(outcomes) == 2


@pytest.mark.parametrize(("stage", "written"), [("look", False), ("prove", True), ("reread", True)])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("can't allocate memory"), "can't allocate memory); try it smaller"),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"), "CUBLAS_STATUS_ALLOC_FAILED); try it smaller"),
        (RuntimeError("illegal memory access"), "illegal memory access)"),
        (MemoryError(), "MemoryError); try it smaller"),
        (RuntimeError("no such kernel"), "no such kernel)"),
        (WeightsError("dlib is gone"), "dlib is gone)"),
    ],
)
def test_a_photo_that_fails_does_not_stop_the_others(stage, written, error, told, tmp_path, monkeypatch):
    opened = faceveil.Photo.open

    def fail(*given):
        raise error

    def read(path, *given):
        return fail() if "-cloaked" in str(path) else opened(path, *given)

    for name in "ab":
        faceveil.Photo.from_array(portrait()).save(tmp_path / f"{name}.png")
    protector = faceveil.Protector("veil", surrogates=["dlib"], judges=["dlib"], settings={"steps": 1})
    monkeypatch.setattr(*(faceveil.Photo, "open", read) if stage == "reread" else (protector, stage, fail))
    outcomes = list(protect_files(protector, plan([tmp_path / "a.png", tmp_path / "b.png"])))
    for name, outcome in zip("ab", outcomes, strict=True):
        there = tmp_path / f"{name}-cloaked.png"
        if written:
            fate = f": {there} is written, and cannot be measured ({told}; --force makes it anew"
        elif isinstance(error, WeightsError):
            fate = f": {error}"
        else:
            fate = f": cannot be cloaked ({told}"
        assert outcome.error == f"{tmp_path / name}.png{fate}"
        assert (outcome.status, outcome.written, there.exists()) == ("failed", written, written)


def test_what_failed_together_is_let_go_of_before_each_is_tried_alone(tmp_path, monkeypatch):
    class Large:
        pass

    made, left = [], []

    def fail(*given):
        left.append([each() for each in made])
        large = Large()
        made.append(weakref.ref(large))
        raise MemoryError

    for name in "ab":
        faceveil.Photo.from_array(portrait()).save(tmp_path / f"{name}.png")
    protector = faceveil.Protector("veil", surrogates=["dlib"], judges=["dlib"], settings={"steps": 1})
    monkeypatch.setattr(protector, "cloak", fail)
    assert len(list(protect_files(protector, plan([tmp_path / "a.png", tmp_path / "b.png"])))) == 2
    assert left == [[], [None], [None, None]]


def test_no_memory_to_know_a_person_better_does_not_stop_a_run(monkeypatch, tmp_path):
    photo = faceveil.Photo.from_array(portrait())
    photo.save(tmp_path / "a.png")
    protector = faceveil.Protector("opom", choice=faceveil.Choice(only_like=photo), settings={"steps": 1})

    def fail(self, scene):
        raise MemoryError

    monkeypatch.setattr(type(protector.method), "enroll", fail)
    (outcome,) = protect_files(protector, plan([tmp_path / "a.png"]))
    assert outcome.status == "cloaked"


def test_a_person_who_is_known_gets_one_cloak_for_all_photos(tmp_path):
    """So does a photo of the person that is cloaked in a later run, when the others are there already."""
    photos = {"a.png": portrait(), "b.png": portrait()[:300, 20:]}
    for name, pixels in photos.items():
        faceveil.Photo.from_array(np.ascontiguousarray(pixels)).save(tmp_path / name)
    choice = faceveil.Choice(only_like=faceveil.Photo.from_array(portrait()))
    jobs = plan([tmp_path / name for name in photos], tmp_path / "out")
    masks, written = [], []
    for _ in range(2):
        protector = faceveil.Protector("opom", choice=choice, settings={"steps": 3})
        alone = protector.method.mask
        assert all(outcome.faces or outcome.status == "skipped" for outcome in protect_files(protector, jobs))
        assert not torch.equal(protector.method.mask, alone)
        masks.append(protector.method.mask)
        written.append(jobs[1].destination.read_bytes())
        jobs[1].destination.unlink()
    assert torch.equal(*masks)
    assert written[0] == written[1]


def test_a_persons_cloaks_are_kept_apart_in_a_run_and_from_those_of_an_earlier_one(protector, tmp_path, monkeypatch):
    photos = [faceveil.Photo.from_array(np.ascontiguousarray(portrait()[: 320 - cut])) for cut in (0, 10)]
    for photo, name in zip(photos, "ab", strict=True):
        photo.save(tmp_path / f"{name}.png")
    jobs = plan([tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "out")

    def apart():
        shared = [faceveil.Photo.open(job.destination) for job in jobs]
        seen = [protector.see(photo, protector.find(clear))[0] for clear, photo in zip(photos, shared, strict=True)]
        return float((seen[0] - seen[1]).norm())

    for job in jobs:  # each in a run of its own
        assert next(iter(protect_files(protector, [job]))).faces
    found = [apart()]
    jobs[1].destination.unlink()
    first, second = protect_files(protector, jobs)
    assert (first.status, second.status) == ("skipped", "cloaked")
    found.append(apart())
    for job in jobs:
        job.destination.unlink()
    assert all(outcome.faces for outcome in protect_files(protector, jobs))
    found.append(apart())
    for job in jobs:
        job.destination.unlink()
    monkeypatch.setattr(protector, "method", replace(protector.method, apart=0.0))
    assert all(outcome.faces for outcome in protect_files(protector, jobs))
    assert min(found) > 1.1 * apart()


def test_an_album_holds_the_faces_that_were_cloaked_and_no_others(tmp_path):
    jobs = [plan([tmp_path / name], tmp_path / "out")[0] for name in ("group.png", "me.png")]
    for job, photo in zip(jobs, (group(), portrait()), strict=True):
        faceveil.Photo.from_array(photo).save(job.source)
    chosen = faceveil.Protector(judges=(), choice=faceveil.Choice("largest"))
    assert [outcome.status for outcome in protect_files(chosen, jobs[:1])] == ["cloaked"]
    album = batch._album(chosen, jobs, batch.Writing())
    assert [len(some) for some in (*album.clear, *album.cloaked)] == [1] * 2 * len(chosen.surrogates)


def test_what_cannot_be_cloaked_does_not_wait_for_an_album(protector, tmp_path, monkeypatch):
    (tmp_path / "me.png").write_text("no photo")
    monkeypatch.setattr(batch, "_album", None)
    assert [outcome.status for outcome in protect_files(protector, plan([tmp_path / "me.png"]))] == ["failed"]


def test_every_face_that_was_cloaked_is_proven(tmp_path):
    faceveil.Photo.from_array(group()).save(tmp_path / "group.png")
    (outcome,) = protect_files(faceveil.Protector(), plan([tmp_path / "group.png"]))
    assert len(outcome.faces) == 2


@pytest.mark.parametrize("stage", ["look", "cloak"])
def test_what_another_run_writes_meanwhile_is_there_already(protector, tmp_path, monkeypatch, stage):
    (job,) = plan([tmp_path / "me.png"])
    faceveil.Photo.from_array(portrait()).save(job.source)
    own, opened = getattr(protector, "cloak"), batch._open  # noqa: B009

    def write(given):
        job.destination.write_text("another run's")
        return given

    if stage == "look":
        monkeypatch.setattr(batch, "_open", lambda *given: write(opened(*given)))
        monkeypatch.setattr(protector, "look", None)
    else:
        monkeypatch.setattr(protector, "cloak", lambda *given: write(own(*given)))
    (outcome,) = protect_files(protector, [job])
    assert (outcome.status, outcome.written) == ("skipped", False)
    assert job.destination.read_text() == "another run's"


def test_a_file_where_a_folder_is_needed_is_no_photo_that_is_there(protector, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a").touch()
    faceveil.Photo.from_array(portrait()).save(tmp_path / "photos/a/me.png")
    (outcome,) = protect_files(protector, plan([tmp_path / "photos"], tmp_path / "out"))
    assert "a/me.png: cannot be written" in outcome.error


def test_photos_that_would_become_one_file_do_not_stop_others(protector, tmp_path):
    for name in ("a/me.png", "b/me.png", "b/you.png"):
        faceveil.Photo.from_array(portrait()).save(tmp_path / name)
    photos = [tmp_path / name for name in ("a/me.png", "b/me.png", "b/you.png")]
    for _ in range(2):
        outcomes = [*protect_files(protector, plan(photos, tmp_path / "out"))]
        assert "becomes" in outcomes[1].error
        outcomes.pop(1)
        assert {outcome.error for outcome in outcomes} == {""}


def test_photos_that_fill_the_memory_are_read_one_by_one(protector, tmp_path, monkeypatch):
    photos, events, opened = [tmp_path / f"{name}.png" for name in "abc"], [], batch._open
    for path in photos:
        faceveil.Photo.from_array(landscape()).save(path)

    def read(job, writing):
        events.append(f"read {job.source.stem}")
        return opened(job, writing)

    monkeypatch.setattr(batch, "_open", read)
    monkeypatch.setattr(batch, "PIXELS", 1)
    outcomes = protect_files(protector, plan(photos, tmp_path / "out"))
    events.extend(f"done {outcome.job.source.stem}" for outcome in outcomes)
    assert events == [f"{event} {name}" for name in "abc" for event in ("read", "done")]
