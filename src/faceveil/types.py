"""The shapes. They are checked at run time in the tests only (jaxtyping with beartype)."""

from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

Pixels = UInt8[ndarray, "_ _ 3"]  # a photo's 8-bit RGB
Images = Float[Tensor, "n 3 h w"]  # RGB in [0, 1]
Aligned = Float[Tensor, "n 3 height width"]  # images cut from others, of a size of their own
Directions = Float[Tensor, "n _ h w"]  # where images are to move; one channel where all three move alike
Picture = Float[Tensor, "3 rows columns"]  # one whole photo, RGB in [0, 1]
Embeddings = Float[Tensor, "n d"]  # unit length where the recognizer's card says so
Own = Float[Tensor, "_ _"]  # one surrogate's embeddings; each has a length of its own
PerImage = Float[Tensor, " n"]
Boxes = Float[Tensor, "n 4"]  # left, top, right, bottom; pixels, the edges of pixels (a whole photo is 0 0 w h)
Landmarks = Float[
    Tensor, "n 5 2"
]  # x, y of left eye, right eye, nose, left and right mouth corner, as seen in the photo
Matrices = Float[Tensor, "n 2 3"]  # an affine map (x, y, 1) -> (x, y); pixel centers lie at half-integers
