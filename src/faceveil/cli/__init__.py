"""The command line: a module for each command.

Exit codes: 0 all is well; 1 some photos failed, or someone is still recognized; 2 the command was not understood; 130
it was stopped.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from faceveil import __version__
from faceveil.cli.report import FAILED, STOPPED, USAGE, fail
from faceveil.errors import FaceveilError, SettingError
from faceveil.files import one_line

# PyTorch's threads wait for each other awake, but briefly: where they sleep at once, one face takes twice as
# long; where they stay awake, it takes twice as long on a busy machine
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # what a Mac's GPU lacks is done by its CPU; read at import

COMMANDS = ("protect", "check", "weights", "data", "calibrate", "bench", "harden", "train", "serve")
MARKUP: Literal["markdown"] = "markdown"  # of every help text


class Commands(TyperGroup):
    """Commands that are imported when they are used: a shell's completion need not wait for PyTorch."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            fail("stopped; run the same command again to go on")
            raise typer.Exit(STOPPED) from None

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        own = import_module(f"faceveil.cli.{cmd_name}").app
        own.rich_markup_mode = MARKUP
        command = typer.main.get_command(own)
        command.name = cmd_name
        return command


app = typer.Typer(
    name="faceveil",
    cls=Commands,
    help="Cloaks the faces in your photos against face recognition, and proves what that is worth.",
    no_args_is_help=True,
    rich_markup_mode=MARKUP,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool | None) -> None:
    if wanted:
        typer.echo(f"faceveil {__version__}")
        raise typer.Exit


@app.callback()
def _callback(
    version: Annotated[
        bool | None, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = None,
) -> None:
    """Cloaks the faces in your photos against face recognition, and proves what that is worth."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; a `FaceveilError` ends it with one line and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name need not be text
    try:
        app(arguments)
    except FaceveilError as error:
        fail(str(error))
        sys.exit(USAGE if isinstance(error, SettingError) else FAILED)
    except OSError as error:
        fail(f"{one_line(error)}; make room, or check permissions, and run the same command again to go on")
        sys.exit(FAILED)
