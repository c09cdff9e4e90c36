"""Bench: published experiments, measured again on data and with recognizers that are at hand."""

from faceveil.bench.base import Cell, Experiment, Plan, Table
from faceveil.bench.report import write
from faceveil.bench.running import Run, run

__all__ = ["Cell", "Experiment", "Plan", "Run", "Table", "run", "write"]
