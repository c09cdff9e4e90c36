"""Face recognizers: real weights, on cards."""

from faceveil.recognizers.base import Recognizer, load
from faceveil.recognizers.card import Card, names
from faceveil.recognizers.ensemble import Ensemble

__all__ = ["Card", "Ensemble", "Recognizer", "load", "names"]
