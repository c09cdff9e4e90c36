"""Photos: read with everything that makes them look right, written without what tells on a person."""

from faceveil.photo.formats import SUFFIXES, format_named, format_of
from faceveil.photo.photo import MAX_PIXELS, Photo
from faceveil.photo.sharing import jpeg, resize

__all__ = ["MAX_PIXELS", "SUFFIXES", "Photo", "format_named", "format_of", "jpeg", "resize"]
