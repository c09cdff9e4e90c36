"""`faceveil bench held-out` with fewer people or other cloaks, where 200 people would take too long.

    FACEVEIL_MIRROR=../shared/zoo/files python experiments/held_out.py ../shared/data/lfw out/bench/held-out --probes 60

Cells are those of the experiment: a run that is stopped goes on, and the report is the same.
"""

import argparse
from dataclasses import replace
from itertools import chain
from pathlib import Path

import torch
from rich.progress import track

from faceveil import bench, datasets, recognizers
from faceveil.bench import held_out, report
from faceveil.bench.held_out import FRONTIER, HELD_OUT, at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--frontier", action="store_true", help="the methods beside each other")
    parser.add_argument("--probes", type=int, default=60)
    parser.add_argument("--twice", type=int, default=held_out.TWICE, help="people of whom two photos are cloaked")
    parser.add_argument("--cloaks", nargs="+", help='"veil light", "veil 40", "bim 8" ...; all unless given')
    parser.add_argument("--against", nargs="+", help='"dlib", "dlib+facenet" ...; all unless given')
    parser.add_argument("--judges", nargs="+", help="all unless given; one alone judges cloaks against itself, too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    held_out.TWICE = arguments.twice
    experiment = FRONTIER if arguments.frontier else HELD_OUT
    cloaks = [cloak(each) for each in arguments.cloaks or ()]
    plan = replace(experiment.full, settings=at(arguments.probes, *(cloaks or experiment.full.settings)))
    groups = [group.split("+") for group in arguments.against or experiment.recognizers]
    judges = arguments.judges or experiment.judges
    loaded = {name: recognizers.load(name) for name in {*chain(*groups), *judges}}
    data = {arguments.data.name: datasets.open(arguments.data)}
    finished = bench.run(
        replace(experiment, full=plan, at_most=arguments.probes),
        data,
        [tuple(loaded[name] for name in group) for group in groups],
        arguments.out,
        judges=[loaded[name] for name in judges],
        track=track,
    )
    report.write(finished, arguments.out)
    print(report.text(finished))


def cloak(told: str) -> dict[str, str | float]:
    """A method at a strength, a quality (veil's) or an epsilon: "veil light", "veil 40", "bim 8"."""
    method, how = told.split()
    if how[0].isdigit():
        return {"method": method, "quality" if method == "veil" else "epsilon": float(how)}
    return {"method": method, "strength": how}


if __name__ == "__main__":
    main()
