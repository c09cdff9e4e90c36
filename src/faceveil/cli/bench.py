"""`faceveil bench`: published experiments, measured again on this machine."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from faceveil import datasets, recognizers
from faceveil.bench import EXPERIMENTS, Experiment, Plan, report, run
from faceveil.bench.material import ListedPairs, People
from faceveil.cli.report import show_json, watch
from faceveil.device import choose
from faceveil.errors import SettingError

app = typer.Typer()


@app.command()
def bench(
    name: Annotated[str | None, typer.Argument(metavar="EXPERIMENT", help="One of those that are listed.")] = None,
    *,
    data: Annotated[
        list[str] | None, typer.Option(help="A data set, as PATH or NAME=PATH (may be repeated).", show_default=False)
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--recognizers",
            help="Names with commas between; with + between, cloaks are made against several together.",
            show_default="the experiment's",
        ),
    ] = None,
    judges: Annotated[
        str | None,
        typer.Option(help="Who measures cloaks that others made; with commas.", show_default="the experiment's"),
    ] = None,
    at_most: Annotated[
        int | None,
        typer.Option(
            min=2, help="So many people or probes of each data set, or pairs of each kind.", show_default="the paper's"
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A small version, for minutes instead of hours.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the report goes.", show_default="./bench/EXPERIMENT")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other people.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a published experiment again, and write a report: index.html, table.md, table.csv, cells.json, plots.

    Without an experiment, lists them. What is finished is kept: a run that was stopped goes on where it stood.

    Example: faceveil bench cilloni-strategies --data ~/facescrub --quick
    """
    if name is None:
        _list(as_json)
        return
    if name not in EXPERIMENTS:
        raise SettingError(f"no experiment is called {name!r}; there are {', '.join(EXPERIMENTS)}")
    experiment = _limited(EXPERIMENTS[name], at_most) if at_most else EXPERIMENTS[name]
    if not data:
        raise SettingError(f"say on which data: --data PATH; the paper's are {experiment.original}")
    sets = {label: datasets.open(where) for label, where in map(_named, data)}
    if judges and not experiment.judges:
        raise SettingError(f"in {name} recognizers judge the cloaks made against themselves; give --recognizers alone")
    groups = [each.split("+") for each in _listed(against, experiment.recognizers)]
    jury = _listed(judges, experiment.judges)
    loaded = {each: recognizers.load(each, choose(device)) for each in {*chain.from_iterable(groups), *jury}}
    makers = [tuple(loaded[each] for each in group) for group in groups]
    folder = output or Path("bench") / name
    jurors, watched = [loaded[each] for each in jury], partial(watch, quiet=as_json)
    finished = run(experiment, sets, makers, folder, judges=jurors, quick=quick, seed=seed, track=watched)
    report.write(finished, folder)
    if as_json:
        show_json(report.record(finished))
    else:
        typer.echo(report.text(finished))
        typer.echo(f"report: {folder / 'index.html'}")


def _list(as_json: bool) -> None:
    if as_json:
        show_json([{"name": each.name, "title": each.title, "paper": each.paper} for each in EXPERIMENTS.values()])
        return
    table = Table(Column("experiment", no_wrap=True), "what", Column("paper", overflow="fold"), box=None)
    for each in EXPERIMENTS.values():
        table.add_row(each.name, each.title, each.paper)
    Console().print(table)


def _limited(experiment: Experiment, most: int) -> Experiment:
    """The same on fewer people, probes or pairs."""

    def limited(plan: Plan) -> Plan:
        if isinstance(plan.choose, People):
            return replace(plan, choose=replace(plan.choose, people=min(most, plan.choose.people)))
        if isinstance(plan.choose, ListedPairs):
            return replace(plan, choose=replace(plan.choose, each=min(most, plan.choose.each or most)))
        if all("probes" in each for each in plan.settings):
            fewer = ({**each, "probes": min(most, int(each["probes"]))} for each in plan.settings)
            return replace(plan, settings=tuple(fewer))
        raise SettingError(f"{experiment.name} draws neither people nor pairs; leave --at-most out")

    return replace(experiment, full=limited(experiment.full), quick=limited(experiment.quick), at_most=most)


def _listed(names: str | None, usual: Sequence[str]) -> Sequence[str]:
    return [name.strip() for name in names.split(",")] if names else usual


def _named(text: str) -> tuple[str, str]:
    """A data set's name and path; the name is the folder's where none is given."""
    label, sign, path = text.partition("=")
    return (label, path) if sign else (Path(text).resolve().name, text)
