"""Defines the commands about this machine: ``saewidgets doctor``, which lists what is installed and works, without
secrets; and ``lab``, JupyterLab on a tutorial."""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

import typer

import saewidgets
from saewidgets.cli.output import note, plural, size, table, write, write_json
from saewidgets.cli.session import FAILED, command, session
from saewidgets.errors import NotFoundError, SAEWidgetsError, StorageError
from saewidgets.settings import SLEEP_SOON, plain_url, spins
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
    """This package, Python, and the libraries that compute."""
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
    from saewidgets.workspace.training.estimates import devices as present  # imports torch: seconds

    for device in present():
        free = f", {size(device.free_bytes)} free" if device.free_bytes is not None else ""
        yield Finding(f"device {device.id}", "ok", device.label + free)
    if spins():
        text = "spin: other programs on the cores slow a run to a fraction"
        yield Finding("waiting threads", "info", text, f"Set {SLEEP_SOON} before Python starts.")
    elif sys.platform == "linux":
        hint = f"Set {SLEEP_SOON} for kernels that saewidgets lab does not start, before they load torch."
        yield Finding("waiting threads", "ok", "sleep soon, and leave the cores to other programs", hint)


def home() -> Iterator[Finding]:
    """The workspace folder: can it be written, is there room, is its catalog sound."""
    folder = session.process.home
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        yield Finding("home", "problem", f"{folder} is not writable", "Name another with --home.")
        return
    url, of = session.process.storage, " (made when first used)" if not folder.exists() else ""
    yield Finding("home", "ok", f"{folder}{of}" if url is None else f"{plain_url(url)}, with copies in {folder}{of}")
    free = shutil.disk_usage(existing).free
    if free < LITTLE_SPACE:
        yield Finding("disk", "warning", f"{size(free)} free", "Checkpoints and tokens may not fit.")
    else:
        yield Finding("disk", "ok", f"{size(free)} free")
    yield from _catalog(folder)


def _catalog(folder: Path) -> Iterator[Finding]:
    url = session.process.catalog_url
    if url is None and not (folder / "catalog.sqlite").is_file():
        yield Finding("catalog", "info", "none yet (made when the workspace is first used)")
        return
    from saewidgets.workspace import CatalogUpkeep, Workspace  # SQLAlchemy: only where there is a catalog

    try:
        upkeep = CatalogUpkeep(folder, url)
        upkeep.check()
        with Workspace(folder, catalog_url=url) as workspace:
            runs = plural(len(workspace.trainings.list()), "run")
        held = upkeep.name if upkeep.path is None else size(upkeep.path.stat().st_size)
        yield Finding("catalog", "ok", f"sound, {runs}, {held}")
    except SAEWidgetsError as error:
        yield Finding("catalog", "problem", f"{error.where}: {error.what}", error.hint)


def cluster() -> Iterator[Finding]:
    """The cluster on which jobs run, where one is named."""
    if (named := session.process.executor) is not None:
        from saewidgets.workspace.ray_jobs import Ray  # only where one is named

        try:
            yield Finding("ray", "ok", Ray.from_text(named).state())
        except SAEWidgetsError as error:
            yield Finding("ray", "problem", error.what, error.hint)


def hub() -> Iterator[Finding]:
    """Where downloaded models are kept and whether downloads are allowed."""
    from huggingface_hub import constants, get_token  # a quarter of a second

    yield Finding("models cache", "ok", str(constants.HF_HUB_CACHE))
    allowed = "downloads are allowed (not tried here)"
    offline = "offline: only what is in the cache loads" if constants.HF_HUB_OFFLINE else allowed
    yield Finding("hugging face", "info" if constants.HF_HUB_OFFLINE else "ok", offline)
    yield Finding("access token", "ok", "found" if get_token() else "none (public models need none)")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (packages, notebook, devices, home, cluster, hub)


@command()
def doctor() -> None:
    """Say what is installed, what works here and what to do about the rest."""
    findings: list[Finding] = []
    for check in CHECKS:
        try:
            findings.extend(check())
        except (ImportError, OSError, RuntimeError, ValueError) as error:
            # one broken part must not hide the others
            findings.append(Finding(check.__name__, "problem", f"{type(error).__name__}: {error}"))
    problems = [finding for finding in findings if finding.level == "problem"]
    if session.json:
        write_json({"ok": not problems, "executable": sys.executable, "findings": findings})
    else:
        rows = [(f.topic, f.level, " ".join(filter(None, [f.text, f.hint and f"→ {f.hint}"]))) for f in findings]
        write(table(("what", "", "found"), rows))
        write(f"\n{len(problems)} problems." if problems else "\nNo problems.")
    if problems:
        raise typer.Exit(FAILED)


TUTORIAL = "01-train.ipynb"


def tutorials() -> Path:
    """The folder with the tutorials: in the package, or beside it in a checkout."""
    package = Path(saewidgets.__file__).parent
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if (folder / TUTORIAL).is_file():
            return folder
    raise NotFoundError("This installation has no tutorials.", where=str(package), hint="Install saewidgets again.")


def copied(folder: Path) -> Path:
    """The first tutorial in `folder`: all are copied there the first time, left as the user made them afterwards."""
    for source in sorted(tutorials().glob("*.ipynb")):
        target = folder / source.name
        if target.exists():
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
        except OSError as error:
            raise StorageError(f"The tutorial cannot be written: {error.strerror}.", where=str(target)) from error
    return folder / TUTORIAL


def _become(arguments: list[str], environment: dict[str, str]) -> None:
    """Run JupyterLab in the place of this process, so that whoever ends the one ends the other."""
    if os.name == "posix":
        sys.stderr.flush()
        os.execve(arguments[0], arguments, environment)
    raise typer.Exit(subprocess.run(arguments, check=False, env=environment).returncode)


@command(json=False)
def lab(
    notebook: Annotated[Path | None, typer.Argument(help="A notebook; else your copy of the tutorial.")] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser window.")] = True,
    port: Annotated[int | None, typer.Option(help="Port to serve on.")] = None,
) -> None:
    """Open JupyterLab on the first tutorial (or on a notebook of yours)."""
    if find_spec("jupyterlab") is None:
        raise SAEWidgetsError("JupyterLab is not installed here.", hint=f"To install it: {LAB}")
    if notebook is None:
        notebook = copied(session.process.home / "notebooks")
        note(f"Your copies of the tutorials: {notebook.parent}")
    elif not notebook.is_file():
        raise NotFoundError("There is no such notebook.", where=str(notebook))
    notebook = notebook.absolute()
    # As the default page, so that the address JupyterLab prints leads to it too, not only the browser it opens.
    page = f"/lab/tree/{quote(notebook.name)}"
    arguments = [sys.executable, "-m", "jupyterlab"]
    arguments += [f"--ServerApp.root_dir={notebook.parent}", f"--LabApp.default_url={page}"]
    if not browser:
        arguments.append("--no-browser")
    if port is not None:
        arguments.append(f"--port={port}")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--allow-root")  # containers; JupyterLab listens on loopback only and asks for a token
    _become(arguments, session.process.child_environment())
