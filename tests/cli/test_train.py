"""`faceveil train apf` and `universal`, on two photos of one person."""

import json

import pytest
from PIL import Image

from faceveil import trained
from faceveil.cli import main
from faceveil.methods.apf.cloud import load
from people import portrait


@pytest.fixture
def person(tmp_path):
    folder = tmp_path / "people" / "somebody"
    folder.mkdir(parents=True)
    for number, pixels in enumerate((portrait(), portrait()[:, ::-1])):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder.parent


SMALL = ["--steps", "1", "--ascents", "1", "--transfers", "1", "--epochs", "1", "--width", "1", "--device", "cpu"]


def test_apf_learns_goes_on_and_tells_how(person, tmp_path, capsys):
    out = tmp_path / "apf"
    learn = ["train", "apf", "--data", str(person), "--probe", "dlib", "--server", "dlib", "-o", str(out), *SMALL]
    with pytest.raises(SystemExit) as stopped:
        main(learn)
    assert stopped.value.code == 0
    assert "apf.safetensors (" in capsys.readouterr().out
    cloud, kept = load(out / "apf.safetensors"), trained.read(out / "apf.safetensors")
    assert (cloud.epsilon, cloud.values) == (8.0, 2)
    assert kept.recipe["people"] == ["somebody"]
    assert (kept.recipe["probe"], kept.recipe["servers"], kept.recipe["pairs"]) == ("dlib", ["dlib"], 2)
    assert kept.recipe["command"].startswith("faceveil ")
    assert json.loads((out / "apf.json").read_text("utf-8"))["options"]["width"] == 1


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
    with pytest.raises(SystemExit) as stopped:
        main(
            ["train", *asked, "--data", str(person), "--server", "dlib", "-o", str(tmp_path / "out")]
            + (["--probe", "dlib"] if "apf" in asked else [])
        )
    assert stopped.value.code == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1
    assert message in told[0]
