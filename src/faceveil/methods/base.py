"""The contract: a method cloaks faces in their photos, all of a batch together."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from faceveil.faces.region import Region
from faceveil.types import Images


class Method(ABC):
    """Regions around n faces to their cloaked images [n, 3, GRID, GRID], on the same grid."""

    @abstractmethod
    def __call__(self, regions: Sequence[Region]) -> Images:
        """Cloaked images, in the regions' order; a face's cloak does not depend on the others."""
