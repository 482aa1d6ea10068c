"""Defines ``saewidgets lab``: JupyterLab on a tutorial, in the workspace that the command line uses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

import saewidgets
from saewidgets.cli.doctor import LAB
from saewidgets.cli.output import note
from saewidgets.cli.session import command, session
from saewidgets.errors import NotFoundError, SAEWidgetsError, StorageError
from saewidgets.settings import Settings

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


@command
def lab(
    notebook: Annotated[Path | None, typer.Argument(help="A notebook; else your copy of the tutorial.")] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser window.")] = True,
    port: Annotated[int | None, typer.Option(help="Port to serve on.")] = None,
) -> None:
    """Open JupyterLab on the first tutorial (or on a notebook of yours)."""
    if find_spec("jupyterlab") is None:
        raise SAEWidgetsError("JupyterLab is not installed here.", hint=f"To install it: {LAB}")
    settings = Settings.from_environment()
    home = session.home or settings.home
    if notebook is None:
        notebook = copied(home / "notebooks")
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
    _become(arguments, settings.child_environment(home))
