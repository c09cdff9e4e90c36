"""Reads MXNet's NDArray lists: https://github.com/apache/mxnet/blob/1.9.1/src/ndarray/ndarray.cc (version 2, dense)."""

import io
import math
import struct

import numpy as np
import torch
from torch import Tensor

VERSION = 0xF993FAC9


def arrays(data: bytes) -> dict[str, Tensor]:
    """The float32 arrays of a list by name, without the "arg:" or "aux:" before it."""
    stream = io.BytesIO(data)
    stream.seek(16)  # a magic number, and one that is reserved
    tensors = [_array(stream) for _ in range(_numbers(stream, "Q")[0])]
    names = [stream.read(_numbers(stream, "Q")[0]).decode() for _ in range(_numbers(stream, "Q")[0])]
    return {name.split(":", 1)[-1]: tensor for name, tensor in zip(names, tensors, strict=True)}


def _array(stream: io.BytesIO) -> Tensor:
    version, sparse, dimensions = _numbers(stream, "IiI")
    shape = _numbers(stream, f"{dimensions}q")
    _, _, kind = _numbers(stream, "iii")  # a device and its number come first
    if (version, sparse, kind) != (VERSION, 0, 0):
        raise ValueError("an array that is not dense float32, or of another version")
    return torch.from_numpy(np.frombuffer(stream.read(4 * math.prod(shape)), "<f4").reshape(shape).copy())


def _numbers(stream: io.BytesIO, kinds: str) -> tuple[int, ...]:
    return struct.unpack(f"<{kinds}", stream.read(struct.calcsize(f"<{kinds}")))
