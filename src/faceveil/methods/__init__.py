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
from faceveil.methods.settings import fits, plain, within, wrong
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
    """The method of that name, with settings of its own; a list may stand for a tuple, NumPy's numbers for others.

    Raises `SettingError` for a name or a setting unknown, and for a value of another kind or that makes no sense.
    """
    if name not in METHODS:
        raise SettingError(f"no method is called {name!r}; there are {', '.join(METHODS)}")
    known = {key: one for key, one in inspect.signature(METHODS[name]).parameters.items() if key != "surrogates"}
    own = {}
    for setting, value in (settings or {}).items():
        if setting not in known:
            raise SettingError(f"{name} has no setting {setting!r}; it has {', '.join(known)}")
        own[setting], kind = plain(value), known[setting].annotation
        if not (fits(own[setting], kind) and within(own[setting], setting)):
            raise SettingError(f"{name}: {wrong(setting, value, kind)}")
    return METHODS[name](tuple(surrogates), **own)


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
