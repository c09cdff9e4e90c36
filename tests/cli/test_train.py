"""`faceveil train apf` and `universal`, on two photos of one person."""

import json
import sys
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
import typer
from PIL import Image

from faceveil import __version__, trained
from faceveil.cli import main
from faceveil.cli.train import _Material, app
from faceveil.datasets import Faces
from faceveil.errors import SettingError
from faceveil.methods.apf.cloud import load
from faceveil.methods.apf.learning import Learning
from faceveil.training import Engine
from people import portrait


@pytest.fixture
def person(tmp_path):
    return people(tmp_path / "people", (portrait(), portrait()[:, ::-1]))


def people(folder, photos):
    """A folder of photos of somebody."""
    (folder / "somebody").mkdir(parents=True)
    for number, pixels in enumerate(photos):
        Image.fromarray(pixels).save(folder / "somebody" / f"{number}.png")
    return folder


def run(*command):
    """The command's exit code."""
    with pytest.raises(SystemExit) as stopped:
        main(["train", *map(str, command)])
    return stopped.value.code


SMALL = ["--steps", "1", "--ascents", "1", "--transfers", "1", "--epochs", "1", "--width", "1", "--device", "cpu"]


def test_apf_learns_goes_on_and_tells_how(person, tmp_path, capsys, monkeypatch):
    out = tmp_path / "apf"
    monkeypatch.setattr(
        sys, "argv", ["faceveil", "train", "apf", "--data", "C:\\Users\\Jane\\faces", "-o", "/home/jane/out"]
    )
    assert run("apf", "--data", person, "--probe", "dlib", "--server", "dlib", "-o", out, *SMALL) == 0
    assert "apf.safetensors (" in capsys.readouterr().out
    cloud, kept = load(out / "apf.safetensors"), trained.read(out / "apf.safetensors")
    assert (cloud.epsilon, cloud.values) == (8.0, 2)
    assert kept.recipe["people"] == ["somebody"]
    assert (kept.recipe["probe"], kept.recipe["servers"], kept.recipe["pairs"]) == ("dlib", ["dlib"], 2)
    assert kept.recipe["command"] == "faceveil train apf --data faces -o out"
    assert kept.recipe["version"] == __version__
    assert (kept.recipe["learning"]["width"], kept.recipe["learning"]["rate"]) == (1, 1e-4)
    assert json.loads((out / "apf.json").read_text("utf-8"))["options"]["width"] == 1
    assert kept.recipe["last_session_minutes"] >= 0  # no more is known where a run was stopped
    assert "minutes" not in kept.recipe


def test_a_used_folder_is_for_the_same_photos_and_servers(person, tmp_path, capsys):
    out = tmp_path / "uap"
    learn = ["universal", "uap", "--passes", "1", "--device", "cpu", "-o", out, "--server", "dlib", "--data"]
    assert [run(*learn, person), run(*learn, person)] == [0, 0]
    assert trained.read(out / "uap.safetensors").recipe["learning"]["passes"] == 1
    capsys.readouterr()
    others = people(tmp_path / "others", (portrait() // 2, portrait()[:, ::-1] // 2))
    for changed in ((others,), (person, "--server", "dlib")):
        assert run(*learn, *changed) == 2
        assert "is of a run with data" in capsys.readouterr().err


def test_of_several_devices_the_first_writes(person, tmp_path, monkeypatch):
    learn = ["universal", "uap", "--passes", "1", "--device", "cpu", "--server", "dlib", "--data", person, "-o"]
    monkeypatch.setenv("RANK", "1")
    assert run(*learn, tmp_path / "out") == 0
    assert not (tmp_path / "out" / "uap.safetensors").exists()


@pytest.fixture
def album(monkeypatch):
    """What `prepare` finds in any data: people of three photos each."""

    def prepare(people):
        labels, store = np.arange(len(people)).repeat(3), np.zeros((1, 112, 112, 3), np.uint8)
        names = tuple(map(str, range(len(labels))))
        faces = Faces(names, labels, tuple(people), {}, np.zeros(len(labels), np.int64), store)
        dataset = SimpleNamespace(identities=lambda: dict.fromkeys(people, 3))
        monkeypatch.setattr("faceveil.datasets.open", lambda data: dataset)
        monkeypatch.setattr("faceveil.datasets.prepare", lambda *_, **__: faces)

    return prepare


@pytest.fixture
def no_search(monkeypatch):
    """To look for faces fails."""
    monkeypatch.setattr("faceveil.datasets.prepare", lambda *_, **__: pytest.fail("faces were looked for"))


def gathered(without=None):
    """The photos that are learned from."""
    return _Material.of("data", 2, without, (), Engine("cpu")).chosen.tolist()


@pytest.mark.parametrize(
    "written",
    [
        b"Aaron\nZo\xc3\xab\n",
        b"Aaron\r\nZo\xc3\xab\r\n",
        b"\xef\xbb\xbfAaron\r\nZo\xc3\xab",
        b"\n Zo\xc3\xab \nAaron\nNobody",
    ],
    ids=["Unix", "Windows", "Notepad", "spaces"],
)
def test_people_stay_out_whatever_wrote_their_names(written, album, tmp_path):
    album(["Aaron", "Bea", "Zoë"])
    (tmp_path / "out.txt").write_bytes(written)
    assert gathered() == [0, 1, 3, 4, 6, 7]
    assert gathered(tmp_path / "out.txt") == [3, 4]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (b"Aaron Eckhart\n", r"none of its 1 names is of anybody in data; .* like Aaron_Eckhart$"),
        (b"\r\n", r"none of its 0 names is of anybody in data"),
        ("Zoë\n".encode("latin-1"), r"out.txt cannot be read as UTF-8 \(.*\); give names as plain text$"),
        (None, r"out.txt cannot be read as UTF-8 \(.*No such file.*\)"),
    ],
    ids=["nobody", "empty", "Latin-1", "missing"],
)
def test_a_list_that_keeps_nobody_out_is_refused_at_once(written, message, album, request, tmp_path):
    album(["Aaron_Eckhart", "Zoë"])
    request.getfixturevalue("no_search")
    if written is not None:
        (tmp_path / "out.txt").write_bytes(written)
    with pytest.raises(SettingError, match=message):
        gathered(tmp_path / "out.txt")


