"""Face recognizers: real weights, on cards."""

from faceveil.recognizers.base import Recognizer, Wanted, load
from faceveil.recognizers.card import Card, names

__all__ = ["Card", "Recognizer", "Wanted", "load", "names"]
