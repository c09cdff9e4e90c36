import os
from pathlib import Path

import pytest

from faceveil import jobs
from faceveil.errors import SettingError
from faceveil.jobs import Job, cloaked_in, described, left_out, neighbors, photos_in, plan


@pytest.fixture
def album(tmp_path, monkeypatch):
    for name in ("a/1.jpg", "a/deep/2.PNG", "a/.hidden.jpg", "a/.trash/3.jpg", "a/notes.txt", "b/1.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_photo_goes_beside_itself():
    assert plan([Path("x/me.jpg")]) == [
        Job(Path("x/me.jpg"), Path("x/me-cloaked.jpg"), Path("x/me-cloaked.jpg-proof.png"))
    ]


def test_a_photo_goes_under_the_output_with_its_own_name():
    assert plan([Path("x/me.jpg")], Path("out")) == [
        Job(Path("x/me.jpg"), Path("out/me.jpg"), Path("out-proofs/me.jpg-proof.png"))
    ]


def test_another_format_has_its_own_suffix():
    (job,) = plan([Path("me.HEIC")], format="jpeg")
    assert job.destination == Path("me-cloaked.jpg")


def test_a_folder_keeps_its_tree_without_what_is_hidden_or_no_photo(album):
    assert [str(job.destination) for job in plan([Path("a")], Path("out"))] == ["out/1.jpg", "out/deep/2.PNG"]


def test_several_folders_stay_apart(album):
    destinations = [str(job.destination) for job in plan([Path("a"), Path("b")], Path("out"))]
    assert destinations == ["out/a/1.jpg", "out/a/deep/2.PNG", "out/b/1.jpg"]


def test_what_was_written_inside_the_folder_is_not_cloaked_again(album):
    assert len(photos_in(Path("a"), Path("a/deep"))) == 1


def test_a_folder_that_cannot_be_read_is_not_left_out_silently(album, monkeypatch):
    def refuse(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", refuse)
    assert photos_in(Path("a")) == cloaked_in(Path("a"))[0] == [Path("a/1.jpg"), Path("a/deep")]
    (album / "a/1-cloaked.jpg").touch()
    assert cloaked_in(Path("a")) == ([Path("a/1-cloaked.jpg"), Path("a/deep")], [Path("a/1.jpg")])


def test_a_folders_cloaked_photos_are_those_with_the_names_that_we_give(album):
    photos = [Path("a/1.jpg"), Path("a/deep/2.PNG")]
    assert cloaked_in(Path("a")) == (photos, [])
    assert photos_in(Path("a")) == photos
    for name in ("1-cloaked.jpg", "1-cloaked.jpg-proof.png", "deep/3-cloaked.webp", ".4-cloaked.jpg", "5-cloaked.txt"):
        (album / "a" / name).touch()
    assert cloaked_in(Path("a")) == ([Path("a/1-cloaked.jpg"), Path("a/deep/3-cloaked.webp")], photos)
    assert photos_in(Path("a")) == photos
    assert cloaked_in(Path("a/1.jpg")) == ([Path("a/1.jpg")], [])


@pytest.mark.parametrize("named", ["3.jpg", "3-cloaked.jpg"])
def test_a_folders_cloaked_photos_are_found_in_one_walk(album, monkeypatch, named):
    (album / "a" / named).touch()
    walks, walk = [], os.walk
    monkeypatch.setattr(os, "walk", lambda *given, **how: walks.append(given) or walk(*given, **how))
    cloaked_in(Path("a"))
    assert walks == [(Path("a"),)]


def test_a_folder_needs_an_output(album):
    with pytest.raises(SettingError, match="-o OUT"):
        plan([Path("a")])


def test_two_photos_never_become_one_file(album):
    first, second = plan([Path("a/1.jpg"), Path("b/1.jpg")], Path("out"))
    assert first.refused == ""
    assert second.refused == "b/1.jpg: a/1.jpg becomes out/1.jpg, too; cloak it into another folder with -o"
    (album / "a/1.heic").touch()
    photos = plan([Path("a")], Path("out"), "JPEG")
    assert [job.source.name for job in photos if job.refused] == ["1.jpg"]


@pytest.mark.parametrize("ignores", [False, True])
def test_nor_do_they_where_a_disk_takes_their_names_for_one(album, monkeypatch, ignores):
    (album / "a" / "Ma\u0301i.JPG").touch()
    (album / "a" / "M\u00e1i.jpg").touch()
    samefile = Path.samefile
    monkeypatch.setattr(Path, "samefile", lambda path, other: ignores or samefile(path, other))
    monkeypatch.setattr(Path, "exists", lambda path: ignores or os.path.exists(path))  # noqa: PTH110
    refused = [job.source.name for job in plan([Path("a")], Path("out")) if job.refused]
    assert refused == ["M\u00e1i.jpg"] * ignores


@pytest.mark.parametrize("ignores", [False, True])
def test_a_folder_without_letters_does_not_hide_that(tmp_path, monkeypatch, ignores):
    (tmp_path / "Holiday" / "2024").mkdir(parents=True)
    monkeypatch.setattr(Path, "samefile", lambda path, other: ignores)
    monkeypatch.setattr(Path, "exists", lambda path: ignores or os.path.exists(path))  # noqa: PTH110
    assert jobs._ignores_case(tmp_path / "Holiday" / "2024") == ignores


def test_files_of_windows_are_not_called_left_out(album):
    for name in ("Thumbs.db", "desktop.ini", "notes.txt"):
        (album / "a" / name).touch()
    assert [path.name for path in left_out([Path("a")])] == ["notes.txt"]


def test_no_photo_becomes_itself_through_another_path(album):
    """A disk that is mounted twice, or ignores case, names one file in ways that no look at the paths tells."""
    (album / "c").mkdir()
    (album / "c/1.jpg").hardlink_to(album / "a/1.jpg")
    with pytest.raises(SettingError, match=r"a/1\.jpg would overwrite a/1\.jpg"):
        plan([Path("a/1.jpg")], Path("c"))


def test_no_photo_becomes_itself(album):
    (album / "link").symlink_to(album / "a")
    with pytest.raises(SettingError, match="would overwrite"):
        plan([Path("a/1.jpg")], Path("link"))


def test_no_listed_photo_is_overwritten_nor_cloaked_twice(album):
    with pytest.raises(SettingError, match="would overwrite"):
        plan([Path("a/1.jpg"), Path("b/1.jpg")], Path("b"))
    assert len(plan([Path("a/1.jpg"), Path("a/1.jpg")])) == 1


def test_what_an_earlier_run_wrote_is_no_photo_to_cloak(album):
    for name in ("1-cloaked.jpg", "1-cloaked.jpg-proof.png"):
        (album / "a" / name).touch()
    named = [Path("a/1.jpg"), Path("a/1-cloaked.jpg"), Path("a/1-cloaked.jpg-proof.png")]
    assert [job.source for job in plan(named)] == [Path("a/1.jpg")]
    assert len(plan([Path("a")], Path("out"))) == 2
    assert plan([Path("a/1-cloaked.jpg")])[0].destination == Path("a/1-cloaked-cloaked.jpg")


def test_a_folder_without_photos_is_an_error(album):
    (album / "empty").mkdir()
    with pytest.raises(SettingError, match="no photo in empty"):
        plan([Path("empty")], Path("out"))


def test_a_folder_without_photos_says_what_is_there_instead(album):
    (album / "film").mkdir()
    (album / "film/face.gif").touch()
    with pytest.raises(SettingError, match=r"no photo in film, but files not named as JPEG, .*: 1 \(film/face\.gif\)"):
        plan([Path("film")], Path("out"))


def test_files_that_are_no_photos_are_known_but_not_hidden_or_our_own_ones(album):
    for name in ("face.gif", "deep/IMG_1.CR2", "x", "1-cloaked.jpg", "1-cloaked.jpg-proof.png", ".DS_Store"):
        (album / "a" / name).touch()
    found = [Path(name) for name in ("a/face.gif", "a/notes.txt", "a/x", "a/deep/IMG_1.CR2")]
    assert left_out([Path("a"), Path("a"), Path("b/1.jpg")]) == found
    assert left_out([Path("a")], Path("a/deep")) == found[:3]
    assert described(found).endswith(": 4 (a/face.gif, a/notes.txt, a/x, a/deep/IMG_1.CR2)")
    assert described(found * 2).endswith(": 8 (a/face.gif, a/notes.txt, a/x, a/deep/IMG_1.CR2, a/face.gif, ...)")


def test_an_output_is_no_file(album):
    with pytest.raises(SettingError, match=r"^-o b/1\.jpg is a file; give a folder$"):
        plan([Path("a/1.jpg")], Path("b/1.jpg"))


@pytest.mark.parametrize("output", [None, Path("out")])
def test_neighbors_are_what_was_cloaked_beside_a_photo_the_newest_first(tmp_path, monkeypatch, output):
    monkeypatch.chdir(tmp_path)
    names = ["me.jpg", "old.jpg", "new.png", "clear.jpg"]
    (tmp_path / "out").mkdir()
    for path in map(Path, (*names, "out/stranger.jpg", "stranger-cloaked.jpg", "old.txt", "out/.old.jpg")):
        path.touch()
    jobs = plan([Path(name) for name in names], output)
    for age, job in enumerate(jobs[:3]):
        destination = job.destination.with_suffix(".webp")  # written in another format
        destination.touch()
        os.utime(destination, (age, age))
    found = neighbors(jobs[:1], 8)
    assert [(job.source, job.destination) for job in found] == [
        (job.source, job.destination.with_suffix(".webp")) for job in (jobs[2], jobs[1])
    ]
    assert neighbors(jobs[:1], 1) == found[:1]
    assert neighbors(plan([Path("nowhere/me.jpg")], output), 8) == []


def test_neighbors_lie_in_the_photos_own_folder(album):
    for name in ("a/2.jpg", "b/2.jpg", "b/2-cloaked.jpg"):
        (album / name).touch()
    assert [job.source for job in neighbors(plan([Path("a/1.jpg"), Path("b/1.jpg")]), 8)] == [Path("b/2.jpg")]
    assert neighbors(plan([Path("a/1.jpg")]), 8) == []
