"""What the README shows works as it stands there."""

import re
from pathlib import Path

from faceveil import Photo
from people import portrait

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")


def test_its_python_runs(tmp_path, monkeypatch, capsys):
    first, then = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    Photo.from_array(portrait()).save(tmp_path / "me.jpg")
    monkeypatch.chdir(tmp_path)
    known = {}
    exec(compile(first, "README.md", "exec"), known)
    assert (tmp_path / "me-cloaked.jpg").exists()
    assert capsys.readouterr().out.count("not recognized") == 3
    exec(compile(then, "README.md", "exec"), known)
    assert capsys.readouterr().out.count("recognizer='mine'") == 3


def test_the_files_it_links_to_are_there():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    assert all((Path(__file__).parents[1] / link).exists() for link in links)


def test_nothing_is_left_to_be_filled_in():
    assert not re.findall(r"@[A-Z]+@", README)
