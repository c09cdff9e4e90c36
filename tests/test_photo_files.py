import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from faceveil import files
from faceveil.errors import SettingError, UnreadablePhotoError, UnwritablePhotoError
from faceveil.files import one_line, remove_leftovers
from faceveil.photo import Photo
from photos import encoded, names, read, scene


def test_saves_and_makes_folders(tmp_path: Path) -> None:
    place = tmp_path / "new" / "folder" / "me.png"
    assert Photo.from_array(scene()).save(place) == place
    np.testing.assert_array_equal(Photo.open(str(place)).pixels, scene())
    assert Photo.open(place).path == place
    assert names(place.parent) == ["me.png"]
    current = os.umask(0)
    os.umask(current)
    assert place.stat().st_mode & 0o777 == 0o666 & ~current


def test_the_suffix_names_the_format(tmp_path: Path) -> None:
    photo = read(encoded(scene(), "JPEG"))
    assert Photo.open(photo.save(tmp_path / "a.webp")).format == "WEBP"
    assert Photo.open(photo.save(tmp_path / "b")).format == "JPEG"
    assert Photo.open(photo.save(tmp_path / "c.png", format="bmp")).format == "BMP"
    assert Photo.open(photo.save(tmp_path / "d.gif", format="bmp")).format == "BMP"
    with pytest.raises(SettingError, match=r"'\.gif' is not a format of photos; choose one of jpeg, png"):
        photo.save(tmp_path / "e.gif")
    assert names(tmp_path) == ["a.webp", "b", "c.png", "d.gif"]


def test_never_overwrites_unless_forced(tmp_path: Path) -> None:
    place = tmp_path / "me.png"
    place.write_bytes(b"mine")
    with pytest.raises(UnwritablePhotoError, match=r"me\.png: exists already; choose another place, or .*--force"):
        Photo.from_array(scene()).save(place)
    assert place.read_bytes() == b"mine"
    Photo.from_array(scene()).save(place, force=True)
    assert Photo.open(place).size == (64, 48)
    assert names(tmp_path) == ["me.png"]


@pytest.mark.parametrize("hard_links", [True, False])
def test_never_overwrites_without_hard_links_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hard_links: bool
) -> None:
    def no_link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not hard_links:
        monkeypatch.setattr(os, "link", no_link)
    place = Photo.from_array(scene()).save(tmp_path / "me.png")
    before = place.read_bytes()
    with pytest.raises(UnwritablePhotoError, match="exists already"):
        Photo.from_array(255 - scene()).save(place)
    assert place.read_bytes() == before
    assert names(tmp_path) == ["me.png"]


