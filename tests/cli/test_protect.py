import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceveil import Photo
from faceveil.cli import main
from faceveil.faces.detect import Detector
from people import group, landscape, portrait


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["protect", *map(str, arguments)])
        raise SystemExit(0)
    return ended.value.code


@pytest.fixture
def me(tmp_path):
    return Photo.from_array(portrait()).save(tmp_path / "me.jpg")


def exif_of(path):
    with Image.open(path) as image:
        return dict(image.getexif())


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_writes_beside_the_photo_and_says_where_and_what(me, capsys):
    before = me.read_bytes()
    assert run(me, "--picture") == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1].startswith("verdict: not recognized")
    assert "me-cloaked.jpg" in said.replace("\n", "")
    assert sorted(path.name for path in me.parent.iterdir()) == ["me-cloaked.jpg", "me-cloaked.jpg-proof.png", "me.jpg"]
    assert me.read_bytes() == before


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["--strength", "light", "--method", "bim"], "strength is for veil; give bim an epsilon"),
        (["--strength", "light", "--set", "quality=40"], "strength sets the quality; leave out one of the two"),
    ],
)
def test_a_strength_beside_what_it_does_not_suit_is_refused(me, capsys, settings, said):
    assert run(me, *settings) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_leaves_alone_what_is_there_already_unless_forced(me, capsys):
    there = me.with_name("me-cloaked.jpg")
    there.write_bytes(b"precious")
    assert run(me) == 0
    assert there.read_bytes() == b"precious"
    assert "--force" in capsys.readouterr().out
    assert run(me, "--force") == 0
    assert Photo.open(there).size == (320, 320)


def test_a_large_face_brings_the_advice_of_a_smaller_copy(tmp_path, capsys):
    large = tmp_path / "large.png"
    Image.fromarray(portrait()).resize((1280, 1280)).save(large)
    assert run(large) == 0
    (advice,) = re.findall(r"--longest .*", capsys.readouterr().out)
    assert run(large, *advice.split()) == 0
    said = capsys.readouterr().out
    assert "--longest" not in said and said.splitlines()[-1].startswith("verdict: not recognized")
    shared = Photo.open(tmp_path / "large-cloaked.png")
    assert max(shared.size) == int(advice.split()[1])
    (face,) = Detector()([shared.pixels])[0]
    assert face.box[2] - face.box[0] == pytest.approx(125, rel=0.1)


def test_reports_for_machines(me, capsys):
    assert run(me, "--json", "--faces", "0") == 0
    (photo,) = json.loads(capsys.readouterr().out)["photos"]
    (face,) = photo["faces"]
    assert photo["status"] == "cloaked"
    assert face["verdicts"][0] == face["verdicts"][0] | {
        "recognizer": "dlib",
        "treatment": "as saved",
        "recognized": False,
    }
    assert 0.85 < face["ssim"] < 1


