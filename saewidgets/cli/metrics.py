"""``saewidgets metrics``: what a run measured, as a table, CSV or JSON."""

from __future__ import annotations

import json as json_module
import math
import sys
from typing import Annotated

import typer

from saewidgets.cli.options import Json, RunId
from saewidgets.cli.output import number, table, write, write_json
from saewidgets.cli.session import command, open_workspace
from saewidgets.errors import ConfigError


@command
def metrics(
    run: RunId,
    names: Annotated[str, typer.Option(help="Comma-separated names; all of them when empty.")] = "loss,l0,fvu",
    min_step: Annotated[int | None, typer.Option("--min-step", help="Leave out earlier steps.")] = None,
    last: Annotated[int | None, typer.Option(min=1, help="Only this many newest steps.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, one line per value.")] = False,
    json: Json = False,
) -> None:
    """Print the metrics of a run."""
    wanted = [name.strip() for name in names.split(",") if name.strip()] or None
    if csv and json:
        raise ConfigError("The output is either CSV or JSON.", where="--csv", hint="Give --csv or --json.")
    with open_workspace() as workspace:
        frame = workspace.trainings.get(run).metrics(names=wanted, min_step=min_step)
    if last is not None:
        frame = frame[frame["step"].isin(sorted(frame["step"].unique())[-last:])]
    if csv:
        frame.to_csv(sys.stdout, index=False)
    elif json:
        text = frame.to_json(orient="records", date_format="iso", double_precision=15)  # NaN becomes null
        write_json(json_module.loads(text))
    elif frame.empty:
        write("No metrics yet.")
    else:
        wide = frame.pivot_table(index="step", columns="name", values="value")
        shown = [name for name in wanted or [] if name in wide] or [str(name) for name in wide.columns]
        rows = [
            [step, *("" if math.isnan(value) else number(float(value)) for value in row)]  # NaN: not measured then
            for step, row in zip(wide.index, wide[shown].to_numpy(), strict=True)
        ]
        write(table(["step", *shown], rows, right=range(len(shown) + 1)))
