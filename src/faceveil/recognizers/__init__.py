"""Face recognizers: real weights, on cards."""

from faceveil.recognizers.base import Recognizer, load
from faceveil.recognizers.card import Card, names

__all__ = ["Card", "Recognizer", "load", "names"]