def test_walks_folders_keeps_the_tree_and_survives_bad_files(tmp_path, capfd):
    photos, out = tmp_path / "photos", tmp_path / "out"
    Photo.from_array(portrait()).save(photos / "a/me.png")
    Photo.from_array(group()).save(photos / "b/c/us.webp")
    Photo.from_array(landscape()).save(photos / "b/sea.jpg")
    (photos / "b/broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (photos / "b/empty.png").touch()
    (photos / "b/letter.txt").write_text("no photo")
    before = contents(photos)
    assert run(photos, "-o", out) == 1
    said = capfd.readouterr()
    assert sorted(map(str, contents(out))) == ["a/me.png", "b/c/us.webp"]
    assert contents(photos) == before
    errors = said.err.splitlines()
    assert len(errors) == 3
    assert all(line.startswith("faceveil: ") for line in errors)
    assert "2 cloaked, 0 there already, 1 without a face to cloak (not copied), 2 failed, 0 still" in said.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{me}", "--epsilon", "-1"], "epsilon"),
        (["{me}", "--faces", "big"], "all, largest"),
        (["{me}", "--faces", "-1"], "give numbers from 0"),
        (["{me}", "-o", "{me}"], "is a file; give a folder"),
        (["{me}", "--format", "gif"], "gif"),
        (["{me}", "--surrogate", "nobody"], "nobody"),
        (["{me}", "--method", "magic"], "tip-im"),
        (["{me}", "--method", "cilloni", "--epsilon", "4"], "has no setting"),
        (["{me}", "--epsilon", "0"], "epsilon"),
        (["{me}", "--device", "abacus"], "abacus"),
        (["{me}", "--set", "margin"], "a name and a value"),
        (["{me}", "--set", "steps=ten"], "steps is 'ten'; give a whole number"),
        (["{me}", "--method", "fawkes", "--set", "mode=huge"], "low, mid, high"),
        (["{folder}"], "-o OUT"),
        (["{me}", "-o", "{folder}"], "would overwrite"),
    ],
)
def test_settings_that_make_no_sense_end_with_2_and_one_line(me, capfd, arguments, words):
    Photo.from_array(portrait()).save(me.with_suffix(".png"))
    before = contents(me.parent)
    assert run(*(word.format(me=me, folder=me.parent) for word in arguments)) == 2
    said = capfd.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert contents(me.parent) == before


def test_a_limit_that_no_photo_can_keep_is_refused_as_a_setting(me, capfd):
    assert run(me, "--max-pixels", "0") == 2
    assert "--max-pixels" in capfd.readouterr().err


def test_a_bomb_is_refused_with_its_limit(me, capfd):
    assert run(me, "--max-pixels", "1000") == 1
    assert "--max-pixels" in capfd.readouterr().err


def test_a_place_that_cannot_be_written_is_an_error(me, capfd):
    blocked = me.parent / "blocked"
    blocked.write_text("a file, not a folder")
    assert run(me, "-o", blocked / "deep") == 1
    assert capfd.readouterr().err.count("\n") == 1


def test_metadata_is_kept_only_on_request(tmp_path):

    exif = Image.Exif()
    exif[0x010F] = "Maker"
    Image.fromarray(portrait()).save(tmp_path / "me.jpg", exif=exif, quality=95)
    assert run(tmp_path / "me.jpg") == 0
    assert not exif_of(tmp_path / "me-cloaked.jpg")
    assert run(tmp_path / "me.jpg", "--keep-metadata", "--force") == 0
    assert exif_of(tmp_path / "me-cloaked.jpg")[0x010F] == "Maker"


