"""Defines ``saewidgets doctor``: what is installed, what works here, what to do about the rest. Shows no secrets."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import typer

from saewidgets.cli.options import Json
from saewidgets.cli.output import plural, size, table, write, write_json
from saewidgets.cli.session import FAILED, command, session
from saewidgets.errors import SAEWidgetsError
from saewidgets.settings import Settings
from saewidgets.version import __version__

PACKAGES = ("torch", "transformers", "huggingface_hub", "safetensors", "numpy", "pandas", "sqlalchemy", "pydantic")
NOTEBOOK_PACKAGES = ("ipywidgets", "anywidget", "bqplot", "jupyterlab", "ipykernel")
LAB = 'pip install "saewidgets[lab]"'
LITTLE_SPACE = 2_000_000_000  # bytes; a small model, its tokens and a few checkpoints


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    topic: str
    level: Literal["ok", "info", "warning", "problem"]
    text: str
    hint: str | None = None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _release(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: ``(7, 4, 0)`` for ``7.4.0rc1``."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _package(name: str) -> Finding:
    if version := _version(name):
        return Finding(name, "ok", version)
    if name in ("jupyterlab", "ipykernel"):
        return Finding(name, "info", "not installed (saewidgets lab and other notebooks here use it)", LAB)
    return Finding(name, "problem", "not installed", f"pip install {name}")


def packages() -> Iterator[Finding]:
    """This package, Python, and what the computations stand on."""
    yield Finding("saewidgets", "ok", __version__)
    yield Finding("python", "ok", f"{platform.python_version()} on {platform.platform()}")
    yield from map(_package, PACKAGES)


def notebook() -> Iterator[Finding]:
    """JupyterLab and the widget packages, and whether buttons work while a cell runs."""
    yield from map(_package, NOTEBOOK_PACKAGES)
    lab, kernel = (_release(_version(name) or "") for name in ("jupyterlab", "ipykernel"))
    if lab >= (4, 4) and kernel >= (7,):
        yield Finding("clicks while a cell runs", "ok", "reach Python at once in JupyterLab (kernel subshells)")
    else:
        yield Finding(
            "clicks while a cell runs", "info", "wait until the cell has ended; trainings run on in the background",
            "JupyterLab 4.4 and ipykernel 7 or newer answer them at once.",
        )  # fmt: skip


def devices() -> Iterator[Finding]:
    """What a run can compute on."""
    from saewidgets.workspace.devices import devices as present  # imports torch: seconds

    for device in present():
        free = f", {size(device.free_bytes)} free" if device.free_bytes is not None else ""
        yield Finding(f"device {device.id}", "ok", device.label + free)


def home() -> Iterator[Finding]:
    """The workspace folder: can it be written, is there room, is its catalog sound."""
    folder = session.home or Settings.from_environment().home
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        yield Finding("home", "problem", f"{folder} is not writable", "Name another with --home.")
        return
    yield Finding("home", "ok", f"{folder}{'' if folder.exists() else ' (made when first used)'}")
    free = shutil.disk_usage(existing).free
    if free < LITTLE_SPACE:
        yield Finding("disk", "warning", f"{size(free)} free", "Checkpoints and tokens may not fit.")
    else:
        yield Finding("disk", "ok", f"{size(free)} free")
    yield from _catalog(folder)


def _catalog(folder: Path) -> Iterator[Finding]:
    path = folder / "catalog.sqlite"
    if not path.is_file():
        yield Finding("catalog", "info", "none yet (made when the workspace is first used)")
        return
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)
        try:
            answers = [row[0] for row in connection.execute("PRAGMA quick_check(5)")]
        finally:
            connection.close()
    except sqlite3.Error as error:
        yield Finding("catalog", "problem", f"{path} cannot be read: {error}", "Restore a copy of the file.")
        return
    if answers != ["ok"]:
        yield Finding("catalog", "problem", f"{path} is damaged: {answers[0]}", "Restore a copy of the file.")
        return
    from saewidgets.workspace import Workspace  # SQLAlchemy: only where there is a catalog

    try:
        workspace = Workspace(folder)
    except SAEWidgetsError as error:
        yield Finding("catalog", "problem", str(error))
        return
    try:
        runs = plural(len(workspace.trainings.list()), "run")
        yield Finding("catalog", "ok", f"sound, {runs}, {size(path.stat().st_size)}")
    finally:
        workspace.close()


def hub() -> Iterator[Finding]:
    """Where downloaded models are kept and whether downloads are allowed."""
    from huggingface_hub import constants, get_token  # a quarter of a second

    yield Finding("models cache", "ok", str(constants.HF_HUB_CACHE))
    allowed = "downloads are allowed (not tried here)"
    offline = "offline: only what is in the cache loads" if constants.HF_HUB_OFFLINE else allowed
    yield Finding("hugging face", "info" if constants.HF_HUB_OFFLINE else "ok", offline)
    yield Finding("access token", "ok", "found" if get_token() else "none (public models need none)")


def developer_tools() -> Iterator[Finding]:
    """What only building and testing need."""
    node = shutil.which("node")
    if node:
        done = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30, check=False)
        yield Finding("node", "info", f"{done.stdout.strip() or 'does not run'} (builds the frontends)")
    else:
        yield Finding("node", "info", "none (only building from source uses it; a Python package steps in)")
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    yield Finding("chromium", "info", f"{browser or 'none'} (browser tests only)")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (packages, notebook, devices, home, hub, developer_tools)


@command
def doctor(json: Json = False) -> None:
    """Say what is installed, what works here and what to do about the rest."""
    findings: list[Finding] = []
    for check in CHECKS:
        try:
            findings.extend(check())
        except (ImportError, OSError, RuntimeError, ValueError, subprocess.SubprocessError) as error:
            # one broken part must not hide the others
            findings.append(Finding(check.__name__, "problem", f"{type(error).__name__}: {error}"))
    problems = [finding for finding in findings if finding.level == "problem"]
    if json:
        write_json({"ok": not problems, "executable": sys.executable, "findings": findings})
    else:
        rows = [(f.topic, f.level, " ".join(filter(None, [f.text, f.hint and f"→ {f.hint}"]))) for f in findings]
        write(table(("what", "", "found"), rows))
        write(f"\n{len(problems)} problems." if problems else "\nNo problems.")
    if problems:
        raise typer.Exit(FAILED)
