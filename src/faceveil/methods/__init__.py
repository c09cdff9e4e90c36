"""Methods: complete systems, composed of recognizers, objectives and attacks; one per file."""

import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from faceveil.errors import SettingError
from faceveil.methods.advfaces import AdvFaces
from faceveil.methods.apf import Apf
from faceveil.methods.base import Method, Personal
from faceveil.methods.cilloni import Cilloni
from faceveil.methods.deidentification import Deidentification
from faceveil.methods.fawkes import Fawkes
from faceveil.methods.latent import Latent
from faceveil.methods.lowkey import LowKey
from faceveil.methods.opom import Opom
from faceveil.methods.tip_im import TipIm
from faceveil.methods.universal import UniversalMethod
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
    "advfaces": AdvFaces,
    "latent": Latent,
    "apf": Apf,
    "uap": partial(UniversalMethod, model="uap"),
    "gap": partial(UniversalMethod, model="gap"),
    "rhp": partial(UniversalMethod, model="rhp"),
}

# Methods that are to be used with several recognizers where nothing is said.
ENSEMBLES = ("veil", "lowkey")

# What a method is to be used with where nothing is said, and it is not dlib's recognizer: APF's probe.
SURROGATES: Mapping[str, tuple[str, ...]] = {"apf": ("mobilefacenet-foamliu",)}

# What settings may be, beside their types: whole numbers, and numbers of which 0 or less would lead nowhere.
COUNTS = range(1, 10**6 + 1)  # of faces, steps, people ...
WHOLE: Mapping[str, range] = {"seed": range(2**63)}  # no counts
POSITIVE = ("dssim", "rate", "sigma", "start", "step_size", "stride")


def build(name: str, surrogates: Sequence[Recognizer], settings: Mapping[str, Any] | None = None) -> Method:
    """The method of that name, with settings of its own; a list may stand for a tuple.

    Raises `SettingError` for a name or a setting unknown, and for a value of another kind or that makes no sense.
    """
    if name not in METHODS:
        raise SettingError(f"no method is called {name!r}; there are {', '.join(METHODS)}")
    known = {key: one for key, one in inspect.signature(METHODS[name]).parameters.items() if key != "surrogates"}
    own = {}
    for setting, value in (settings or {}).items():
        if setting not in known:
            raise SettingError(f"{name} has no setting {setting!r}; it has {', '.join(known)}")
        own[setting] = tuple(value) if isinstance(value, list) else value
        if not _fits(own[setting], kind := known[setting].annotation, setting):
            raise SettingError(f"{name}: {setting} is {value!r}; give {_words(kind, setting)}")
    return METHODS[name](tuple(surrogates), **own)


def _fits(value: Any, kind: Any, setting: str) -> bool:
    """Whether a setting of a kind may have a value: numbers in their range, an int being a float, too; their tuples."""
    kinds = get_args(kind)
    if isinstance(kind, UnionType):
        return any(_fits(value, one, setting) for one in kinds)
    if get_origin(kind) is tuple and isinstance(value, tuple):
        kinds = kinds[:1] * len(value) if kinds[-1] is ... else kinds
        return len(value) == len(kinds) and all(map(partial(_fits, setting=setting), value, kinds))
    if kind is int:
        return type(value) is int and value in WHOLE.get(setting, COUNTS)
    if kind is float:
        above = 0 if setting in POSITIVE else -math.inf
        return (isinstance(value, float) or type(value) is int) and bool(above < value <= sys.float_info.max)
    return isinstance(value, get_origin(kind) or kind)


def _words(kind: Any, setting: str) -> str:
    """What a setting of a kind may be."""
    if isinstance(kind, UnionType):
        return " or ".join(_words(one, setting) for one in get_args(kind) if one is not NoneType)
    if get_origin(kind) is tuple:
        return f"[{', '.join('...' if one is ... else _words(one, setting) for one in get_args(kind))}]"
    whole = WHOLE.get(setting, COUNTS)
    number = "a number greater than 0" if setting in POSITIVE else "a number"
    words = {int: f"a whole number from {whole[0]} to {whole[-1]}", float: number, str: "text"}
    return words.get(kind) or str(getattr(kind, "__name__", kind))


__all__ = [
    "ENSEMBLES",
    "METHODS",
    "SURROGATES",
    "AdvFaces",
    "Apf",
    "Cilloni",
    "Deidentification",
    "Fawkes",
    "Latent",
    "LowKey",
    "Method",
    "Opom",
    "Personal",
    "TipIm",
    "UniversalMethod",
    "Veil",
    "build",
]
