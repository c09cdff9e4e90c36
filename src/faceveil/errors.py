"""What can go wrong, as one tree.

FaceveilError
├── PhotoError               a photo that cannot be read or written
│   ├── UnreadablePhotoError   not an image, truncated, animated, too large, no permission
│   └── UnwritablePhotoError   the place exists already, or cannot be written
├── NoFaceError              no face in a photo, or none of those asked for
├── WeightsError             weights that are missing, damaged or do not fit
├── ServiceError             a service that refuses, or bytes that are none of its messages
└── SettingError             a value that makes no sense

Every message is one line that says what was found and what to do next.
"""


class FaceveilError(Exception):
    """Anything that faceveil reports to the person who uses it."""


class PhotoError(FaceveilError):
    """A photo that cannot be read or written."""


class UnreadablePhotoError(PhotoError):
    """A file that cannot be opened as one photo."""


class UnwritablePhotoError(PhotoError):
    """A place where a photo cannot be written."""


class NoFaceError(FaceveilError):
    """No face in a photo, or none of those asked for."""


class WeightsError(FaceveilError):
    """Weights that are missing, damaged or do not fit their network."""


class ServiceError(FaceveilError):
    """A service that refuses, or bytes that are none of its messages."""


class SettingError(FaceveilError, ValueError):
    """A setting that makes no sense."""
