"""The house stays a house: imports run one way, and nobody pays for a module that is not needed."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "emerge_core"
FLOORS = {
    "about": 0,
    "errors": 0,
    "immutable": 0,
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
    "console": 6,
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


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_at_load(nodes: Iterable[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports that run when a module is imported: not those inside functions, nor those for type checkers alone."""
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If):
            yield from imports_at_load(
                node.orelse if ast.unparse(node.test).endswith("TYPE_CHECKING") else node.body + node.orelse
            )
        elif isinstance(node, ast.Try | ast.ClassDef | ast.With):
            yield from imports_at_load(node.body)


def modules_loaded_by(path: Path, known: set[str]) -> set[str]:
    found: set[str] = set()
    for node in imports_at_load(ast.parse(path.read_text()).body):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & known
            found |= submodules or {node.module}
    return found & known - {module_name(path)}


def test_no_module_imports_itself_through_others() -> None:
    known = {module_name(path) for path in MODULES}
    TopologicalSorter(
        {module_name(path): modules_loaded_by(path, known) for path in MODULES}
    ).prepare()  # raises CycleError


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(CORE)))
def test_private_names_stay_in_their_module(path: Path) -> None:
    """A private name belongs to its module, a private module (`cli/_output.py`) to its package."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("emerge_core"):
            package, _, module = node.module.rpartition(".")
            if module.startswith("_"):
                assert module_name(path).startswith(package + "."), f"{node.module} is private to {package}"
            modules = {name.stem for name in (ROOT / Path(*node.module.split("."))).glob("*.py")}
            private = [alias.name for alias in node.names if alias.name.startswith("_") and alias.name not in modules]
            assert not private, f"{private} are private to {node.module}"


FACE = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.Expr, ast.If)


@pytest.mark.parametrize("path", sorted(CORE.rglob("__init__.py")), ids=lambda path: str(path.relative_to(CORE)))
def test_a_package_is_a_face(path: Path) -> None:
    """`__init__` re-exports what the package offers. The library's own has two functions, which make it lazy."""
    body = ast.parse(path.read_text()).body
    code = [node for node in body if not isinstance(node, FACE)]
    if path.parent == CORE:
        assert {node.name for node in code if isinstance(node, ast.FunctionDef)} == {"__getattr__", "__dir__"}
    else:
        assert not code


@pytest.mark.parametrize("path", sorted((CORE / "cli").glob("[!_]*.py")), ids=lambda path: path.stem)
def test_no_verb_imports_a_verb(path: Path) -> None:
    others = {
        name.removeprefix("emerge_core.cli.") for name in imported_names(path) if name.startswith("emerge_core.cli.")
    }
    if path.stem != "command":
        assert {name for name in others if not name.startswith("_")} == set()


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
