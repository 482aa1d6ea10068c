"""Defines the command tree and the options before the verb; `saewidgets.cli.main` runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saewidgets import __version__
from saewidgets.cli import activations as stores
from saewidgets.cli import catalog, doctor, extract, features, hub, lab, label, pipeline, runs, saes, steer, templates
from saewidgets.cli import train as training
from saewidgets.cli.output import write
from saewidgets.cli.session import session

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
        Path | None,
        typer.Option("--home", metavar="DIR", file_okay=False, help="Workspace folder, else $SAEWIDGETS_HOME."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Take the options before the verb."""
    session.home = home.expanduser().absolute() if home else None
    session.debug = debug


app.command("demo")(runs.demo)
app.command("train", cls=training.Settings)(training.train)
app.command("presets")(training.presets)
app.command("pipeline", cls=pipeline.Settings)(pipeline.pipeline)
app.command("list")(runs.list_runs)
app.command("show")(runs.show)
app.command("metrics")(runs.metrics)
app.command("pause")(runs.pause)
app.command("resume")(runs.resume)
app.command("stop")(runs.stop)
app.command("retry")(runs.retry)
app.command("delete")(runs.delete)
app.command("steer")(steer.steer)
app.command("extract", cls=extract.Settings)(extract.extract)
app.command("export")(features.export)
app.command("evaluate")(saes.evaluate)
app.command("lab")(lab.lab)
app.command("doctor")(doctor.doctor)
app.add_typer(saes.saes, name="saes")
app.add_typer(templates.templates, name="templates")
app.add_typer(extract.extractions, name="extractions")
app.add_typer(features.features, name="features")
app.add_typer(label.label, name="label")
app.add_typer(stores.activations, name="activations")
app.add_typer(hub.hub, name="hub")
app.add_typer(catalog.catalog, name="catalog")
