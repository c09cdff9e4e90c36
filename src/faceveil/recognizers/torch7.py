"""Reads what Lua's Torch 7 wrote: https://github.com/torch/torch7/blob/master/File.lua (binary, 64-bit).

An object is a kind (a 32-bit integer) and its content. Tables, tensors, storages and other classes carry a number
first; a number that was there before stands for that same object again. Nothing is executed: functions are passed over.
"""

import math
import struct
from typing import Any

import numpy as np
import torch
from torch import Tensor

NIL, NUMBER, STRING, TABLE, CLASS, BOOLEAN = range(6)
FUNCTIONS = (6, 7, 8)
STORAGES = {"torch.FloatStorage": "<f4", "torch.DoubleStorage": "<f8", "torch.LongStorage": "<i8"}


def layers(data: bytes) -> dict[str, Tensor]:
    """The tensors of each layer of a saved network, in the order of use; a name is made of places and what it is.

    "14.1.2.1.weight" is the weight of the first layer in the second part of the first part of the fourteenth layer.
    Files from before 2016 hold the inverse of a standard deviation, `running_std`, where later ones hold a variance.
    """
    found: dict[str, Tensor] = {}
    visited = set[int]()

    def visit(module: dict[Any, Any], path: str) -> None:
        if id(module) in visited:
            raise ValueError("one of its layers stands in two places")
        visited.add(id(module))
        if isinstance(module.get("running_std"), Tensor):
            module["running_var"] = module["running_std"] ** -2 - module["eps"]
        for name in ("weight", "bias", "running_mean", "running_var"):
            if isinstance(module.get(name), Tensor):
                found[f"{path}{name}"] = module[name]
        children = module.get("modules") or {}
        for place in sorted(children):
            visit(children[place], f"{path}{int(place)}.")

    visit(_Reader(data).object(), "")
    return found


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0
        self.seen: dict[int, Any] = {}

    def object(self) -> Any:
        kind = self.number("i")
        if kind == NIL:
            return None
        if kind == NUMBER:
            return self.number("d")
        if kind == BOOLEAN:
            return self.number("i") == 1
        if kind == STRING:
            return self.string()
        if kind not in (TABLE, CLASS, *FUNCTIONS):
            raise ValueError(f"an object of the unknown kind {kind}")
        index = self.number("i")
        if index not in self.seen:
            read = {TABLE: self.table, CLASS: self.instance}.get(kind, self.function)
            self.seen[index] = read(index)
        return self.seen[index]

    def table(self, index: int) -> dict[Any, Any]:
        table: dict[Any, Any] = {}
        self.seen[index] = table  # it may hold itself
        for _ in range(self.number("i")):
            key = self.object()
            table[key] = self.object()
        return table

    def instance(self, index: int) -> Any:
        name = self.string()
        if name.startswith("V "):  # the version of the format
            name = self.string()
        if name in STORAGES:
            count = self.number("q")
            return torch.from_numpy(np.frombuffer(self.bytes(count * int(STORAGES[name][2])), STORAGES[name]).copy())
        if name.startswith("torch.") and name.endswith("Tensor"):
            return self.tensor()
        return self.object()

    def tensor(self) -> Tensor:
        count = self.number("i")
        sizes, strides = ([self.number("q") for _ in range(count)] for _ in range(2))
        start = self.number("q") - 1
        storage = self.object()
        if storage is None:
            return torch.empty(0)
        if math.prod(sizes) > len(storage):
            raise ValueError(f"a tensor that holds {len(storage)} of {math.prod(sizes)} numbers")
        found: Tensor = storage.as_strided(sizes, strides, start)
        return found

    def function(self, index: int) -> None:
        self.string()
        self.object()  # what it refers to

    def string(self) -> str:
        return self.bytes(self.number("i")).decode("latin-1")

    def number(self, kind: str) -> Any:
        return struct.unpack("<" + kind, self.bytes(struct.calcsize("<" + kind)))[0]

    def bytes(self, count: int) -> bytes:
        piece = self.data[self.at : self.at + count]
        if len(piece) < count:
            raise ValueError("the file ends too early")
        self.at += count
        return piece
