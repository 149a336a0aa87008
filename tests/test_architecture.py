"""Imports point only downwards, never in a circle, and the slow ones wait until they are needed."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "zoneaxis"

GROUND = {"errors", "files", "cache"}
ALLOWED = {
    "": set(),  # zoneaxis/__init__.py
    "errors": set(),
    "files": {"errors"},
    "cache": {"errors", "files"},
    "cluster": {"errors"},
    "diffraction": GROUND,
    "scans": GROUND | {"cluster", "diffraction"},
    "cards": GROUND,
    "hub": {"errors", "cards"},
    "dataset_builder": GROUND | {"cluster", "diffraction", "scans", "cards", "hub"},
    "models": GROUND | {"diffraction", "scans", "cards", "hub", "dataset_builder"},
    "evaluation": GROUND | {"diffraction", "scans"},
    "testing": {"diffraction", "scans"},
    "cli": GROUND
    | {"cluster", "diffraction", "scans", "cards", "dataset_builder", "models", "evaluation"},
    "__main__": {"cli"},
}

SLOW = ("py4DSTEM", "timm", "datasets", "rsciio", "hyperspy", "matplotlib", "orix.plot", "typer")


def parts_of(file: Path, package: Path) -> tuple[str, ...]:
    """The dotted name of a module below the package, as a tuple; () for the package itself."""
    parts = file.relative_to(package).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def nodes_run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below `node` that run when the module is imported: none inside a function."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if not is_type_checking(child):
            yield child
            yield from nodes_run_at_import(child)


def imported_names(node: ast.AST, file: Path, package: Path) -> list[str]:
    """Absolute dotted names that a node imports; `from a import b` gives a.b, whatever b is."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            here = (package.name, *file.relative_to(package).parts)
            base = ".".join((*here[: len(here) - node.level], *base.split("."))).rstrip(".")
        return [f"{base}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        return [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)]
    return []


def own_modules(names: list[str], package: Path) -> Iterator[Path]:
    """The files of the package that the names stand for."""
    for name in names:
        head, *parts = name.split(".")
        if head != package.name:
            continue
        for length in range(len(parts), -1, -1):  # drop names of functions and classes
            place = package.joinpath(*parts[:length])
            if place.with_suffix(".py").is_file() and length:
                yield place.with_suffix(".py")
                break
            if (place / "__init__.py").is_file():
                yield place / "__init__.py"
                break


def may_import_at_top(library: str, layer: str, source: str) -> bool:
    """typer builds the command line; a timm network needs timm to register itself."""
    is_network = layer == "models" and "@register_model" in source
    return (library == "typer" and layer == "cli") or (library == "timm" and is_network)


def violations(package: Path) -> list[str]:
    """Everything under `package` that breaks the rules of this file, one line each."""
    found, graph = [], {}
    for file in sorted(package.rglob("*.py")):
        source = file.read_text(encoding="utf-8")
        tree = ast.parse(source)
        where = file.relative_to(package)
        layer = (*parts_of(file, package), "")[0]
        if layer not in ALLOWED:
            found.append(f"{where}: {layer} has no place in ALLOWED")
            continue
        targets = {
            target
            for node in ast.walk(tree)
            for target in own_modules(imported_names(node, file, package), package)
        }
        for target in targets:
            other = (*parts_of(target, package), "")[0]
            if other not in ALLOWED[layer] | {layer, ""}:
                found.append(f"{where}: {layer} must not import {other}")
        graph[str(where)] = {str(target.relative_to(package)) for target in targets - {file}}
        for node in nodes_run_at_import(tree):
            for name in imported_names(node, file, package):
                library = next((slow for slow in SLOW if f"{name}.".startswith(f"{slow}.")), None)
                if library and not may_import_at_top(library, layer, source):
                    found.append(f"{where}: import {library} inside the function that needs it")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found.append(f"circle: {' <- '.join(error.args[1])}")
    return found


def test_zoneaxis_keeps_the_rules():
    assert violations(PACKAGE) == []


def test_import_zoneaxis_does_nothing():
    slow = {"torch", "orix", "numpy", *SLOW}
    code = f"import sys, zoneaxis; print(*{slow} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.stdout.strip(), run.stderr) == ("", "")


FORBIDDEN = {
    "upwards": ("diffraction/a.py", "from zoneaxis.scans.scan import Scan", "import scans"),
    "upwards in a function": ("scans/a.py", "def f():\n    import zoneaxis.cli", "import cli"),
    "upwards as a name": ("scans/a.py", "from zoneaxis import models", "import models"),
    "upwards, relative": ("scans/a.py", "from ..models import net", "import models"),
    "upwards by name": ("scans/a.py", "import_module('zoneaxis.models.net')", "import models"),
    "sideways": ("models/a.py", "from zoneaxis.evaluation import b", "import evaluation"),
    "sideways back": ("evaluation/a.py", "import zoneaxis.models.net", "import models"),
    "cards know facts only": ("cards/a.py", "import zoneaxis.diffraction", "import diffraction"),
    "root": ("__init__.py", "from zoneaxis.scans import scan", "import scans"),
    "no such layer": ("utils/a.py", "", "no place"),
    "circle": ("scans/scan.py", "def f():\n    from zoneaxis.scans import b", "circle"),
    "slow": ("models/a.py", "import timm.data", "import timm inside"),
    "slow in a branch": ("cli.py", "try:\n    import datasets\nfinally: ...", "import datasets"),
    "slow submodule": ("scans/a.py", "from orix import plot", "import orix.plot inside"),
}
FINE = {
    "downwards": ("models/a.py", "from zoneaxis.scans.scan import Scan"),
    "own folder": ("scans/a.py", "from zoneaxis.scans.scan import Scan"),
    "version": ("scans/a.py", "from zoneaxis import __version__"),
    "slow in a function": ("scans/a.py", "def f():\n    import matplotlib.pyplot"),
    "slow for types": ("scans/a.py", "if TYPE_CHECKING:\n    import matplotlib"),
    "network": ("models/a.py", "import timm\n@register_model\ndef net(): ..."),
    "namesake": ("scans/a.py", "import datasets_of_another_name"),
    "typer": ("cli.py", "import typer"),
}


@pytest.fixture
def fake_package(tmp_path: Path) -> Path:
    package = tmp_path / "zoneaxis"
    for folder in ("", "diffraction", "scans", "models", "evaluation", "cards", "utils"):
        (package / folder).mkdir(exist_ok=True)
        (package / folder / "__init__.py").touch()
    (package / "utils" / "__init__.py").unlink()
    for name in ("scans/scan.py", "models/net.py", "evaluation/b.py", "cli.py"):
        (package / name).touch()
    (package / "scans/b.py").write_text("from zoneaxis.scans.scan import Scan")
    return package


@pytest.mark.parametrize(("name", "source", "message"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_the_checker_sees(fake_package: Path, name: str, source: str, message: str):
    (fake_package / name).write_text(source)
    assert [line for line in violations(fake_package) if message in line]


@pytest.mark.parametrize(("name", "source"), FINE.values(), ids=FINE)
def test_the_checker_allows(fake_package: Path, name: str, source: str):
    (fake_package / name).write_text(source)
    assert violations(fake_package) == []
