"""Cilloni et al., 2020: an experiment per figure or table, a file each."""

from typing import Any

from faceveil.bench.material import Cloaked, Material
from faceveil.methods.cilloni import Cilloni
from faceveil.recognizers.remembering import Remembering

PAPER = "Cilloni et al., 2020: Preventing Personal Data Theft from Images with Adversarial Machine Learning"
PAPERS = "paper: PubFig83 / FaceScrub"  # the column of what it prints of both


def cloaked(material: Material, **settings: Any) -> Cloaked:
    """The photos cloaked by the method's settings, no selection without any, with the recognizer's fast copy."""
    return material.cloaked(Cilloni((Remembering(material.recognizer),), seed=material.seed, **settings).aligned)
