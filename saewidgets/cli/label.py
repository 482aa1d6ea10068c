"""Defines ``saewidgets label``: make, score, import and export labels of features."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from saewidgets.cli.extract import Source
from saewidgets.cli.features import Extracted, Index, wanted_of
from saewidgets.cli.options import Option
from saewidgets.cli.output import count, note, plural
from saewidgets.cli.session import FAILED, CommandGroup, answer, session
from saewidgets.events import Progress

label = CommandGroup("Label features.")
_TOLD = 5  # reasons that are printed


def _teller() -> Callable[[Progress], None]:
    """A line at every tenth of the way."""
    told = -1

    def tell(progress: Progress) -> None:
        nonlocal told
        tenth = int(10 * progress.fraction)
        if not session.quiet and tenth > told:
            told = tenth
            note(f"{progress.phase}: {count(progress.done)} of {count(progress.total)} features")

    return tell


ASKED, COST = "Who is asked", "What it may cost"


@label.verb("auto", quiet=True)
def auto(
    sae: Source,
    llm: Annotated[
        str, Option(metavar="KIND", help="heuristic, openai or transformers.", rich_help_panel=ASKED)
    ] = "heuristic",
    model_name: Annotated[
        str | None, Option(help="Name on the server, or a Hugging Face id or folder.", rich_help_panel=ASKED)
    ] = None,
    base_url: Annotated[
        str | None, Option(help="A server with OpenAI's API: http://127.0.0.1:8000/v1.", rich_help_panel=ASKED)
    ] = None,
    key_env: Annotated[
        str | None,
        Option(
            "--key-env", metavar="NAME", rich_help_panel=ASKED,
            help="Environment variable with the key. Default: OPENAI_API_KEY for OpenAI, no key for other servers.",
        ),
    ] = None,
    concurrency: Annotated[int, Option(help="Questions under way at once.", min=1, max=256, rich_help_panel=ASKED)] = 4,
    dry_run: Annotated[
        bool, Option("--dry-run", help="Print the first prompts and the cost; send nothing.", rich_help_panel=COST)
    ] = False,
    limit: Annotated[int | None, Option(help="Label at most this many features.", min=1, rich_help_panel=COST)] = None,
    price: Annotated[
        tuple[float, float] | None,
        Option(metavar="IN OUT", help="Per million tokens of prompts and of answers.", rich_help_panel=COST),
    ] = None,
    max_cost: Annotated[
        float | None, Option(help="Stop before more is spent; needs --price.", rich_help_panel=COST)
    ] = None,
    again: Annotated[bool, Option("--again", help="Label features that have a label as well.")] = False,
    scored: Annotated[bool, Option("--score", help="Then have the new labels judged on other text.")] = False,
    extraction: Extracted = None,
) -> None:
    """Label the live features without a label, by the words that their examples share or by a language model. For a
    language model, labels made from shared words do not count. A key is never an option."""
    from saewidgets.workspace.features import language_model  # SQLAlchemy and more: not for the help

    chosen: dict[str, Any] = {"again": again, "limit": limit, "price": price, "score": scored}
    workspace = session.workspace
    wanted = wanted_of(sae, extraction)
    who = language_model(workspace, llm, model=model_name, base_url=base_url, key_env=key_env, load=not dry_run)
    if dry_run:
        plan = workspace.features.plan_labels(wanted, who, **chosen)
        answer(_planned(plan), str(plan))
        return
    run = workspace.features.auto_label(
        wanted, who, **chosen, concurrency=concurrency, progress=_teller(), max_cost=max_cost
    )
    found: dict[str, Any] = {
        "labelled": len(run.labels), "failed": len(run.failures), "same": len(run.same), "dead": len(run.dead),
        "left": len(run.left), "tokens_in": run.tokens_in, "tokens_out": run.tokens_out, "cost": run.cost,
        "stopped": run.stopped,
    }  # fmt: skip
    notes: list[str] = []
    if run.judged is not None:
        found["score"], notes = _judged(run.judged)
    answer(found, str(run), notes=notes)
    for line in _reasons([(one.index, one.error) for one in run.failures], "Not labelled"):
        note(line)
    if run.failures and not run.labels:
        raise typer.Exit(FAILED)


def _planned(plan: Any) -> dict[str, Any]:
    return {
        "model": plan.model, "features": plan.n_questions, "judgements": plan.n_judgements, "sent": plan.sent,
        "tokens_in": plan.tokens_in, "tokens_out": plan.tokens_out, "cost": plan.cost, "same": len(plan.same),
        "dead": len(plan.dead), "broken": len(plan.broken),
        "prompts": [{"index": q.index, "tokens": q.tokens_in, "messages": list(q.messages)} for q in plan.first],
    }  # fmt: skip


def _judged(run: Any) -> tuple[dict[str, Any], list[str]]:
    """The numbers, and for a reader the reasons of errors."""
    counts = {name: len(getattr(run, name)) for name in ("same", "errors", "left")}
    found = {"judged": len(run.labels), **counts, "mean": run.mean}
    return found, _reasons([(one.index, error) for one, error in run.errors], "Not judged")


def _reasons(problems: Sequence[tuple[int, str]], what: str) -> list[str]:
    """The reasons of the first few."""
    more = [f"{what}: {count(len(problems) - _TOLD)} more"] if len(problems) > _TOLD else []
    return [*(f"{what}: feature {index}: {error}" for index, error in problems[:_TOLD]), *more]


@label.verb("score", quiet=True)
def score(
    sae: Source,
    scorer: Annotated[str, Option(help="detection or fuzzing.")] = "detection",
    extraction: Extracted = None,
) -> None:
    """Judge the labels on text they were not made from, by matching words: no language model is needed."""
    wanted = wanted_of(sae, extraction)
    run = session.workspace.features.score(wanted, scorer=scorer, progress=_teller())
    found, notes = _judged(run)
    answer(found, str(run), notes=notes)


@label.verb("set")
def set_(
    sae: Source,
    index: Index,
    text: Annotated[str, typer.Argument(metavar="TEXT", help='A short phrase; "" removes your label.')],
    description: Annotated[str, Option(help="A longer description.")] = "",
) -> None:
    """Label one feature yourself. Your label wins over all others."""
    workspace = session.workspace
    feature = workspace.features.feature(wanted_of(sae), index)
    record = workspace.features.label(feature.id, text, description)
    answer(record, f"{record.index}: {record.label or 'no label'}")


@label.verb("import")
def import_(
    sae: Source,
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="A .csv or .jsonl file, an export of Neuronpedia's, or MODEL/SOURCE.")
    ],
    skip_errors: Annotated[bool, Option("--skip-errors", help="Leave out lines that are wrong.")] = False,
) -> None:
    """Import labels; your own labels stay."""
    wanted = wanted_of(sae)
    done = session.workspace.features.import_labels(wanted, source, on_error="skip" if skip_errors else None)
    problems = [str(problem) for problem in done.problems]
    data = {"imported": len(done.labels), "skipped": len(problems), "problems": problems[:100]}
    notes = [f"Skipped: {problem}" for problem in problems[:10]]
    answer(data, f"Imported {plural(len(done.labels), 'label')}", notes=notes)


@label.verb("export")
def export(
    sae: Source,
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A .csv or .jsonl file; an existing one is replaced.")],
) -> None:
    """Write all labels to a file."""
    written = session.workspace.features.export_labels(wanted_of(sae), path)
    answer({"path": written, "size_bytes": written.stat().st_size}, f"Wrote {written}")
