"""The rules of docs/architecture.md, read from its table and checked against the imports as they are written."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "saewidgets"
MAX_LINES = 700
TOP = {"cli", "widgets"}  # may only use `workspace`, `render` and level 0
# Pairs that the levels alone would allow, from the table's last column.
FORBIDDEN = {("activations", "sae")}
FORBIDDEN |= {(unit, other) for unit in ("training", "features", "steering") for other in ("jobs", "catalog")}
NO_TORCH = {"errors", "events", "records", "settings", "config", "demo", "render", "catalog", "jobs", "cli", "widgets"}


@dataclass(frozen=True)
class Edge:
    """One import statement: who imports what, and how."""

    source: str  # dotted module
    target: str  # dotted module, or an external one
    line: int
    in_function: bool
    type_only: bool
    explained: bool  # a comment on the line or the line above


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def _modules() -> dict[str, Path]:
    return {_module(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def _is_type_checking(node: ast.If) -> bool:
    return "TYPE_CHECKING" in ast.dump(node.test)


def _targets(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    assert node.level == 0, f"relative import in line {node.lineno}"
    base = node.module or ""
    for alias in node.names:
        full = f"{base}.{alias.name}"
        yield full if full in _modules() else base


def _walk(
    node: ast.AST, in_function: bool = False, type_only: bool = False
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, in_function, type_only
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _walk(child, True, type_only)
        elif isinstance(child, ast.If) and _is_type_checking(child):
            for statement in child.body:
                yield from _walk(ast.Module([statement], []), in_function, True)
            for statement in child.orelse:
                yield from _walk(ast.Module([statement], []), in_function, type_only)
        else:
            yield from _walk(child, in_function, type_only)


@functools.cache
def _edges() -> tuple[Edge, ...]:
    found = []
    for module, path in _modules().items():
        text = path.read_text(encoding="utf-8")
        lines = ["", *text.splitlines()]
        block_end, block_explained = 0, False  # one comment is enough for imports that stand together
        for node, in_function, type_only in _walk(ast.parse(text)):
            end = node.end_lineno or node.lineno
            explained = any("#" in line for line in lines[node.lineno : end + 1])
            explained |= lines[node.lineno - 1].lstrip().startswith("#")
            explained |= block_explained and not "".join(lines[block_end + 1 : node.lineno]).strip()
            block_end, block_explained = end, explained
            for target in _targets(node):
                found.append(Edge(module, target, node.lineno, in_function, type_only, explained))
    return tuple(found)


def _unit(module: str) -> str | None:
    """The row of the table a module belongs to; None for the package's own `__init__` and `__main__`."""
    parts = module.split(".")
    return parts[1] if parts[0] == "saewidgets" and len(parts) > 1 and parts[1] != "__main__" else None


@functools.cache
def _levels() -> dict[str, int]:
    levels: dict[str, int] = {}
    for line in (ROOT / "docs/architecture.md").read_text(encoding="utf-8").splitlines():
        row = re.match(r"\|\s*(\d)\s*\|([^|]*)\|", line)
        if row:
            for name in re.findall(r"`([a-z_]+)/?`", row[2]):
                levels[name] = int(row[1])
    return levels


def _inside() -> Iterator[tuple[Edge, str, str]]:
    """Edges between two different units of the package."""
    for edge in _edges():
        source, target = _unit(edge.source), _unit(edge.target)
        if source and target and source != target:
            yield edge, source, target


def _show(edge: Edge) -> str:
    return f"{edge.source}:{edge.line} imports {edge.target}"


def test_the_table_names_every_unit() -> None:
    units = {unit for module in _modules() if (unit := _unit(module))}
    assert units - set(_levels()) == set(), "add them to the table in docs/architecture.md"
    assert _levels()["errors"] == 0
    assert _levels()["cli"] == 7


def test_imports_point_downwards() -> None:
    levels = _levels()
    wrong = [
        _show(edge)
        for edge, source, target in _inside()
        if levels[target] > levels[source] or (levels[target] == levels[source] and levels[source] > 0)
    ]
    assert wrong == []


def test_adapters_use_only_the_workspace() -> None:
    levels = _levels()
    wrong = [
        _show(edge)
        for edge, source, target in _inside()
        if source in TOP and target not in {"workspace", "render"} and levels[target] > 0
    ]
    assert wrong == []


def test_forbidden_pairs() -> None:
    assert [_show(edge) for edge, source, target in _inside() if (source, target) in FORBIDDEN] == []


def test_sae_and_lm_meet_only_from_level_4_up() -> None:
    levels = _levels()
    uses: dict[str, set[str]] = {unit: {unit} for unit in levels}
    for _ in levels:  # the longest chain has fewer links than there are units
        for _edge, source, target in _inside():
            uses[source] |= uses[target]
    assert [unit for unit in levels if levels[unit] < 4 and {"sae", "lm"} <= uses[unit]] == []


