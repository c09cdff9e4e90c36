"""Methods: complete systems, composed of recognizers, objectives and attacks; one per file."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

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


def build(name: str, surrogates: Sequence[Recognizer], settings: Mapping[str, Any] | None = None) -> Method:
    """The method of that name, with settings of its own.

    Raises `SettingError` for a name or a setting unknown, and for a value of another kind.
    """
    if name not in METHODS:
        raise SettingError(f"no method is called {name!r}; there are {', '.join(METHODS)}")
    settings = settings or {}
    known = {key: one for key, one in inspect.signature(METHODS[name]).parameters.items() if key != "surrogates"}
    for setting, value in settings.items():
        if setting not in known:
            raise SettingError(f"{name} has no setting {setting!r}; it has {', '.join(known)}")
        if not _fits(value, kind := known[setting].annotation):
            raise SettingError(f"{name}: {setting} is {value!r}, not {getattr(kind, '__name__', kind)}")
    return METHODS[name](tuple(surrogates), **settings)


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a kind, an int being a float, too; of a kind that cannot be checked is no plain value."""
    try:
        return isinstance(value, kind) or (type(value) is int and isinstance(float(value), kind))
    except TypeError:
        return not isinstance(value, str | int | float)


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
