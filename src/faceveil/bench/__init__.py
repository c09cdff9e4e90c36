"""Bench: published experiments, measured again on data and with recognizers that are at hand."""

from collections.abc import Mapping

from faceveil.bench.apf.leak import LEAK
from faceveil.bench.apf.matching import MATCHING
from faceveil.bench.apf.tables import TABLES
from faceveil.bench.apf.transfer import TRANSFER
from faceveil.bench.base import Cell, Experiment, Plan, Table
from faceveil.bench.cilloni.breadth import BREADTH
from faceveil.bench.cilloni.clustering import CLUSTERING
from faceveil.bench.cilloni.identification import IDENTIFICATION
from faceveil.bench.cilloni.strategies import STRATEGIES
from faceveil.bench.cilloni.verification import VERIFICATION
from faceveil.bench.ghafourian import GHAFOURIAN
from faceveil.bench.held_out import FRONTIER, HELD_OUT
from faceveil.bench.report import write
from faceveil.bench.running import Run, run
from faceveil.bench.tip_im.black_box import BLACK_BOX
from faceveil.bench.tip_im.naturalness import NATURALNESS
from faceveil.bench.vos import HARDENING

EXPERIMENTS: Mapping[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        STRATEGIES,
        VERIFICATION,
        IDENTIFICATION,
        BREADTH,
        CLUSTERING,
        GHAFOURIAN,
        BLACK_BOX,
        NATURALNESS,
        HARDENING,
        HELD_OUT,
        FRONTIER,
        TABLES,
        TRANSFER,
        MATCHING,
        LEAK,
    )
}

__all__ = ["EXPERIMENTS", "Cell", "Experiment", "Plan", "Run", "Table", "run", "write"]