@pytest.mark.parametrize(
    ("written", "warning"),
    [
        ("Zoë\n", ""),
        ("Zoë\nBee\n", "1 of its 2 names fit nobody in data (Bee); write them as they are there, like Aaron\n"),
        ("D\nB\nZoë\nC\nB\nA\n", "4 of its 5 names fit nobody in data (D, B, C, ...); write them"),
        ("Zoë\nB\x1b[31m\n", "1 of its 2 names fit nobody in data (B?[31m); write them"),
    ],
)
def test_names_that_are_nobody_s_are_warned_of_in_a_line(written, warning, album, tmp_path, capsys):
    album(["Aaron", "Bea", "Zoë"])
    (tmp_path / "out.txt").write_text(written, "utf-8")
    assert gathered(tmp_path / "out.txt") == [0, 1, 3, 4]
    told = capsys.readouterr().err
    assert told.count("\n") == bool(warning)
    assert told.startswith(f"faceveil: warning: {tmp_path / 'out.txt'}: {warning}" if warning else "")


@pytest.mark.parametrize("photos", [["a/1.png", "b/1.png"], ["1.png", "2.png"]], ids=["one each", "of nobody"])
def test_people_of_one_photo_are_not_searched_for_faces(photos, no_search, tmp_path, capsys):
    for photo in photos:
        (tmp_path / "data" / photo).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / photo).touch()
    data = ["--data", tmp_path / "data", "--server", "dlib", "-o", tmp_path / "out"]
    assert run("latent", *data, "--without", tmp_path / "none.txt") == 2
    assert "nobody has two photos with a face" in capsys.readouterr().err


def test_which_numbers_are_not_the_paper_s_is_said():
    command = typer.main.get_command(app).commands["apf"]
    paper = asdict(Learning())
    ours = [each.name for each in command.params if each.name in paper and each.default != paper[each.name]]
    assert len(paper.keys() & {each.name for each in command.params}) == len(paper)
    assert ours == ["values", "own"]
    assert "--ascents, --transfers, --values\nand --own ours" in command.help


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(
            (("universal", name, "--epsilon=-8"), "epsilon is -8; it counts 8-bit levels")
            for name in ("uap", "gap", "rhp")
        ),
        (("universal", "gap", "--epsilon", "nan"), "epsilon is nan; it counts 8-bit levels"),
        (("universal", "gap", "--seed", 10**30), "seed is too far from 0; choose 0 or more, and less than 2**63"),
        (("latent", "--dssim=-1"), "dssim is -1; choose more than 0"),
        (("latent", "--dssim", "inf"), "dssim is too far from 0; choose more than 0"),
        (("advfaces", "--identity=-5"), "identity is -5; choose 0 or more"),
        (("advfaces", "--size=-2"), "size is -2; choose 0 or more"),
        (("advfaces", "--norm", "nan"), "norm is nan; choose 0 or more"),
        (("apf", "--rate", "inf"), "rate is too far from 0; choose more than 0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused_before_a_photo_is_read(arguments, message, tmp_path, capsys):
    assert run(*arguments, "--data", tmp_path / "nowhere", "--server", "dlib", "-o", tmp_path / "out") == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("universal", "cw"), "no universal attack is called 'cw'; there are uap, gap, rhp"),
        (("universal", "uap", "--without", "{out}"), "nobody has two photos with a face"),
        (("apf", "--precision", "8-bit"), "precision is '8-bit'"),
        (("apf", "--attack", "cw"), "attack is 'cw'"),
        (("apf", "--rate", "-1"), "rate is -1; choose more than 0"),
        (("advfaces", "--rate", "0"), "rate is 0; choose more than 0"),
        (("latent", "--rate", "nan"), "rate is nan; choose more than 0"),
    ],
)
def test_says_in_a_line_what_is_wrong(arguments, message, person, tmp_path, capsys):
    out = tmp_path / "out.txt"
    out.write_text("somebody\n")
    asked = [word.format(out=out) for word in arguments]
    probe = ["--probe", "dlib"] if "apf" in asked else []
    assert run(*asked, "--data", person, "--server", "dlib", "-o", tmp_path / "out", *probe) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert message in told[0]
