import json
import subprocess
import sys
from pathlib import Path

import pytest

from faceveil import __version__
from faceveil.cli import main
from faceveil.cli.report import show_json

ROOT = Path(__file__).parents[2]


def test_prints_its_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == f"faceveil {__version__}"


def test_its_documentation_is_up_to_date():
    command = [sys.executable, "-m", "typer", "faceveil.cli", "utils", "docs", "--name", "faceveil"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert (ROOT / "docs/cli.md").read_text("utf-8").split() == printed.split(), "run: make docs"


def test_help_shows_what_stands_in_brackets(capsys):
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    assert 'pip install ".[serve]"' in " ".join(capsys.readouterr().out.split())


def test_completes_commands_in_the_shell():
    environment = {"_FACEVEIL_COMPLETE": "complete_bash", "COMP_WORDS": "faceveil pro", "COMP_CWORD": "1"}
    program = "import sys; sys.argv[0] = 'faceveil'; from faceveil.cli import main; main()"
    printed = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert "protect" in printed.stdout


@pytest.mark.parametrize("arguments", [["protect"], ["protect", "--strength", "huge", "me.jpg"], ["nonsense"]])
def test_a_command_that_is_not_understood_ends_with_2(arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_a_stopped_command_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("faceveil.datasets.open", stop)
    with pytest.raises(SystemExit) as ended:
        main(["calibrate", str(tmp_path)])
    assert ended.value.code == 130
    assert capsys.readouterr().err == "faceveil: stopped; run the same command again to go on\n"


def test_numbers_that_are_none_are_null(capsys):
    show_json({"a": float("nan"), "b": [1.5, float("inf"), None, {"c": float("-inf")}], "d": (Path("x"), "NaN")})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [1.5, None, None, {"c": None}], "d": ["x", "NaN"]}


def test_a_full_disk_is_one_line_and_no_traceback(tmp_path, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "a\nfile")

    monkeypatch.setattr("faceveil.datasets.open", full)
    with pytest.raises(SystemExit) as ended:
        main(["calibrate", str(tmp_path)])
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith("faceveil: ") and told.count("\n") == 1
    assert told.endswith("; make room, or check permissions, and run the same command again to go on\n")
