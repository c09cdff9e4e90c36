"""What the README shows works as it stands there."""

import re
from pathlib import Path

from faceveil import Photo, recognizers
from people import portrait

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")


def test_its_python_runs(tmp_path, monkeypatch, capsys):
    Photo.from_array(portrait()).save(tmp_path / "me.jpg")
    monkeypatch.chdir(tmp_path)
    said = []
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(block, "README.md", "exec"), {})
        said.append(capsys.readouterr().out)
    assert (tmp_path / "me-cloaked.jpg").exists()
    protecting, comparing, own = said
    assert protecting.count("not recognized") == 3
    assert float(comparing.split()[0]) > recognizers.load("dlib").threshold
    assert own.count("recognizer='mine'") == 3


def test_the_files_it_links_to_are_there():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    assert all((Path(__file__).parents[1] / link).exists() for link in links)


def test_nothing_is_left_to_be_filled_in():
    assert not re.findall(r"@[A-Z]+@", README)
