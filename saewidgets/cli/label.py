"""``saewidgets label …``: labels of features, made, judged, taken in and written out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saewidgets.cli.extract import Source
from saewidgets.cli.features import Extracted, Index, wanted_of
from saewidgets.cli.options import Json, Quiet
from saewidgets.cli.output import count, note, number, write, write_json
from saewidgets.cli.session import command, open_workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from saewidgets.events import Progress

Option = typer.Option
label = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@label.callback()
def group() -> None:
    """Label features."""  # what `saewidgets label --help` begins with


def _teller(quiet: bool) -> Callable[[Progress], None]:
    """A line at every tenth of the way."""
    told = -1

    def tell(progress: Progress) -> None:
        nonlocal told
        tenth = int(10 * progress.fraction)
        if not quiet and tenth > told:
            told = tenth
            note(f"{progress.phase}: {count(progress.done)} of {count(progress.total)} features")

    return tell


@label.command("auto")
@command
def auto(
    sae: Source,
    again: Annotated[bool, Option("--again", help="Also features that have a label.")] = False,
    extraction: Extracted = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Label every live feature by the words that its examples share: no language model is needed."""
    with open_workspace() as workspace:
        wanted = wanted_of(workspace, sae, extraction)
        run = workspace.features.auto_label(wanted, again=again, progress=_teller(quiet))
    counts = {"labelled": len(run.labels), "failed": len(run.failures), "same": len(run.same), "dead": len(run.dead)}
    if json:
        write_json(counts)
    else:
        write(str(run))


@label.command("score")
@command
def score(
    sae: Source,
    scorer: Annotated[str, Option(help="detection or fuzzing.")] = "detection",
    extraction: Extracted = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge the labels on text they were not made from, by matching words: no language model is needed."""
    with open_workspace() as workspace:
        wanted = wanted_of(workspace, sae, extraction)
        run = workspace.features.score(wanted, scorer=scorer, progress=_teller(quiet))
    scored = [one for one in run.labels if one.score is not None]
    mean = sum(one.score.value or 0.0 for one in scored if one.score) / len(scored) if scored else None
    found: dict[str, Any] = {"judged": len(run.labels), "same": len(run.same), "errors": len(run.errors), "mean": mean}
    if json:
        write_json(found)
        return
    write(f"{count(found['judged'])} labels judged, {count(found['errors'])} could not be; mean {number(mean)}")


@label.command("set")
@command
def set_(
    sae: Source,
    index: Index,
    text: Annotated[str, typer.Argument(metavar="TEXT", help='A short phrase; "" removes your label.')],
    description: Annotated[str, Option(help="More of it.")] = "",
    json: Json = False,
) -> None:
    """Label one feature yourself. Your label wins over all others."""
    with open_workspace() as workspace:
        feature = workspace.features.feature(wanted_of(workspace, sae), index)
        record = workspace.features.label(feature.id, text, description)
    if json:
        write_json(record)
    else:
        write(f"{record.index}: {record.label or 'no label'}")


@label.command("import")
@command
def import_(
    sae: Source,
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="A .csv or .jsonl file, an export of Neuronpedia's, or MODEL/SOURCE.")
    ],
    skip_errors: Annotated[bool, Option("--skip-errors", help="Leave out lines that are wrong.")] = False,
    json: Json = False,
) -> None:
    """Take in labels; those you wrote yourself stay."""
    with open_workspace() as workspace:
        wanted = wanted_of(workspace, sae)
        done = workspace.features.import_labels(wanted, source, on_error="skip" if skip_errors else None)
    problems = [str(problem) for problem in done.problems]
    if json:
        write_json({"imported": len(done.labels), "skipped": len(problems), "problems": problems[:100]})
        return
    write(f"Imported {count(len(done.labels))} labels")
    for problem in problems[:10]:
        note(f"Skipped: {problem}")


@label.command("export")
@command
def export(
    sae: Source,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A .csv or .jsonl file; one that is there is replaced.")],
    json: Json = False,
) -> None:
    """Write all labels to a file."""
    with open_workspace() as workspace:
        written = workspace.features.export_labels(wanted_of(workspace, sae), path)
    if json:
        write_json({"path": written, "size_bytes": written.stat().st_size})
    else:
        write(f"Wrote {written}")
