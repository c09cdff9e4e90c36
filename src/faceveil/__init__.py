"""faceveil cloaks the faces in your photos so that face recognition cannot tell who you are, and proves it."""

__version__ = "0.1.0"
