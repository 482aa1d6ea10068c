"""What the pages show can be typed: the names, arguments and options of their code exist. Nothing of it is run."""

import ast
import functools
import importlib
import inspect
import json
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

import saewidgets as sw
from saewidgets.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOTATION = {"architecture.md", "catalog.md", "jobs.md", "extraction.md"}
"""Pages with overviews of an interface: signatures, which are not code."""


def _blocks(page: Path, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@dataclass
class _Instance:
    """Some object of a class."""

    kind: type


@functools.cache
def _set_in(kind: type) -> frozenset[str]:
    """Attributes that the methods of a class of this package set."""
    sources = [inspect.getsource(base) for base in kind.__mro__ if base.__module__.startswith("saewidgets")]
    return frozenset(name for source in sources for name in re.findall(r"self\.(\w+)\s*[:=,]", source))


def _returned(function: Any) -> Any:
    """An instance of the class of this package that a function says it returns; None where it says something else."""
    if inspect.isclass(function):
        return _Instance(function) if function.__module__.startswith("saewidgets") else None
    function = inspect.unwrap(function.func if isinstance(function, functools.partial) else function)
    said = inspect.formatannotation(getattr(function, "__annotations__", {}).get("return", ""))
    name = re.sub(r"\w+\.", "", said).strip("'").removesuffix(" | None")
    kind = _named(sys.modules[function.__module__], name) if name.isidentifier() else None
    return _Instance(kind) if inspect.isclass(kind) and kind.__module__.startswith("saewidgets") else None


def _named(module: Any, name: str) -> Any:
    """What a name means in a module, also where only the type checker imports it."""
    if hasattr(module, name):
        return getattr(module, name)
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            return getattr(importlib.import_module(str(node.module)), name, None)
    return None


class _Reader:
    """Follows the names of a page's code: the package, a workspace, and what their functions return."""

    def __init__(self, ws: sw.Workspace) -> None:
        self.known: dict[str, Any] = {"sw": sw, "ws": ws}
        self.wrong: list[str] = []
        self.calls = 0

    def read(self, block: str) -> None:
        for statement in ast.parse(block).body:
            if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("saewidgets"):
                self._import(statement)
            for node in ast.walk(statement):
                if isinstance(node, ast.Call):
                    self._check(node)
                elif isinstance(node, ast.Attribute):
                    self._meant(node)
            if isinstance(statement, ast.Assign):
                for target in statement.targets:
                    self.known[ast.unparse(target)] = self._meant(statement.value)

    def _import(self, statement: ast.ImportFrom) -> None:
        module = importlib.import_module(str(statement.module))
        for alias in statement.names:
            if not hasattr(module, alias.name):
                importlib.import_module(f"{statement.module}.{alias.name}")
            self.known[alias.asname or alias.name] = getattr(module, alias.name)

    def _meant(self, node: ast.expr) -> Any:
        """What an expression is; None where the code does not tell."""
        if isinstance(node, ast.Name):
            return self.known.get(node.id)
        if isinstance(node, ast.Call):
            return None if (function := self._meant(node.func)) is None else _returned(function)
        owner = self._meant(node.value) if isinstance(node, ast.Attribute) else None
        if owner is None or not isinstance(node, ast.Attribute):
            return None
        if not isinstance(owner, _Instance):
            if not hasattr(owner, node.attr):
                self._miss(node, "does not exist")
            return getattr(owner, node.attr, None)
        found = inspect.getattr_static(owner.kind, node.attr, None)
        if inspect.isfunction(found):
            return functools.partial(found, None)  # bound to something
        if isinstance(found, property):
            return _returned(found.fget)
        declared = {name for base in owner.kind.__mro__ for name in vars(base).get("__annotations__", ())}
        if found is None and node.attr not in declared | _set_in(owner.kind):
            self._miss(node, f"does not exist in {owner.kind.__name__}")
        return None

    def _check(self, node: ast.Call) -> None:
        """Whether a function takes these arguments. `...` as the only one stands for any."""
        function = self._meant(node.func)
        if function is None or isinstance(function, _Instance):
            return
        if any(isinstance(each, ast.Starred) or ast.unparse(each) == "..." for each in node.args):
            return
        self.calls += 1
        try:
            named = {word.arg: None for word in node.keywords if word.arg is not None}
            inspect.signature(function).bind(*[None for _ in node.args], **named)
        except TypeError as error:
            self._miss(node.func, str(error))

    def _miss(self, node: ast.expr, what: str) -> None:
        if (miss := f"{ast.unparse(node)}: {what}") not in self.wrong:
            self.wrong.append(miss)


@pytest.fixture(scope="module")
def ws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sw.Workspace]:
    with sw.Workspace(tmp_path_factory.mktemp("documents")) as workspace:
        yield workspace


