"""Tensors by name, out of the containers in which weights are published; nothing in a file is ever executed."""

import io
import pickle
import re
import struct
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from faceveil.errors import WeightsError
from faceveil.recognizers import mxnet, torch7

# what readers and unpicklers raise over bytes that are not what they begin like
BROKEN = (
    *(
        ArithmeticError,
        AssertionError,
        AttributeError,
        EOFError,
        LookupError,
        MemoryError,
        RuntimeError,
        TypeError,
        ValueError,
    ),
    *(SafetensorError, pickle.UnpicklingError, struct.error),
)

Tensors = dict[str, Tensor]
Rules = Iterable[tuple[str, str]]


def tensors(path: Path) -> Tensors:
    """Every tensor, as float32, of a safetensors file, PyTorch or NumPy state dict, MXNet list or Torch 7 network.

    The names lose the "module." of networks that were trained in parallel; counters of batches seen are left out.
    Raises `WeightsError` for anything else.
    """
    data = path.read_bytes()
    reader = next(reader for begins, reader in _CONTAINERS if re.match(begins, data, re.DOTALL))
    try:
        found = {name.removeprefix("module."): tensor.float() for name, tensor in reader(data).items()}
    except BROKEN as error:
        raise WeightsError(f"{path} holds no tensors that can be read safely ({_line(error)})") from error
    return {name: tensor for name, tensor in found.items() if not name.endswith(".num_batches_tracked")}


def rename(given: Mapping[str, Tensor], rules: Rules) -> Tensors:
    """The tensors under the names that come of each regular expression replaced, one after the other."""
    renamed = {}
    for name, tensor in given.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)  # noqa: PLW2901
        renamed[name] = tensor
    return renamed


def fold(given: Mapping[str, Tensor], epsilon: float = 1e-5) -> Tensors:
    """Layers named LAYER.conv, LAYER.norm and LAYER.act, as LAYER with its batch normalization inside and LAYER_act."""
    folded = {}
    for layer in (name.removesuffix(".conv.weight") for name in given if name.endswith(".conv.weight")):
        kernel = given[f"{layer}.conv.weight"].double()
        bias = given.get(f"{layer}.conv.bias", torch.zeros(len(kernel)))
        gamma, beta, mean, variance = (
            given[f"{layer}.norm.{name}"] for name in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gamma / (variance.double() + epsilon).sqrt()
        folded[f"{layer}.weight"] = (kernel * factor.reshape(-1, *[1] * (kernel.ndim - 1))).float()
        folded[f"{layer}.bias"] = (beta + (bias - mean) * factor).float()
        if f"{layer}.act.weight" in given:
            folded[f"{layer}_act.weight"] = given[f"{layer}.act.weight"]
    return folded


def _pytorch(data: bytes) -> Mapping[str, Tensor]:
    with warnings.catch_warnings(action="ignore"):  # of unusual pickles, which are refused anyway if need be
        return _state_dict(torch.load(io.BytesIO(data), map_location="cpu", weights_only=True))


def _state_dict(found: object) -> Mapping[str, Tensor]:
    """The first mapping of names to nothing but tensors, here or one level down."""
    inside = found.values() if isinstance(found, Mapping) else ()
    for candidate in (found, *inside):
        if isinstance(candidate, Mapping) and candidate and all(isinstance(t, Tensor) for t in candidate.values()):
            return candidate
    raise ValueError("no state dict")


class _Dtype:
    """Stands in for `np.dtype`, whose own state can pass the file's bytes off as addresses of objects."""

    def __init__(self, code: object, *_: object) -> None:
        self.code = code

    def __setstate__(self, state: Any) -> None:
        kind = f"{state[1]}{self.code}"  # the byte order comes first
        if not re.fullmatch("[<>|](f[248]|i[48]|u1)", kind):
            raise ValueError(f"its numbers are of the kind {kind!r}")
        self.kind = np.dtype(kind)


class _Array:
    """Stands in for `np.ndarray`, and takes of its state the numbers alone."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        raw = raw.encode("latin1") if isinstance(raw, str) else raw  # Python 2 had no bytes
        numbers = np.frombuffer(raw, dtype.kind).reshape(shape, order="F" if fortran else "C")
        if numbers.shape != shape:  # NumPy takes -1 for whatever is left
            raise ValueError(f"{len(raw)} bytes are no array of the shape {shape}")
        self.numbers = numbers.astype(numbers.dtype.newbyteorder("="))


class _Arrays(pickle._Unpickler):  # the one in C takes memory for as many objects as a file says it has
    """NumPy arrays and plain containers, nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        allowed: dict[str, Callable[..., object]] = {
            "_reconstruct": _Array,
            "ndarray": _Array,
            "dtype": _Dtype,
            "encode": str.encode,
        }
        if module.split(".", maxsplit=1)[0] in ("numpy", "_codecs") and name in allowed:
            return allowed[name]
        return self._refuse(module, name)

    def _refuse(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _pickled(data: bytes) -> Mapping[str, Tensor]:
    """PyTorch's own pickles before version 1.6, or a dictionary of NumPy arrays as Python 2 wrote it."""
    if b"torch" in data[:4096]:
        return _pytorch(data)
    arrays = _Arrays(io.BytesIO(data), encoding="latin1").load()
    return {str(name): torch.from_numpy(array.numbers) for name, array in arrays.items()}


def _unknown(data: bytes) -> NoReturn:
    raise ValueError("a format that is not known here")


def _line(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:120]


_CONTAINERS: tuple[tuple[bytes, Callable[[bytes], Mapping[str, Tensor]]], ...] = (
    (rb".{8}\{", load_safetensors),
    (rb"PK", _pytorch),
    (rb"\x12\x01\0{6}", mxnet.arrays),
    (rb"\x80|\(", _pickled),
    (rb"\x04\0\0\0", torch7.layers),
    (rb"", _unknown),
)
