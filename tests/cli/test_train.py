"""`faceveil train apf` and `universal`, on two photos of one person."""

import json

import pytest
from PIL import Image

from faceveil import __version__, trained
from faceveil.cli import main
from faceveil.methods.apf.cloud import load
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


def test_apf_learns_goes_on_and_tells_how(person, tmp_path, capsys):
    out = tmp_path / "apf"
    assert run("apf", "--data", person, "--probe", "dlib", "--server", "dlib", "-o", out, *SMALL) == 0
    assert "apf.safetensors (" in capsys.readouterr().out
    cloud, kept = load(out / "apf.safetensors"), trained.read(out / "apf.safetensors")
    assert (cloud.epsilon, cloud.values) == (8.0, 2)
    assert kept.recipe["people"] == ["somebody"]
    assert (kept.recipe["probe"], kept.recipe["servers"], kept.recipe["pairs"]) == ("dlib", ["dlib"], 2)
    assert kept.recipe["command"].startswith("faceveil ")
    assert kept.recipe["version"] == __version__
    assert (kept.recipe["learning"]["width"], kept.recipe["learning"]["rate"]) == (1, 1e-4)
    assert json.loads((out / "apf.json").read_text("utf-8"))["options"]["width"] == 1


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("universal", "cw"), "no universal attack is called 'cw'; there are uap, gap, rhp"),
        (("universal", "uap", "--without", "{out}"), "nobody has two photos with a face"),
        (("apf", "--precision", "8-bit"), "precision is '8-bit'"),
        (("apf", "--attack", "cw"), "attack is 'cw'"),
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