def test_light_units_do_not_import_torch_at_the_top() -> None:
    heavy = {"torch", "transformers", "pandas", "bqplot"}
    allowed = {("widgets", "bqplot")}  # the charts are bqplot figures
    wrong = [
        _show(edge)
        for edge in _edges()
        if _unit(edge.source) in NO_TORCH
        and not edge.in_function
        and not edge.type_only
        and (root := edge.target.split(".")[0]) in heavy
        and (_unit(edge.source), root) not in allowed
    ]
    assert wrong == []


def test_imports_in_functions_say_why() -> None:
    wrong = sorted({_show(edge) for edge in _edges() if edge.in_function and not edge.explained})
    assert wrong == [], "put the reason in a comment on the line or above it"


# What a package is called at the index where it differs from what is imported.
DISTRIBUTIONS = {"yaml": "pyyaml", "pydantic_core": "pydantic"}


def test_imported_packages_are_required() -> None:
    """Nothing works only because another package happens to bring it along."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = {re.split(r"[^\w-]", line, maxsplit=1)[0].lower().replace("-", "_") for line in project["dependencies"]}
    imported = {edge.target.split(".")[0] for edge in _edges()} - {"saewidgets"} - sys.stdlib_module_names
    extras = {"wandb", "trackio", "ray"}  # each in one module, imported inside the function that uses it
    assert extras < project["optional-dependencies"].keys()
    with_torch = {"triton"}  # where that is built for CUDA; without it plain torch operations run
    assert {DISTRIBUTIONS.get(name, name).lower() for name in imported} - required - extras - with_torch == set()


def test_no_import_cycles() -> None:
    imported = {(edge.source, edge.target) for edge in _edges() if edge.target in _modules() and not edge.type_only}
    order: TopologicalSorter[str] = TopologicalSorter()
    for source, target in imported:
        order.add(source, target)
    order.prepare()  # raises CycleError with the modules of a cycle


def test_only_settings_reads_the_environment() -> None:
    wrong = []
    for module, path in _modules().items():
        if module == "saewidgets.settings":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "environb"}:
                wrong.append(f"{module}:{node.lineno}")
    assert wrong == []


@pytest.mark.parametrize(
    ("folder", "pattern"), [("saewidgets", "*.py"), ("tests", "*.py"), ("tools", "*.py"), ("js/src", "*.ts*")]
)
def test_files_can_be_read_in_one_sitting(folder: str, pattern: str) -> None:
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / folder).rglob(pattern)}
    assert sizes, f"nothing in {folder}"
    assert {path.relative_to(ROOT).as_posix(): n for path, n in sizes.items() if n > MAX_LINES} == {}


def test_import_is_quick_and_light() -> None:
    script = (
        "import time; start = time.perf_counter(); import saewidgets; took = time.perf_counter() - start; import sys;"
        "print(took, *({'torch', 'pandas', 'transformers', 'sqlalchemy', 'pydantic'} & set(sys.modules)))"
    )
    times = []
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
        took, *loaded = done.stdout.split()
        assert loaded == []
        times.append(float(took))
    assert min(times) < 0.3, times


WITHOUT_TORCH = """
from pathlib import Path
import saewidgets.demo, saewidgets.training.estimate
from saewidgets.demo.sae import unpack_sae
unpack_sae("sae", Path(sys.argv[1]))
check("torch", "transformers", "numpy")
sys.argv = ["saewidgets", "--help"]
from saewidgets.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code
check("torch", "transformers", "pandas", "sqlalchemy")
import saewidgets.lm.model_info
check("transformers", "pandas")
"""


def test_what_answers_at_once_loads_nothing_heavy(tmp_path: Path) -> None:
    check = "import sys\ndef check(*names): assert not set(names) & set(sys.modules), set(names) & set(sys.modules)\n"
    command = [sys.executable, "-c", check + WITHOUT_TORCH, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def _documents() -> list[Path]:
    return [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md")), *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("document", _documents(), ids=lambda path: path.name)
def test_paths_in_documents_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    folders = "saewidgets|tests|docs|js|tools|notebooks|benchmarks|\\.ci|\\.github"
    named = {(ROOT, name) for name in re.findall(rf"`((?:{folders})/[\w./-]*)`", text)}
    named |= {(document.parent, link) for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if "://" not in link}
    built = ("saewidgets/widgets/static", "saewidgets/notebooks")
    assert [name for base, name in sorted(named) if not name.startswith(built) and not (base / name).exists()] == []


@pytest.mark.parametrize("document", _documents(), ids=lambda path: path.name)
def test_make_targets_in_documents_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)`", document.read_text(encoding="utf-8")))
    assert named - targets == set()


def test_every_function_in_a_test_module_runs_or_helps() -> None:
    """A misspelt `tset_…` would silently never run: what is not a test and not a fixture is named somewhere else."""
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")}
    names = Counter(re.findall(r"\w+", "\n".join(texts.values())))
    wrong = [
        f"{path.relative_to(ROOT)} {name}"
        for path, text in texts.items()
        for fixture, name in re.findall(r"^(@pytest.fixture.*\n)?def (\w+)", text, re.MULTILINE)
        if path.name.startswith("test_") and not (fixture or name.startswith("test_") or names[name] > 1)
    ]
    assert wrong == []
