"""Defines the command tree and the options before the verb; `saewidgets.cli.main` runs it."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from saewidgets.cli import activations as stores
from saewidgets.cli import catalog as catalogs
from saewidgets.cli import doctor, extract, features, hub, label, pipeline, runs, saes
from saewidgets.cli import train as training
from saewidgets.cli.output import write
from saewidgets.cli.session import SectionedCommand, session
from saewidgets.version import __version__

app = typer.Typer(
    name="saewidgets",
    help="Train sparse autoencoders of language models, watch them and read what they found.",
    epilog="Exit status: 0 done, 1 failed, 2 wrong usage or setting, 3 not found, 130 paused.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        write(f"saewidgets {__version__}")
        raise typer.Exit()


@app.callback()
def options(
    home: Annotated[
        str | None, typer.Option(metavar="DIR", help="Workspace folder, or the URL of one; else $SAEWIDGETS_HOME.")
    ] = None,
    catalog: Annotated[
        str | None, typer.Option(metavar="URL", help="SQLAlchemy URL of a shared catalog, else $SAEWIDGETS_CATALOG.")
    ] = None,
    executor: Annotated[
        str | None, typer.Option(metavar="NAME", help="Where jobs run: ray?gpus=1, else $SAEWIDGETS_EXECUTOR.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Take the options before the verb."""
    session.home = home if home and "://" in home else Path(home).expanduser().absolute() if home else None
    session.catalog, session.executor = catalog, executor
    session.debug = debug


_COMMANDS: dict[str, Callable[..., None]] = {
    "demo": runs.demo, "train": training.train, "presets": training.presets, "pipeline": pipeline.pipeline,
    "list": runs.list_runs, "show": runs.show, "metrics": runs.metrics, "pause": runs.pause, "resume": runs.resume,
    "stop": runs.stop, "retry": runs.retry, "delete": runs.delete, "steer": features.steer, "extract": extract.extract,
    "export": features.export, "evaluate": saes.evaluate, "lab": doctor.lab, "doctor": doctor.doctor,
}  # fmt: skip
for _name, _function in _COMMANDS.items():
    app.command(_name, cls=SectionedCommand)(_function)
_GROUPS = {
    "saes": saes.saes, "templates": training.templates, "extractions": extract.extractions,
    "features": features.features, "label": label.label, "activations": stores.activations, "hub": hub.hub,
    "catalog": catalogs.catalog,
}  # fmt: skip
for _name, _group in _GROUPS.items():
    app.add_typer(_group, name=_name)
