"""faceveil cloaks the faces in your photos against face recognition, and proves what that is worth."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from faceveil.errors import FaceveilError, NoFaceError, PhotoError, SettingError, WeightsError

if TYPE_CHECKING:
    from faceveil.methods.album import Album
    from faceveil.photo import Photo
    from faceveil.protection import Choice, Protector, Result, protect

__version__ = "0.1.0"
__all__ = [
    "Album",
    "Choice",
    "FaceveilError",
    "NoFaceError",
    "Photo",
    "PhotoError",
    "Protector",
    "Result",
    "SettingError",
    "WeightsError",
    "__version__",
    "protect",
]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, so that `faceveil --version` need not wait for PyTorch."""
    if name not in __all__:
        raise AttributeError(f"module 'faceveil' has no attribute {name!r}")
    return getattr(import_module("faceveil.photo" if name == "Photo" else "faceveil.protection"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
