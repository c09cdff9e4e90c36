"""The folders, low to high: a module imports only from its own and from those above it in this list."""

import ast
from pathlib import Path
from pkgutil import resolve_name

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/faceveil"
LAYERS = [
    "__init__",
    "errors",
    "files",
    "types",
    "cache",
    "device",
    "cores",
    "photo",
    "weights",
    "trained",
    "training",
    "recognizers",
    "faces",
    "metrics",
    "objectives",
    "attacks",
    "methods",
    "service",
    "datasets",
    "protocols",
    "hardening",
    "jobs",
    "proof",
    "picture",
    "checking",
    "programs",
    "protection",
    "batch",
    "bench",
    "cli",
    "__main__",
]


def layer(module: str) -> int:
    return LAYERS.index(module.split(".")[1] if "." in module else "__init__")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("faceveil"):
            names = (
                {f"{node.module}.{name.name}" for name in node.names} if node.module == "faceveil" else {node.module}
            )
            found |= {name for name in names if name.split(".")[1] in LAYERS}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names if name.name.startswith("faceveil.")}
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_from_above(path):
    own = "faceveil." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    if path == PACKAGE / "__init__.py":
        return  # it offers the highest names, and imports them when they are used
    assert [name for name in imports(path) if layer(name) > layer(own)] == []


def is_there(name: str) -> bool:
    try:
        resolve_name(name)
    except (AttributeError, ImportError):
        return False
    return True


def missing(path: Path) -> list[str]:
    """What a script imports from the package, but is not in it; what else it imports may not be installed."""
    wanted = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            wanted += [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            wanted += [f"{node.module}.{name.name}" for name in node.names]
    return [name for name in wanted if name.split(".")[0] == "faceveil" and not is_there(name)]


@pytest.mark.parametrize(
    "path", sorted([*ROOT.glob("experiments/*.py"), *ROOT.glob("benchmarks/*.py")]), ids=lambda path: path.name
)
def test_scripts_import_what_the_package_has(path):
    assert missing(path) == []


def test_what_the_package_lacks_is_missed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import faceveil.jobs, faceveil.nothing\nfrom faceveil.jobs import plan, nobody\nimport absent\n")
    assert missing(script) == ["faceveil.nothing", "faceveil.jobs.nobody"]