@pytest.mark.parametrize("document", [page for page in PAGES if _blocks(page, "python")], ids=lambda page: page.name)
def test_code_is_of_names_and_arguments_that_exist(document: Path, ws: sw.Workspace) -> None:
    reader = _Reader(ws)
    for block in _blocks(document, "python"):
        try:
            reader.read(block)
        except SyntaxError:
            assert document.name in NOTATION, block
    assert reader.wrong == []


def _lines(page: Path) -> list[str]:
    text = "".join(_blocks(page, "console")).replace("\\\n", " ")
    return [line[2:] for line in text.splitlines() if line.startswith("$ saewidgets ")]


@pytest.mark.parametrize("document", [page for page in PAGES if _lines(page)], ids=lambda page: page.name)
def test_commands_are_of_options_that_exist(document: Path) -> None:
    for line in _lines(document):
        command: Any = typer.main.get_command(app)
        words = shlex.split(re.split(r" [>|] ", line)[0], comments=True)[1:]
        while hasattr(command, "commands"):
            place = next((n for n, word in enumerate(words) if word in command.commands), None)
            assert place is not None, line
            command, words = command.commands[words[place]], words[place + 1 :]
        options = {name: option for option in command.params for name in (*option.opts, *option.secondary_opts)}
        assert [word for word in words if word.startswith("--") and word.split("=")[0] not in options] == [], line
        command.make_context(command.name, words)  # raises for a word too many, a number that is none


REPOSITORY = "https://github.com/saewidgets/saewidgets"


@pytest.mark.parametrize(
    "document", [ROOT / "README.md", *sorted((ROOT / "notebooks").glob("*.ipynb"))], ids=lambda document: document.name
)
def test_links_and_pictures_work_where_the_document_is_alone(document: Path) -> None:
    """The README is PyPI's page, a notebook is opened in Colab: what they point at is an address, and in this tree."""
    text = document.read_text("utf-8")
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"""\b(?:src|srcset|href)=\\?["']([^"'\\]+)""", text)
    assert [each for each in found if not each.startswith("https://")] == []
    parts = re.compile(r"https://(?:github\.com|raw\.githubusercontent\.com|colab\.research\.google\.com/github)/(.*)")
    own = [match[1] for each in found if (match := parts.fullmatch(each)) and "/main/" in each]
    assert own
    assert {each.partition("/blob/main/")[0].partition("/main/")[0] for each in own} == {
        REPOSITORY.removeprefix("https://github.com/")
    }
    paths = {each.partition("/main/")[2].partition("#")[0] for each in own}
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.name)
def test_a_notebook_has_a_badge_and_installs_the_package(notebook: Path) -> None:
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    address = f"https://colab.research.google.com/github/saewidgets/saewidgets/blob/main/notebooks/{notebook.name}"
    assert f"({address})" in "".join(cells[0]["source"])
    install = "".join(cells[1]["source"])
    assert 'find_spec("saewidgets") is None' in install
    assert "%pip install" in install


def test_the_project_says_where_it_is() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"] == {"Repository": REPOSITORY}
