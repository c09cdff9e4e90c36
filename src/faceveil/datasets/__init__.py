"""Data sets: photos of people and pairs of them, aligned once and kept."""

from faceveil.datasets.base import Dataset, Pair, Sample
from faceveil.datasets.catalog import LAYOUTS, open
from faceveil.datasets.faces import Comparisons, Faces
from faceveil.datasets.preparation import prepare
from faceveil.datasets.splits import ROLES, Split

__all__ = ["LAYOUTS", "ROLES", "Comparisons", "Dataset", "Faces", "Pair", "Sample", "Split", "open", "prepare"]
