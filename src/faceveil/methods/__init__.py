"""Methods: complete systems, composed of recognizers, objectives and attacks; one per file."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from faceveil.errors import SettingError
from faceveil.methods.base import Method, Personal
from faceveil.methods.cilloni import Cilloni
from faceveil.methods.deidentification import Deidentification
from faceveil.methods.fawkes import Fawkes
from faceveil.methods.lowkey import LowKey
from faceveil.methods.opom import Opom
from faceveil.methods.tip_im import TipIm
from faceveil.methods.veil import Veil
from faceveil.recognizers import Recognizer

METHODS: Mapping[str, Callable[..., Method]] = {
    "veil": Veil,
    "cilloni": Cilloni,
    "bim": partial(Deidentification, attack="bim"),
    "illc": partial(Deidentification, attack="illc"),
    "tip-im": TipIm,
    "fawkes": Fawkes,
    "lowkey": LowKey,
    "opom": Opom,
}


def build(name: str, surrogates: Sequence[Recognizer], settings: Mapping[str, Any] | None = None) -> Method:
    """The method of that name, with settings of its own; raises `SettingError` for a name or a setting unknown."""
    if name not in METHODS:
        raise SettingError(f"no method is called {name!r}; there are {', '.join(METHODS)}")
    settings = settings or {}
    known = [setting for setting in inspect.signature(METHODS[name]).parameters if setting != "surrogates"]
    unknown = [setting for setting in settings if setting not in known]
    if unknown:
        raise SettingError(f"{name} has no setting {unknown[0]!r}; it has {', '.join(known)}")
    return METHODS[name](tuple(surrogates), **settings)


__all__ = [
    "METHODS",
    "Cilloni",
    "Deidentification",
    "Fawkes",
    "LowKey",
    "Method",
    "Opom",
    "Personal",
    "TipIm",
    "Veil",
    "build",
]
