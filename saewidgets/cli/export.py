"""``saewidgets export``: features as a page, a table, or files of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from saewidgets.cli.extract import Source
from saewidgets.cli.features import Extracted, wanted_of
from saewidgets.cli.options import Json
from saewidgets.cli.output import plural, size, write, write_json
from saewidgets.cli.session import command, open_workspace
from saewidgets.errors import ConfigError

Option = typer.Option


@command
def export(
    sae: Source,
    what: Annotated[str, typer.Argument(metavar="KIND", help="html, json, csv, neuronpedia or vectors.")],
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="A file, replaced if it is there; of neuronpedia and vectors a folder."),
    ],
    features: Annotated[str | None, Option(help="Numbers of features, with commas; else those that match.")] = None,
    show: Annotated[str, Option(help="all, labelled, unlabelled, starred, dead, live or dense.")] = "all",
    search: Annotated[str, Option(help="Words in labels or top tokens.")] = "",
    sort: Annotated[str, Option(help="index, density, max, label or score.")] = "index",
    descending: Annotated[bool, Option("--descending", help="The largest first.")] = False,
    limit: Annotated[int | None, Option(help="How many at most.", min=1)] = None,
    logits: Annotated[
        bool | None, Option("--logits/--no-logits", help="Effects on the next token; else if the model is here.")
    ] = None,
    title: Annotated[str, Option(help="Of the page.")] = "",
    model_id: Annotated[str | None, Option("--model-id", help="Neuronpedia's id of the model.")] = None,
    sae_set: Annotated[str | None, Option("--sae-set", help="Neuronpedia's name of the set of SAEs.")] = None,
    creator: Annotated[str | None, Option(help="Author, for Neuronpedia.")] = None,
    extraction: Extracted = None,
    json: Json = False,
) -> None:
    """Write what an extraction found: a page to share, a table, or files that other tools read."""
    names: dict[str, Any] = {"model_id": model_id, "sae_set": sae_set, "creator": creator}
    with open_workspace() as workspace:
        wanted = wanted_of(workspace, sae, extraction)
        if features is not None:
            indices = _numbers(features)
        else:
            found = workspace.features.indices(wanted, search=search, show=show, sort=sort, descending=descending)
            indices = found[:limit].tolist()
        given = {name: value for name, value in names.items() if value is not None}
        written = workspace.features.export(
            wanted, what, path, indices=indices, logits=logits, title=title, **given,  # type: ignore[arg-type]
        )  # fmt: skip
    files = [written] if written.is_file() else [file for file in written.rglob("*") if file.is_file()]
    total = sum(file.stat().st_size for file in files)
    if json:
        write_json({"path": str(written), "features": len(indices), "size_bytes": total})
    else:
        write(f"{plural(len(indices), 'feature')} written to {written} ({size(total)}).")


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.replace(" ", "").split(",")]
    except ValueError:
        hint = "For example --features 12,7451."
        raise ConfigError(f"{text!r} are not numbers.", where="--features", hint=hint) from None