@pytest.mark.parametrize("method", ["bim", "veil"])
def test_a_killed_run_goes_on_to_the_same_files(method, tmp_path):
    """To the same bytes, but for veil, which leads these photos of one person apart."""
    photos = tmp_path / "photos"
    faces = portrait()
    for i in range(9):
        turned = np.ascontiguousarray(np.roll(faces[:, :: 1 - 2 * (i % 2)], 7 * i, 1) // (1 + i % 3 / 4)).astype(
            np.uint8
        )
        Photo.from_array(turned).save(photos / f"{i}.{('png', 'jpg', 'webp')[i % 3]}")
    command = [sys.executable, "-m", "faceveil", "protect", str(photos), "--method", method, "--epsilon", "16", "-o"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    start = time.monotonic()
    subprocess.run([*command, tmp_path / "whole"], check=True, env=environment, capture_output=True)
    whole = time.monotonic() - start
    moments = random.Random(0)
    for _ in range(3):
        process = subprocess.Popen([*command, tmp_path / "killed"], env=environment, stdout=subprocess.DEVNULL)
        time.sleep(whole * moments.uniform(0.3, 0.9))
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([*command, tmp_path / "killed"], check=True, env=environment, capture_output=True)
    killed, unbroken = contents(tmp_path / "killed"), contents(tmp_path / "whole")
    assert killed == unbroken if method == "bim" else killed.keys() == unbroken.keys()


METHODS = [
    ["cilloni", "--select", "farthest"],
    ["bim"],
    ["illc"],
    ["tip-im", "--gamma", "1"],
    ["fawkes", "--set", "mode=low"],
    ["lowkey", "--set", "steps=10"],
    ["opom"],
]


@pytest.mark.parametrize("method", METHODS)
def test_published_methods_cloak_inside_the_photo(me, method):
    assert run(me, "--method", *method) in (0, 1)  # whether it suffices is the method's matter
    change = np.abs(Photo.open(me.with_name("me-cloaked.jpg")).pixels.astype(int) - Photo.open(me).pixels)
    assert change.max() > 2


def test_targets_are_people_in_photos(me, tmp_path, capfd):
    Photo.from_array(landscape()).save(tmp_path / "nobody/sea.png")
    Photo.from_array(np.ascontiguousarray(portrait()[:, ::-1])).save(tmp_path / "people/her.png")
    assert run(me, "--method", "tip-im", "--targets", tmp_path / "nobody") == 1
    assert "target" in capfd.readouterr().err
    assert run(me, "--method", "tip-im", "--targets", tmp_path / "people") in (0, 1)
    assert me.with_name("me-cloaked.jpg").exists()


def test_targets_of_which_there_are_none_are_not_passed_over(me, tmp_path, capfd):
    (tmp_path / "people").mkdir()
    assert run(me, "--method", "fawkes", "--targets", tmp_path / "people") == 2
    assert f"there is no photo in {tmp_path / 'people'}; --targets" in capfd.readouterr().err
    assert not me.with_name("me-cloaked.jpg").exists()


def test_pictures_of_clear_faces_never_go_into_the_output(tmp_path, capsys):
    for name in ("me.jpg", "me.png", "me.jpg-proof.png"):
        Photo.from_array(portrait()).save(tmp_path / "photos" / name)
    assert run(tmp_path / "photos", "-o", tmp_path / "out", "--picture") == 0
    assert sorted(map(str, contents(tmp_path / "out"))) == ["me.jpg", "me.png"]
    assert sorted(map(str, contents(tmp_path / "out-proofs"))) == ["me.jpg-proof.png", "me.png-proof.png"]
    assert f"as they show clear faces): 2 in {tmp_path / 'out-proofs'}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("output", "pictures"), [(".", "here-proofs"), ("..", "there-proofs"), ("on", "here/on-proofs")]
)
def test_pictures_go_beside_an_output_without_a_name_of_its_own(tmp_path, monkeypatch, output, pictures):
    me = Photo.from_array(portrait()).save(tmp_path / "me.png")
    (tmp_path / "there/here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "there/here")
    assert run(me, "-o", output, "--picture") == 0
    assert (Path(output) / "me.png").is_file()
    beside = tmp_path if output == ".." else tmp_path / "there"
    assert [path.name for path in (beside / pictures).iterdir()] == ["me.png-proof.png"]


def test_the_root_of_a_disk_is_no_output(me, capsys):
    assert run(me, "-o", "/") == 2
    assert "is the root of a disk; give a folder in it" in " ".join(capsys.readouterr().err.split())


def test_faces_that_are_left_clear_are_told_and_others_have_their_own_numbers(tmp_path, capsys):
    both = Photo.from_array(group()).save(tmp_path / "photos/both.png")
    assert run(both, "--faces", "1") == 0
    said = capsys.readouterr().out
    assert "note: 1 other face is left clear\n" in said
    assert "both-cloaked.png, face 1" in said.replace("\n", "") and "face 0" not in said
    assert run(both, "--faces", "1", "--force", "--json") == 0
    (photo,) = json.loads(capsys.readouterr().out)["photos"]
    assert (photo["faces_left"], [face["number"] for face in photo["faces"]]) == (1, [1])
    Photo.from_array(portrait()).save(tmp_path / "photos/me.png")
    assert run(tmp_path / "photos", "-o", tmp_path / "out", "--faces", "largest") == 0
    assert "note, of 1 photo: 1 other face is left clear\n" in capsys.readouterr().out
    assert run(both, "--force") == 0
    assert "left clear" not in capsys.readouterr().out


def test_no_smaller_copy_is_advised_in_which_another_face_is_lost(tmp_path, capsys):
    canvas = np.full((1280, 1600, 3), 120, np.uint8)
    canvas[:, :1280] = np.asarray(Image.fromarray(portrait()).resize((1280, 1280)))
    canvas[400:720, 1280:] = portrait()
    assert run(Photo.from_array(canvas).save(tmp_path / "two.png")) == 0
    said = capsys.readouterr().out
    assert "on a smaller copy it shows less, but a small face in it is lost" in said
    assert "--longest" not in said


def test_notes_of_many_photos_are_told_once(tmp_path, capsys):
    for name in "ab":
        Image.fromarray(portrait()).convert("CMYK").save((tmp_path / name).with_suffix(".jpg"))
    assert run(tmp_path, "-o", tmp_path / "out") == 0
    assert "note, of 2 photos: its CMYK colors are written as RGB\n" in capsys.readouterr().out


def test_where_a_smaller_copy_shows_no_face_it_is_said_to_be_one(tmp_path, capfd):
    canvas = np.full((640, 960, 3), 120, np.uint8)
    canvas[:320, :320] = portrait()
    assert run(Photo.from_array(canvas).save(tmp_path / "me.png"), "--longest", "64") == 1
    assert "or more, in a copy of at most 64 pixels (--longest)\n" in capfd.readouterr().err


def test_what_was_not_measured_again_is_not_called_safe(me, capsys):
    assert run(me, "--epsilon", "0.5") == 1
    assert "STILL RECOGNIZED by dlib" in capsys.readouterr().out
    assert run(me, "--epsilon", "0.5", "--json") == 0
    (photo,) = json.loads(capsys.readouterr().out)["photos"]
    assert (photo["status"], photo["recognized"]) == ("skipped", None)
    assert photo["cloaked"] == str(me.with_name("me-cloaked.jpg"))
    assert run(me, "--epsilon", "0.5") == 0
    assert "not measured now; faceveil check measures what is there" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        (["--set", "stride=0.001"], "try --strength strong --force"),
        (["--epsilon", "0.5", "--strength", "strong"], "try --force without --epsilon"),
        (["--set", "quality=99", "--longest", "200"], "try --force without --set quality"),
        (["--set", "stride=0.001", "--longest", "300"], "try --strength strong --force"),
        (["--set", "stride=0.001", "--longest", "300", "--strength", "strong"], "try --force without --longest"),
        (["--set", "stride=0.001", "--strength", "strong"], "nothing stronger is known here; better not share it"),
        (["--epsilon", "0.5", "--method", "bim"], "try --method veil --force"),
    ],
)
def test_advice_to_cloak_otherwise_is_none_that_was_taken_and_overwrites_what_is_there(
    tmp_path, capfd, settings, advice
):
    for name in "ab":
        Photo.from_array(portrait()).save(tmp_path / "photos" / f"{name}.png")
    assert run(tmp_path / "photos/a.png", *settings) == 1
    assert capfd.readouterr().out.endswith(f"faces; {advice}\n")
    assert run(tmp_path / "photos", "-o", tmp_path / "out", *settings) == 1
    assert [line.partition("; ")[2] for line in capfd.readouterr().err.splitlines()] == [advice] * 2


