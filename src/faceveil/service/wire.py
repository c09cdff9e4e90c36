"""What crosses the network, version 1: levels of a few bits, the same in both directions.

A message is a header of 44 bytes, and the faces one after the other. Numbers are unsigned and little-endian::

    0   4 bytes  the letters FVCL
    4   1 byte   the version, 1
    5   1 byte   epsilon, in 8-bit levels: 1 to 32
    6   2 bytes  how many values a code may have: 2 to 256
    8   2 bytes  how many faces follow: 1 to 65,535
    10  2 bytes  height and width of a face in pixels: 112
    12  32 bytes the model's name: 1 to 32 of a-z, 0-9, '.', '_' and '-', then zero bytes

A face is 3 x 112 x 112 codes, channel by channel (red, green, blue), row by row, each of ceil(log2(values)) bits, the
lowest bit first, without gaps. Code c stands for epsilon * (2c / (values - 1) - 1) levels. One face of a gradient has
4,704 bytes with two values (its sign), 9,408 with three or four; of noise at epsilon 8, in whole levels (17 values,
5 bits), 23,520. APF's own gradient, in 32-bit floats, has 150,528 (Zhang et al., 2020).
"""

import re
import struct
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray

from faceveil.attacks.quantization import Codes, Grid
from faceveil.errors import ServiceError

VERSION = 1
MEDIA_TYPE = "application/vnd.faceveil.levels"
SIDE = 112
CODES = 3 * SIDE * SIDE  # of a face; a multiple of 8, so that faces end with a byte
LARGEST = 32  # epsilon, 8-bit levels
ASKED = 4  # values that a gradient may have
TOGETHER = 16  # faces that a client sends in a request, unless told otherwise
FOOLS = "Faceveil-Fools"  # the header of an answer that names the recognizers that the model learned to fool
NAME = re.compile(rb"[a-z0-9._-]{1,32}")
TOKEN = re.compile("[!-~]+")  # what a header bears

_MAGIC = b"FVCL"
_HEADER = struct.Struct("<4sBBHHH32s")
HEADER = _HEADER.size


class WireError(ServiceError):
    """Bytes that are not a message, or not the one that was expected."""


@dataclass(frozen=True, eq=False)
class Message:
    """Codes [n, 3, 112, 112] on a grid, and the name of the model that they are for or from."""

    model: str
    grid: Grid
    codes: Codes

    def __bytes__(self) -> bytes:
        """The message as it crosses the network; raises `WireError` where it cannot."""
        name = self.model.encode()
        faces = len(self.codes)
        if not NAME.fullmatch(name):
            raise WireError(f"{self.model!r} is no model's name; use 1 to 32 of a-z, 0-9, '.', '_' and '-'")
        if self.grid.epsilon not in range(1, LARGEST + 1):
            raise WireError(f"epsilon is {self.grid.epsilon:g}; a whole number from 1 to {LARGEST} can be sent")
        if tuple(self.codes.shape[1:]) != (3, SIDE, SIDE) or not 1 <= faces <= 0xFFFF:
            raise WireError(f"codes are {tuple(self.codes.shape)}; send (n, 3, {SIDE}, {SIDE}), n from 1 to 65535")
        header = (_MAGIC, VERSION, int(self.grid.epsilon), self.grid.values, faces, SIDE, name)
        return _HEADER.pack(*header) + _packed(self.codes.cpu().numpy(), self.grid.bits)


@dataclass(frozen=True)
class Header:
    """What the first bytes of a message say, checked."""

    model: str
    grid: Grid
    faces: int

    @property
    def size(self) -> int:
        """Of the whole message, in bytes."""
        return size(self.faces, self.grid)

    @classmethod
    def of(cls, data: bytes) -> "Header":
        """Reads a header; raises `WireError` for anything that this version does not know."""
        if len(data) < HEADER:
            raise WireError(f"{len(data)} bytes are no message; its header alone has {HEADER}")
        magic, version, epsilon, values, faces, side, padded = _HEADER.unpack_from(data)
        name = padded.rstrip(b"\0")
        if magic != _MAGIC:
            raise WireError(f"a message begins with {_MAGIC.decode()}; see the format in docs/service.md")
        if version != VERSION:
            raise WireError(f"version {version} is not known here; send version {VERSION}")
        if side != SIDE:
            raise WireError(f"faces are {side} pixels wide; send {SIDE}")
        if not 1 <= epsilon <= LARGEST:
            raise WireError(f"epsilon is {epsilon}; send 1 to {LARGEST}")
        if not 2 <= values <= 256:
            raise WireError(f"codes have {values} values; send 2 to 256")
        if not faces:
            raise WireError("there is no face in the message; send at least one")
        if not NAME.fullmatch(name):
            raise WireError("the model's name is not 1 to 32 of a-z, 0-9, '.', '_' and '-'")
        return cls(name.decode(), Grid(epsilon, values), faces)


def size(faces: int, grid: Grid) -> int:
    """How many bytes a message has."""
    return HEADER + faces * CODES * grid.bits // 8


def read(data: bytes) -> Message:
    """The message in these bytes, all of them; raises `WireError` where they are not exactly one."""
    header = Header.of(data)
    if len(data) != header.size:
        raise WireError(f"{header.faces} faces have {header.size} bytes; there are {len(data)}")
    codes = _unpacked(np.frombuffer(data, np.uint8, offset=HEADER), header.grid.bits)
    if codes.max() >= header.grid.values:
        raise WireError(f"a code is {codes.max()}; with {header.grid.values} values the largest is one less")
    return Message(header.model, header.grid, torch.from_numpy(codes.reshape(header.faces, 3, SIDE, SIDE)))


def _packed(codes: UInt8[ndarray, "..."], bits: int) -> bytes:
    flat = np.empty((codes.size, bits), np.uint8)
    for bit in range(bits):
        flat[:, bit] = (codes.reshape(-1) >> bit) & 1
    return np.packbits(flat, bitorder="little").tobytes()


def _unpacked(data: UInt8[ndarray, " n"], bits: int) -> UInt8[ndarray, " m"]:
    flat = np.unpackbits(data, bitorder="little").reshape(-1, bits)
    codes = flat[:, 0].copy()
    for bit in range(1, bits):
        codes |= flat[:, bit] << bit
    return codes
