"""Tensors by name, out of the containers in which weights are published; nothing in a file is ever executed."""

import io
import pickle
import re
import struct
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any, ClassVar, NoReturn
from zipfile import BadZipFile, ZipFile, is_zipfile

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from faceveil.errors import WeightsError
from faceveil.files import one_line
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
    *(SafetensorError, pickle.UnpicklingError, struct.error, BadZipFile),
)

ROOM = 4  # numbers for a byte of the file; a few names may share them
SHARED = "arrays share their bytes; save each with its own"
PICKLE = "pickle a dictionary of NumPy arrays with protocol=4"

Tensors = dict[str, Tensor]
Rules = Iterable[tuple[str, str]]


def tensors(path: Path) -> Tensors:
    """Every tensor, as float32, of a safetensors file, PyTorch or NumPy state dict, MXNet list or Torch 7 network.

    The names lose the "module." of networks that were trained in parallel; counters of batches seen are left out, and
    so are numbers and text beside NumPy arrays.
    Raises `WeightsError` for anything else.
    """
    data = path.read_bytes()
    reader = next(reader for begins, reader in _CONTAINERS if re.match(begins, data, re.DOTALL))
    try:
        given = reader(data)
        if not all(tensor.layout is torch.strided and tensor.is_cpu for tensor in given.values()):
            raise ValueError("tensors that are sparse, or of which only the shape is there")
        if sum(tensor.numel() for tensor in given.values()) > ROOM * len(data):
            raise ValueError(f"too many {SHARED}")
        found = {name.removeprefix("module."): tensor.float() for name, tensor in given.items()}
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
    stream = io.BytesIO(data)
    if is_zipfile(stream) and sum(part.file_size for part in ZipFile(stream).infolist()) > ROOM * len(data):
        raise ValueError("it is compressed; save it with torch.save")
    with warnings.catch_warnings(action="ignore"):  # of unusual pickles, which are refused anyway if need be
        return _state_dict(torch.load(io.BytesIO(data), map_location="cpu", weights_only=True))


def _state_dict(found: object) -> Mapping[str, Tensor]:
    """The first mapping of names to nothing but tensors, here or one level down."""
    inside = found.values() if isinstance(found, Mapping) else ()
    for candidate in (found, *inside):
        if isinstance(candidate, Mapping) and candidate and all(isinstance(t, Tensor) for t in candidate.values()):
            return candidate
    raise ValueError("no state dict")


@dataclass(slots=True)
class _Call:
    """A call that a pickle asks for, which is never made: NumPy's own could take bytes for addresses of objects."""

    name: object
    arguments: object
    state: object = None


def _call(machine: Any) -> None:
    arguments = machine.stack.pop()
    machine.stack[-1] = _Call(machine.stack[-1], arguments)


def _state(machine: Any) -> None:
    state = machine.stack.pop()
    machine.stack[-1].state = state


def _keyed(keys: slice, opcode: bytes) -> Callable[[Any], None]:
    """What the opcode does, with whole numbers among the keys on the stack as text, and none that is something else.

    To hash a deep tuple would crash Python; numbers can be chosen that all have the same hash, which takes for ever.
    """

    def checked(machine: Any) -> None:
        if any(type(key) not in (str, int) for key in machine.stack[keys]):
            raise ValueError("a dictionary in it has keys that are neither text nor whole numbers; name arrays by text")
        machine.stack[keys] = map(str, machine.stack[keys])
        pickle._Unpickler.dispatch[opcode[0]](machine)

    return checked


def _put(machine: Any) -> None:
    machine.memo[machine.readline()] = machine.stack[-1]


def _get(machine: Any) -> None:
    machine.append(machine.memo[machine.readline()])


def _refuse(_: Any) -> NoReturn:
    raise pickle.UnpicklingError(f"it holds more than arrays; {PICKLE}")


_REFUSED = (
    *(pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),  # buffers; memory is taken before one is read
    *(pickle.EMPTY_SET, pickle.FROZENSET, pickle.ADDITEMS),  # which hash
    *(pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX),  # which call
    *(pickle.EXT1, pickle.EXT2, pickle.EXT4),  # which need no name to bring in any object
)