def test_a_summary_says_nothing_of_who_is_recognized_where_that_was_not_measured(tmp_path, capsys):
    command = [tmp_path / "photos", "-o", tmp_path / "out", "--method", "bim", "--epsilon", "0.5"]
    for name in "ab":
        Photo.from_array(portrait()).save(tmp_path / "photos" / f"{name}.png")
    assert run(*command) == 1
    assert capsys.readouterr().out.endswith(", 0 failed, 2 still recognized\n")
    assert run(*command) == 0
    said = capsys.readouterr().out
    assert "0 cloaked, 2 there already (not measured now), " in said
    assert "still recognized" not in said
    assert "faceveil check" in said and "--force" in said
    Photo.from_array(portrait()).save(tmp_path / "photos/c.png")
    assert run(*command) == 1
    assert ", 1 of those cloaked now still recognized; " in capsys.readouterr().out


def test_what_is_left_out_as_no_photo_is_told(tmp_path, capsys):
    photos = tmp_path / "photos"
    Photo.from_array(portrait()).save(photos / "me.png")
    (photos / "face.gif").write_bytes(b"GIF89a")
    (photos / ".hidden").touch()
    assert run(photos, "-o", tmp_path / "out") == 0
    (told,) = re.findall(r"left out, .*", capsys.readouterr().out)
    assert "files not named as JPEG, PNG, " in told and f": 1 ({photos / 'face.gif'}); " in told
    assert run(photos, "-o", tmp_path / "out", "--json") == 0
    assert json.loads(capsys.readouterr().out)["left_out"] == [str(photos / "face.gif")]


