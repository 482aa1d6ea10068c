"""Defines ``saewidgets label``: labels of features, made, judged, taken in and written out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saewidgets.cli.extract import Source
from saewidgets.cli.features import Extracted, Index, wanted_of
from saewidgets.cli.options import Grouped, Json, Option, Quiet
from saewidgets.cli.output import answer, count, note, number, plural, write
from saewidgets.cli.session import FAILED, Group, open_workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from saewidgets.events import Progress

label = Group("Label features.")
_TOLD = 5  # reasons that are printed


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


ASKED, COST = "Who is asked", "What it may cost"


@label.verb("auto", cls=Grouped)
def auto(
    sae: Source,
    llm: Annotated[
        str, Option(metavar="KIND", help="heuristic, openai or transformers.", rich_help_panel=ASKED)
    ] = "heuristic",
    model_name: Annotated[
        str | None, Option(help="As the server calls it; else a Hugging Face id or folder.", rich_help_panel=ASKED)
    ] = None,
    base_url: Annotated[
        str | None, Option(help="Any server like OpenAI's: http://127.0.0.1:8000/v1.", rich_help_panel=ASKED)
    ] = None,
    key_env: Annotated[
        str | None,
        Option(
            "--key-env", metavar="NAME", rich_help_panel=ASKED,
            help="Environment variable with the key, else OPENAI_API_KEY for OpenAI and none for others.",
        ),
    ] = None,
    concurrency: Annotated[int, Option(help="Questions under way at once.", min=1, max=256, rich_help_panel=ASKED)] = 4,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Print exact prompts and cost; send nothing.", rich_help_panel=COST)
    ] = False,
    limit: Annotated[int | None, Option(help="At most so many features.", min=1, rich_help_panel=COST)] = None,
    price: Annotated[
        tuple[float, float] | None,
        Option(metavar="IN OUT", help="Per million tokens of prompts and of answers.", rich_help_panel=COST),
    ] = None,
    max_cost: Annotated[
        float | None, Option(help="Stop before more is spent; needs --price.", rich_help_panel=COST)
    ] = None,
    again: Annotated[bool, Option("--again", help="Also features that have a label.")] = False,
    scored: Annotated[bool, Option("--score", help="Then have the new labels judged on other text.")] = False,
    extraction: Extracted = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Label live features: by the words that their examples share, or by a language model. A key is never an option."""
    from saewidgets.workspace.llms import language_model  # SQLAlchemy and more: not for the help

    chosen: dict[str, Any] = {"again": again, "limit": limit, "price": price}
    with open_workspace() as workspace:
        wanted = wanted_of(workspace, sae, extraction)
        who = language_model(
            workspace, llm, model=model_name, base_url=base_url, key_env=key_env, load=not dry_run
        )
        if dry_run:
            plan = workspace.features.plan_labels(wanted, who, **chosen)
            answer(json, _planned(plan), str(plan))
            return
        asked: dict[str, Any] = {"concurrency": concurrency, "progress": _teller(quiet)}
        run = workspace.features.auto_label(wanted, who, **chosen, **asked, max_cost=max_cost)
        judged = None
        if scored and run.labels:
            left = None if max_cost is None else max(0.0, max_cost - (run.cost or 0.0))
            judged = workspace.features.score(
                wanted, who, indices=[one.index for one in run.labels], price=price, max_cost=left, **asked
            )
    counts = {
        "labelled": len(run.labels), "failed": len(run.failures), "same": len(run.same), "dead": len(run.dead),
        "left": len(run.left), "tokens_in": run.tokens_in, "tokens_out": run.tokens_out, "cost": run.cost,
        "stopped": run.stopped,
    }  # fmt: skip
    answer(json, counts if judged is None else {**counts, "score": _judged(judged)}, str(run))
    if judged is not None and not json:
        _say_judged(judged)
    _say_why([(one.index, one.error) for one in run.failures], "Not labelled")
    if run.failures and not run.labels:
        raise typer.Exit(FAILED)


def _planned(plan: Any) -> dict[str, Any]:
    return {
        "model": plan.model, "features": plan.n_questions, "sent": plan.sent, "tokens_in": plan.tokens_in,
        "tokens_out": plan.tokens_out, "cost": plan.cost, "same": len(plan.same), "dead": len(plan.dead),
        "broken": len(plan.broken),
        "prompts": [{"index": q.index, "tokens": q.tokens_in, "messages": list(q.messages)} for q in plan.first],
    }  # fmt: skip


def _judged(run: Any) -> dict[str, Any]:
    scored = [one.score.value or 0.0 for one in run.labels if one.score is not None]
    mean = sum(scored) / len(scored) if scored else None
    return {
        "judged": len(run.labels), "same": len(run.same), "errors": len(run.errors), "left": len(run.left), "mean": mean
    }


def _say_judged(run: Any) -> None:
    found = _judged(run)
    judged, errors = plural(found["judged"], "label"), count(found["errors"])
    write(f"{judged} judged, {errors} could not be; mean {number(found['mean'])}")
    _say_why([(one.index, error) for one, error in run.errors], "Not judged")


def _say_why(problems: Sequence[tuple[int, str]], what: str) -> None:
    """The reasons of the first few."""
    for index, error in problems[:_TOLD]:
        note(f"{what}: {index}: {error}")
    if len(problems) > _TOLD:
        note(f"{what}: {count(len(problems) - _TOLD)} more")


@label.verb("score")
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
    if not json:
        _say_judged(run)
    else:
        answer(json, _judged(run))


@label.verb("set")
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
    answer(json, record, f"{record.index}: {record.label or 'no label'}")


@label.verb("import")
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
    data = {"imported": len(done.labels), "skipped": len(problems), "problems": problems[:100]}
    answer(json, data, f"Imported {plural(len(done.labels), 'label')}")
    for problem in () if json else problems[:10]:
        note(f"Skipped: {problem}")


@label.verb("export")
def export(
    sae: Source,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A .csv or .jsonl file; one that is there is replaced.")],
    json: Json = False,
) -> None:
    """Write all labels to a file."""
    with open_workspace() as workspace:
        written = workspace.features.export_labels(wanted_of(workspace, sae), path)
    answer(json, {"path": written, "size_bytes": written.stat().st_size}, f"Wrote {written}")