class _Unpickler(pickle._Unpickler):  # the one in C takes memory for as many objects as a file says it has
    """Plain values and containers, and NumPy's calls as `_Call`."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **dict.fromkeys(range(256), _refuse),
        **pickle._Unpickler.dispatch,
        **dict.fromkeys(b"".join(_REFUSED), _refuse),
        pickle.REDUCE[0]: _call,
        pickle.BUILD[0]: _state,
        pickle.PUT[0]: _put,  # by a number as text, for the sake of its hash
        pickle.GET[0]: _get,
        pickle.SETITEM[0]: _keyed(slice(-2, -1), pickle.SETITEM),
        pickle.SETITEMS[0]: _keyed(slice(0, None, 2), pickle.SETITEMS),
        pickle.DICT[0]: _keyed(slice(0, None, 2), pickle.DICT),
    }

    def find_class(self, module: str, name: str) -> str:
        known = {"numpy": ("_reconstruct", "ndarray", "dtype"), "_codecs": ("encode",)}
        if name not in known.get(module.split(".", maxsplit=1)[0], ()):
            raise pickle.UnpicklingError(f"it asks for {module}.{name}; {PICKLE}")
        return name


def _pickled(data: bytes) -> Mapping[str, Tensor]:
    """PyTorch's own pickles before version 1.6, or a dictionary of NumPy arrays as Python 2 wrote it."""
    if b"torch" in data[:4096]:
        return _pytorch(data)
    found = _Unpickler(io.BytesIO(data), encoding="latin1").load()
    arrays: Tensors = {}
    room = ROOM * len(data)
    for name, value in found.items() if isinstance(found, dict) else ():
        if isinstance(value, (int, float, str, NoneType)):
            continue
        try:
            arrays[name] = torch.from_numpy(_array(value))
        except BROKEN as error:
            raise ValueError(f"{name!r}: {_line(error)}") from error
        room -= arrays[name].numel()
        if room < 0:
            raise ValueError(f"{name!r}: too many {SHARED}")
    if not arrays:
        raise ValueError("no state dict")
    return arrays


def _array(value: object) -> NDArray[np.float32]:
    match value:
        case _Call("_reconstruct", _, (_, tuple(shape), dtype, fortran, raw)):
            numbers = np.frombuffer(_bytes(raw), _kind(dtype)).reshape(shape, order="F" if fortran else "C")
        case _:
            raise ValueError("no array of numbers; leave it out")
    if numbers.shape != shape:  # NumPy takes -1 for whatever is left
        raise ValueError(f"{numbers.nbytes} bytes are no array of the shape {shape}")
    with np.errstate(all="ignore"):  # what is too large becomes infinite, as in PyTorch
        return numbers.astype(np.float32)


def _bytes(raw: object) -> bytes:
    match raw:
        case bytes():
            return raw
        case str(text) | _Call("encode", (str(text), "latin1")):  # Python 2 had no bytes
            return text.encode("latin1")
    raise ValueError("an array without bytes")


def _kind(dtype: object) -> str:
    match dtype:
        case _Call("dtype", (str(code), *_), (_, str(order), *_)):
            kind = order + code
        case _:
            raise ValueError("an array of no known numbers")
    if not re.fullmatch("[<>|](f[248]|[iu][1248]|b1)", kind):
        raise ValueError(f"numbers of the kind {kind!r}; save them as float32")
    return kind


def _unknown(data: bytes) -> NoReturn:
    raise ValueError("a format that is not known here")


def _line(error: Exception) -> str:
    words = one_line(str(error).split("\n", 1)[0][:120])
    return words or ("it ends too early" if isinstance(error, EOFError) else type(error).__name__)


_CONTAINERS: tuple[tuple[bytes, Callable[[bytes], Mapping[str, Tensor]]], ...] = (
    (rb".{8}\{", load_safetensors),
    (rb"PK", _pytorch),
    (rb"\x12\x01\0{6}", mxnet.arrays),
    (rb"\x80|\(", _pickled),
    (rb"\x04\0\0\0", torch7.layers),
    (rb"", _unknown),
)
