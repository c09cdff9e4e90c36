"""Maximum mean discrepancy: how far the distribution of some pictures lies from that of others."""

from torch import Tensor

from faceveil.types import Aligned, Images

# The kernels' widths in TIP-IM's released code (mmd.py): for squared distances in 8-bit levels.
WIDTHS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1, 5, 10, 15, 20, 25, 30, 35, 100, 1e3, 1e4, 1e5, 1e6)


def mmd(images: Images, others: Aligned, widths: tuple[float, ...] = WIDTHS) -> Tensor:
    """The squared maximum mean discrepancy of images [n, 3, h, w] and others [m, 3, h, w]; differentiable.

    TIP-IM, Eq. 3 (Yang et al., 2021): mean k(x, x') + mean k(y, y') - 2 mean k(x, y), where k is a sum of Gaussian
    kernels exp(-|x - y|^2 / (2 width)) on whole pictures in 8-bit levels. Its code divides this by n.
    """

    def kernel(some: Tensor, more: Tensor) -> Tensor:
        away = (255 * (some[:, None] - more[None])).square().sum((2, 3, 4))
        return sum(((-away / (2 * width)).exp().mean() for width in widths), away.new_zeros(()))

    return kernel(images, images) + kernel(others, others) - 2 * kernel(images, others)
