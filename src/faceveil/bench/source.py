"""The code of a measurement: what other code measured is not what this code would measure."""

import ast
import hashlib
import inspect
import json
import sys
from collections.abc import Callable
from typing import Any


def digest(measure: Callable[..., Any]) -> str:
    """A hash of a measurement's code, and of all in its module, or its paper's folder, that it names, directly or not.

    Comments do not count, nor what shows the cells: another table needs no other cells.
    """
    folder = measure.__module__.rpartition(".")[0]
    paper = measure.__module__ if folder in ("", __package__) else folder
    waiting = [(measure.__module__, getattr(measure, "__name__", type(measure).__name__))]
    needed: dict[str, str] = {}
    while waiting:
        module, name = waiting.pop()
        part = _parts(module).get(name)
        if isinstance(part, ast.ImportFrom):
            waiting += [(part.module, name)] if part.module and part.module.startswith(paper) else []
        elif part and f"{module}.{name}" not in needed:
            needed[f"{module}.{name}"] = ast.unparse(part)
            waiting += [(module, each.id) for each in ast.walk(part) if isinstance(each, ast.Name)]
    return hashlib.sha256(json.dumps(needed, sort_keys=True).encode()).hexdigest()[:16]


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