def test_no_picture_of_an_earlier_cloak_stays_beside_a_new_one(me, capsys):
    assert run(me, "--picture") == 0
    picture = me.with_name("me-cloaked.jpg-proof.png")
    earlier = picture.read_bytes()
    assert run(me, "--epsilon", "0.5", "--force") == 1
    assert picture.read_bytes() != earlier
    assert "before and after" in capsys.readouterr().out
    picture.unlink()
    assert run(me, "--force") == 0
    assert not picture.exists()


def test_names_need_not_be_text_nor_free_of_brackets(tmp_path, capsys):
    for name in (b"a[/b].jpg", b"b\xff.jpg"):
        path = tmp_path / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(Photo.from_array(portrait()).encode("jpeg"))
        assert run(path) == 0
    assert "verdict: not recognized" in capsys.readouterr().out


def test_a_name_that_is_too_long_is_one_line(tmp_path, capfd):
    assert run(tmp_path / ("long" * 100 + ".jpg")) == 1
    assert capfd.readouterr().err.count("\n") == 1


def test_a_stopped_run_says_how_to_go_on(me, capfd, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("faceveil.protection.Protector.cloak", stop)
    assert run(me) == 130
    assert "run the same command again" in capfd.readouterr().err


def test_a_method_that_fails_is_one_line(me, capfd, monkeypatch):
    def fail(*_):
        raise RuntimeError("out of memory\nand more")

    monkeypatch.setattr("faceveil.protection.Protector.cloak", fail)
    assert run(me) == 1
    assert capfd.readouterr().err.count("\n") == 1
    assert not me.with_name("me-cloaked.jpg").exists()


def test_tells_where_pictures_are_whatever_way_their_photos_were_named(me, monkeypatch, capsys):
    monkeypatch.chdir(me.parent)
    Photo.from_array(portrait()).save("you.png")
    assert run(me, "you.png", "--picture", "--judge", "dlib") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-2:] == [
        f"before and after (for yourself, as they show clear faces): 2 in {me.parent}",
        "2 cloaked, 0 there already, 0 without a face to cloak (not copied), 0 failed, 0 still recognized",
    ]


def test_a_files_name_says_nothing_to_the_terminal(tmp_path, capsys):
    photo = Photo.from_array(portrait()).save(tmp_path / "me\x1b[31m\n.png")
    for _ in range(2):
        run(photo, "--picture", "--judge", "dlib")
    said = capsys.readouterr()
    assert "me?[31m?" in said.out.replace("\n", "")
    assert "\x1b[31m" not in said.out + said.err
