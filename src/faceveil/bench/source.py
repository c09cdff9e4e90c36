"""The code of a measurement: what other code measured is not what this code would measure."""

import ast
import hashlib
import inspect
import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]
APART = {"bench", "cli", "service"}  # no method or metric is in these folders


def digest(measure: Callable[..., Any]) -> str:
    """A hash of a measurement's code, of all in the benchmarks that it names, directly or not, and of the package.

    Of the benchmarks comments do not count, nor what shows the cells: another table needs no other cells.
    """
    near = (__package__, measure.__module__.rpartition(".")[0] or measure.__module__)
    waiting = [(measure.__module__, getattr(measure, "__name__", type(measure).__name__))]
    needed, parts = {"package": _package()}, cache(_parts)
    while waiting:
        module, name = waiting.pop()
        part = parts(module).get(name)
        if isinstance(part, ast.ImportFrom):
            waiting += [(part.module, name)] if part.module and part.module.startswith(near) else []
        elif part and f"{module}.{name}" not in needed:
            needed[f"{module}.{name}"] = ast.unparse(part)
            waiting += [(module, each.id) for each in ast.walk(part) if isinstance(each, ast.Name)]
    return hashlib.sha256(json.dumps(needed, sort_keys=True).encode()).hexdigest()[:16]


def _package() -> str:
    """A hash of the package's code, comments included, and of what was trained for it; not of what lies `APART`."""
    found = hashlib.sha256()
    for path in sorted(each for each in PACKAGE.rglob("*") if each.suffix in {".py", ".json", ".safetensors"}):
        place = path.relative_to(PACKAGE)
        if place.parts[0] not in APART:
            found.update(place.as_posix().encode() + path.read_bytes())
    return found.hexdigest()


def _parts(module: str) -> dict[str, ast.stmt]:
    """The statements of a module, by the names that each defines."""
    body = ast.parse(inspect.getsource(sys.modules[module])).body
    return {name: part for part in body for name in _defined(part)}


def _defined(part: ast.stmt) -> list[str]:
    if isinstance(part, ast.FunctionDef | ast.ClassDef):
        return [part.name]
    if isinstance(part, ast.ImportFrom):
        return [each.name for each in part.names]
    return [each.id for each in ast.walk(part) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)]
