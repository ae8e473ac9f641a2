"""The house stays a house: imports run one way, and nobody pays for a module that is not needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "emerge_core"
FLOORS = {
    "about": 0,
    "errors": 0,
    "types": 0,
    "config": 0,
    "provider_kinds": 0,
    "providers": 1,
    "answers": 1,
    "pricing": 1,
    "telemetry": 1,
    "fanout": 2,
    "aggregators": 2,
    "strategies": 3,
    "engine": 4,
    "api": 5,
    "evals": 6,
    "operate": 6,
    "cli": 7,
}
MODULES = sorted(CORE.rglob("*.py"))

# Tables of names and facts, without imports from the package but types and errors: the config's checks read them.
TABLES = ("emerge_core.aggregators.registry", "emerge_core.strategies.registry")


def room(module: str) -> str:
    """`emerge_core.answers.forms.numbers` is in the room `answers`."""
    return module.split(".")[1] if "." in module else ""


def imported_rooms(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("emerge_core"):
            if node.module in TABLES:
                continue
            names |= {room(node.module)} if room(node.module) else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {room(alias.name) for alias in node.names if alias.name.startswith("emerge_core.")}
    return names


def test_every_room_has_a_floor() -> None:
    rooms = {path.relative_to(CORE).parts[0].removesuffix(".py") for path in MODULES}
    assert rooms - {"__init__", "__main__"} == set(FLOORS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(CORE)))
def test_imports_run_downwards(path: Path) -> None:
    own = path.relative_to(CORE).parts[0].removesuffix(".py")
    for other in imported_rooms(path) - {own}:
        assert FLOORS[other] <= FLOORS.get(own, 8), f"{own} imports {other} from a floor above"
        if FLOORS[other] == FLOORS.get(own) and FLOORS[other] > 0:
            pytest.fail(f"{own} and {other} stand on one floor and must not know each other")


EVAL_FLOORS = {
    "types": 0,
    "tables": 0,
    "statistics": 1,
    "recordings": 1,
    "scoring": 2,
    "record": 2,
    "replay": 2,
    "offline": 3,
    "compare": 3,
    "diversity": 4,
    "tune": 4,
    "report": 5,
}


def imported_names(path: Path) -> set[str]:
    """The modules that a file imports from, whole names; nested and deferred imports included."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    return {node.module for node in nodes if node.module}


def test_every_evals_room_has_a_floor() -> None:
    rooms = {path.name.removesuffix(".py") for path in (CORE / "evals").iterdir() if path.suffix in ("", ".py")}
    assert rooms - {"__init__", "__pycache__", "examples"} == set(EVAL_FLOORS)


@pytest.mark.parametrize("path", sorted((CORE / "evals").rglob("*.py")), ids=lambda path: str(path.relative_to(CORE)))
def test_imports_inside_evals_run_downwards(path: Path) -> None:
    own = path.relative_to(CORE / "evals").parts[0].removesuffix(".py")
    prefix = "emerge_core.evals."
    others = {name.removeprefix(prefix).split(".")[0] for name in imported_names(path) if name.startswith(prefix)}
    for other in others - {own}:
        assert EVAL_FLOORS[other] <= EVAL_FLOORS[own], f"{own} imports {other} from a floor above"
        if EVAL_FLOORS[other] == EVAL_FLOORS[own] and EVAL_FLOORS[own] > 1:
            pytest.fail(f"{own} and {other} stand on one floor and must not know each other")


def test_the_tables_that_the_config_reads_load_nothing_but_themselves() -> None:
    code = f"import sys, {', '.join(TABLES)}; print(*(name for name in sys.modules if name.startswith('emerge_core.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    packages = {table.rpartition(".")[0] for table in TABLES}
    ground = {"emerge_core.about", "emerge_core.errors", "emerge_core.types"}
    assert set(done.stdout.split()) <= {*TABLES, *packages, *ground}


HEAVY = ("openai", "anthropic", "numpy", "jsonschema", "genai_prices", "boto3", "tqdm", "uvicorn")


@pytest.mark.parametrize("module", ["emerge_core.engine.engine", "emerge_core.api", "emerge_core.cli"])
def test_importing_the_product_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(CORE)))
def test_every_module_says_what_lives_there(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))
