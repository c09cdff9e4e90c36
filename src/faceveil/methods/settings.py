"""What the settings of methods may be: of the kinds that their classes say, and within what their names mean."""

import math
import sys
from collections.abc import Collection, Mapping
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from faceveil.errors import SettingError
from faceveil.faces.region import GRID
from faceveil.files import one_line

# Which numbers settings may be, by their names, which mean the same in every method; others may be any finite number.
COUNTS = range(1, 10**6 + 1)
WHOLE: Mapping[str, range] = {
    **dict.fromkeys(("batch", "identities", "negatives", "power", "steps"), COUNTS),
    "kernel": range(1, GRID),  # pixels: a blur that is narrower than the grid
    "seed": range(2**63),
}
LEVELS = ("epsilon", "start")  # of 8 bits: more than 0, and at most 255
POSITIVE = (*LEVELS, "dssim", "rate", "sigma", "step_size", "stride")  # 0 would lead nowhere
FROM_0 = ("apart", "away", "decay", "gamma", "jitter", "margin", "penalty", "price", "scatter")  # less makes no sense


def plain(value: Any) -> Any:
    """Numbers of other packages, as NumPy's, as Python's own; a list as a tuple."""
    if isinstance(value, list | tuple):
        return tuple(map(plain, value))
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else _float(value)


def _float(value: Any) -> float:
    """The nearest float: infinite where Python refuses a number that is too large."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def fits(value: Any, kind: Any) -> bool:
    """Whether a plain value is of a kind, a whole number being a float, too; of a tuple, each of its values."""
    kinds = get_args(kind)
    if isinstance(kind, UnionType):
        return any(fits(value, one) for one in kinds)
    if get_origin(kind) is tuple and isinstance(value, tuple):
        kinds = kinds[:1] * len(value) if kinds[-1] is ... else kinds
        return len(value) == len(kinds) and all(map(fits, value, kinds))
    if kind in (int, float):
        return type(value) in (int, kind)
    return isinstance(value, get_origin(kind) or kind)


def within(value: Any, setting: str) -> bool:
    """Whether the numbers in a plain value are such as that setting may be."""
    if isinstance(value, tuple):
        return all(within(each, setting) for each in value)
    if not isinstance(value, int | float):
        return True
    if setting in WHOLE:
        return value in WHOLE[setting]
    enough = value > 0 if setting in POSITIVE else value >= 0 if setting in FROM_0 else True
    return enough and abs(value) <= (255 if setting in LEVELS else sys.float_info.max)


def one_of(known: Collection[str], **settings: str) -> None:
    """Raises `SettingError` for the first of some settings that is none of those known."""
    for name, value in settings.items():
        if value not in known:
            raise SettingError(f"{name} is {value!r}; it is one of {', '.join(known)}")


def wrong(setting: str, value: Any, kind: Any) -> str:
    """What a setting of a kind is, and what it may be."""
    return f"{setting} is {_shown(value)}; give {_words(kind, setting)}"


def _shown(value: Any) -> str:
    try:
        return one_line(repr(value))
    except ValueError:  # Python writes no number of more than 4300 digits
        return "too long to be shown"


def _words(kind: Any, setting: str) -> str:
    if isinstance(kind, UnionType):
        return " or ".join(_words(one, setting) for one in get_args(kind) if one is not NoneType)
    if get_origin(kind) is tuple:
        return f"[{', '.join('...' if one is ... else _words(one, setting) for one in get_args(kind))}]"
    if kind is int:
        return f"a whole number from {WHOLE[setting][0]} to {WHOLE[setting][-1]}"
    if setting in LEVELS:
        return "8-bit levels, more than 0 and at most 255"
    if kind is float:
        more = " greater than 0" if setting in POSITIVE else " from 0" if setting in FROM_0 else ""
        return f"a number{more}"
    return "text" if kind is str else str(getattr(kind, "__name__", kind))