def test_of_many_writers_one_wins(tmp_path: Path) -> None:
    place, won = tmp_path / "me.png", []

    def write(seed: int) -> None:
        try:
            Photo.from_array(scene(seed=seed)).save(place)
            won.append(seed)
        except UnwritablePhotoError:
            pass

    threads = [threading.Thread(target=write, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    np.testing.assert_array_equal(Photo.open(place).pixels, scene(seed=won[0]))
    assert names(tmp_path) == ["me.png"]


@pytest.mark.parametrize("call", ["fsync", "link", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_leaves_nothing_behind_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, call, fail)
    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises((UnwritablePhotoError, KeyboardInterrupt)) as caught:
        Photo.from_array(scene()).save(tmp_path / "me.png", force=call == "replace")
    if isinstance(error, OSError):
        assert str(caught.value) == (
            f"{tmp_path / 'me.png'}: cannot be written (No space left on device); choose another place"
        )
    assert names(tmp_path) == []


def test_says_why_a_place_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    photo = Photo.from_array(scene())
    for place, force in [
        (tmp_path / "file" / "me.png", False),
        (tmp_path / "file" / "deep" / "me.png", False),
        (tmp_path, True),
        (tmp_path / ("long" * 100 + ".png"), False),
        (tmp_path / "null\0.png", False),
        (Path("/"), False),
        (Path(), True),
        (Path("/proc/me.png"), False),
    ]:
        with pytest.raises(UnwritablePhotoError, match=r"^[^\n]+(choose another place|--force)[^\n]*$"):
            photo.save(place, force=force)
    assert names(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"mine"


@pytest.mark.parametrize(("format", "width"), [("WEBP", 16384), ("JPEG", 65536)])
def test_a_photo_too_large_for_a_format_is_an_error_that_says_so(tmp_path: Path, format: str, width: int) -> None:
    photo = Photo.from_array(np.zeros((1, width, 3), np.uint8))
    with pytest.raises(UnwritablePhotoError, match=f"{width} x 1 pixels cannot be written as {format} .*--format"):
        photo.save(tmp_path / "me", format=format)
    assert names(tmp_path) == []


def test_names_are_said_with_every_kind_of_space_and_without_what_moves_a_terminal() -> None:
    name = "9.41\u202fAM\u3000a\u00a0b \U0001f468\u200d\U0001f469 \u0645\u06cc\u200c\u0634.jpg"
    assert one_line(name) == name
    assert one_line("a\u2028b\u202ec\x1b[2Jd\ne") == "a?b?c?[2Jd?e"


def test_removes_what_killed_processes_left(tmp_path: Path) -> None:
    code = "import os,sys,signal;from faceveil import files;os.fsync=lambda _:os.kill(os.getpid(),9);"
    code += "from pathlib import Path;files.publish(b'half',Path(sys.argv[1])/'me.png')"
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 1
    here = f".faceveil-{files._HOST}"
    alive = tmp_path / f"{here}-{os.getppid()}-0123abcd-0.part"
    mine = tmp_path / f"{here}-{os.getpid()}-{files._TOKEN}-99.part"
    earlier = tmp_path / f"{here}-{os.getpid()}-0123abcd-0.part"
    others = [tmp_path / name for name in (".faceveil-x.part", "me.part", ".me.png")]
    for path in (alive, mine, earlier, *others):
        path.write_bytes(b"")
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([alive, mine, *others])


@pytest.mark.parametrize(("hours", "left"), [(23, True), (25, False)])
def test_leaves_what_another_machine_may_write_still_for_a_day(tmp_path: Path, hours: int, left: bool) -> None:
    part = tmp_path / f".faceveil-elsewhere-{2**22}-0123abcd-0.part"
    part.write_bytes(b"")
    os.utime(part, 2 * (time.time() - 3600 * hours,))
    remove_leftovers(tmp_path)
    assert part.exists() == left


def test_a_folder_whose_name_is_too_long_has_no_leftovers(tmp_path: Path) -> None:
    remove_leftovers(tmp_path / ("z" * 300))


def test_a_folder_that_cannot_be_read_is_called_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UnreadablePhotoError, match=r"cannot be read \(Permission denied\)"):
        Photo.open(tmp_path)


@pytest.mark.parametrize("progressive", [False, True])
def test_writes_photos_with_much_grain(monkeypatch: pytest.MonkeyPatch, progressive: bool) -> None:
    """libjpeg optimizes, and writes progressively, within the buffer that it has; much grain is larger."""
    grain = np.random.default_rng(0).integers(0, 256, (400, 400, 3)).astype(np.uint8)
    with monkeypatch.context() as patch:
        patch.setattr("PIL.ImageFile.MAXBLOCK", 2**22)
        photo = Photo.open(io.BytesIO(encoded(grain, "JPEG", quality=100, subsampling=0, progressive=progressive)))
    again = Photo.open(io.BytesIO(photo.encode()))
    assert np.abs(again.pixels.astype(int) - photo.pixels).mean() < 0.1


def test_what_is_published_is_written_though_its_part_cannot_be_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, **_: bool) -> None:
        raise PermissionError(13, "another program looks at it", str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    files.publish(b"whole", tmp_path / "me.png")
    assert (tmp_path / "me.png").read_bytes() == b"whole"
