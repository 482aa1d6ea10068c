"""``saewidgets extract`` and ``saewidgets extractions …``: read what every feature of an SAE fires on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saewidgets.cli.configfile import read_config
from saewidgets.cli.control import Wait
from saewidgets.cli.display import Look
from saewidgets.cli.ending import failure, phase
from saewidgets.cli.follow_logits import follow_logits
from saewidgets.cli.options import Json, Quiet
from saewidgets.cli.output import count, duration, moment, note, size, table, write, write_json
from saewidgets.cli.session import command, command_line, open_workspace
from saewidgets.cli.watch import CHECKPOINT, wait_for, watch
from saewidgets.errors import ConfigError, NotFoundError
from saewidgets.events import JobStatus

if TYPE_CHECKING:
    from saewidgets.feature_records import ExtractionRecord
    from saewidgets.workspace import Extraction, Workspace


def _counted(record: ExtractionRecord) -> tuple[int, int | None]:
    return record.progress.done if record.progress is not None else 0, record.tokens_total


def _values(record: ExtractionRecord) -> Mapping[str, str]:
    return {} if record.seen is None else {"features": count(record.seen)}


def _paused(record: ExtractionRecord) -> str:
    done, total = _counted(record)
    return f"Paused at {count(done)} of {count(total)} tokens."


def follow_extraction(extraction: Extraction, *, quiet: bool = False) -> ExtractionRecord:
    """Show an extraction until it ends or pauses. Ctrl-C pauses it with a checkpoint; a second one gives up waiting.

    Returns:
        the record it ended with.

    Raises:
        typer.Exit: with status 130 when it was paused; with the status of its error when it failed.
    """
    record = watch(
        extraction, Look(_counted, values=_values), quiet=quiet, pausing=CHECKPOINT, paused=_paused,
        left="Left without waiting; what is not in a checkpoint is lost.",
        resume=("extractions", "resume", extraction.id),
    )
    if record.status not in (JobStatus.COMPLETED, JobStatus.STOPPED):
        raise failure(record, otherwise=f"The extraction is {record.status.value}.")
    word = "Completed" if record.status is JobStatus.COMPLETED else "Stopped"
    note(f"{word}: {count(record.n_tokens)} tokens in {duration(record.seconds_running)}. {record.id}")
    return record


Option = typer.Option
extractions = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
Source = Annotated[
    str, typer.Argument(metavar="SAE", help="Id, beginning of it (4 characters or more) or name of an SAE or a run.")
]
ExtractionId = Annotated[str, typer.Argument(metavar="EXTRACTION", help="Id of the extraction.")]
COLUMNS = ("id", "sae", "status", "tokens", "features", "dead", "size", "created")


def source_of(workspace: Workspace, wanted: str) -> dict[str, str]:
    """``sae_id`` or ``training_id`` of what was named; an SAE goes before a run of its name.

    Raises:
        NotFoundError: there is neither.
        ConfigError: it is an extraction.
    """
    if wanted.startswith("train_"):
        return {"training_id": workspace.trainings.get(wanted).id}
    if wanted.startswith("ext_"):
        record = workspace.extractions.get(wanted).record
        raise ConfigError(
            "This is an extraction, not an SAE.", where=wanted,
            hint=f"Name its SAE: {record.sae_id or record.training_id}. What reads an extraction takes --extraction.",
        )
    try:
        return {"sae_id": workspace.saes.find(wanted).id}
    except NotFoundError as no_sae:
        try:
            return {"training_id": workspace.trainings.get(wanted).id}
        except NotFoundError:
            raise no_sae from None


TEXT, KEEP, SKIP, MODEL = "What is read", "What is kept", "What does not count", "The language model"


@command
def extract(
    sae: Source,
    config: Annotated[
        Path | None, Option("--config", "-c", metavar="FILE", help="A .json, .toml or .yaml file; flags win.")
    ] = None,
    corpus: Annotated[
        str | None,
        Option(help='Files or folder, owner/name of the hub, "demo"; else the text of the run.', rich_help_panel=TEXT),
    ] = None,
    tokens: Annotated[int | None, Option(help="How many tokens to read.", rich_help_panel=TEXT)] = None,
    context_size: Annotated[
        int | None, Option("--context-size", help="Tokens per context.", rich_help_panel=TEXT)
    ] = None,
    examples: Annotated[
        int | None, Option(help="Largest activations kept of each feature.", rich_help_panel=KEEP)
    ] = None,
    per_interval: Annotated[
        int | None,
        Option("--per-interval", help="Examples kept from each interval of activations.", rich_help_panel=KEEP),
    ] = None,
    per_document: Annotated[
        int | None, Option("--per-document", help="Most top examples from one document.", rich_help_panel=KEEP)
    ] = None,
    min_activation: Annotated[
        float | None,
        Option("--min-activation", help="Share of the largest below which intervals keep none.", rich_help_panel=KEEP),
    ] = None,
    seed: Annotated[int | None, Option(help="Fixes which firings are sampled.", rich_help_panel=KEEP)] = None,
    exclude_special_tokens: Annotated[
        bool | None,
        Option("--exclude-special-tokens/--include-special-tokens", help="BOS, EOS, padding.", rich_help_panel=SKIP),
    ] = None,
    max_norm_ratio: Annotated[
        str | None,
        Option(
            "--max-norm-ratio", metavar="NUMBER|none", rich_help_panel=SKIP,
            help="Tokens whose activation is so many times longer than the median; none counts all.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        Option(help="A Hugging Face id or a folder, where the SAE does not name one.", rich_help_panel=MODEL),
    ] = None,
    model_revision: Annotated[
        str | None, Option("--model-revision", help="Branch, tag or commit.", rich_help_panel=MODEL)
    ] = None,
    model_dtype: Annotated[
        str | None, Option("--model-dtype", help="float32, bfloat16 or float16.", rich_help_panel=MODEL)
    ] = None,
    batch_size: Annotated[
        int | None, Option("--batch-size", help="Contexts the model reads at once.", rich_help_panel=MODEL)
    ] = None,
    device: Annotated[str | None, Option(help="cpu, cuda:0, … or auto.", rich_help_panel=MODEL)] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read what every feature of an SAE fires on. Ctrl-C pauses it with a checkpoint."""
    flags = {
        "corpus": corpus, "tokens": tokens, "context_size": context_size, "examples": examples,
        "per_interval": per_interval, "per_document": per_document, "min_activation": min_activation, "seed": seed,
        "exclude_special_tokens": exclude_special_tokens, "model": model, "model_revision": model_revision,
        "model_dtype": model_dtype, "batch_size": batch_size, "device": device,
    }  # fmt: skip
    wanted: dict[str, Any] = {} if config is None else read_config(config)
    wanted |= {name: value for name, value in flags.items() if value is not None}
    if max_norm_ratio is not None:
        wanted["max_norm_ratio"] = _ratio(max_norm_ratio)
    with open_workspace() as workspace:
        extraction = workspace.extractions.create(**source_of(workspace, sae), config=wanted)
        note(f"Extracting {extraction.record.name} ({extraction.id})")
        _run_here(extraction, json=json, quiet=quiet)


def _ratio(text: str) -> float | None:
    """A number, or None for "none"."""
    if text.strip().lower() == "none":
        return None
    try:
        return float(text)
    except ValueError:
        hint = "Write a number above 1, or none."
        raise ConfigError(f"{text!r} is not a number.", where="--max-norm-ratio", hint=hint) from None


def _run_here(extraction: Extraction, *, json: bool, quiet: bool) -> None:
    record = follow_extraction(extraction, quiet=quiet)
    if json:
        write_json(record)
        return
    write(
        f"{record.name}: {count(record.seen)} of {count(record.d_sae)} features fired on {count(record.n_tokens)} "
        f"tokens, {count(record.dead)} dead, {count(record.dense)} dense"
    )
    note(f"Look at them with: {command_line('features', 'list', record.sae_id or record.training_id or record.id)}")


@extractions.callback()
def group() -> None:
    """Look after extractions: whichever process runs them."""  # what `saewidgets extractions --help` begins with


def _row(record: ExtractionRecord) -> list[str]:
    return [
        record.id, record.name, phase(record), count(record.n_tokens or record.tokens_total), count(record.seen),
        count(record.dead), size(record.size_bytes), moment(record.created_at),
    ]  # fmt: skip


@extractions.command("list")
@command
def list_extractions(
    sae: Annotated[str | None, Option("--sae", help="Only those of this SAE or run.")] = None,
    status: Annotated[str | None, Option(help="Only those in this state, e.g. running or completed.")] = None,
    search: Annotated[str | None, Option(help="Words that all have to be in name, model, hook name or id.")] = None,
    json: Json = False,
) -> None:
    """List the extractions of the workspace, newest first."""
    with open_workspace() as workspace:
        origin = source_of(workspace, sae) if sae is not None else {}
        found = list(workspace.extractions.list(status=status, search=search, **origin))  # type: ignore[arg-type]
    if json:
        write_json(found)
    elif found:
        write(table(COLUMNS, map(_row, found), right=(3, 4, 5, 6)))
    else:
        write(f"No extractions. Start one with: {command_line('extract')}")


@extractions.command("pause")
@command
def pause(extraction: ExtractionId, wait: Wait = 60.0, json: Json = False) -> None:
    """Pause an extraction: it writes a checkpoint and frees its device."""
    with open_workspace() as workspace:
        handle = workspace.extractions.get(extraction)
        handle.pause()
        _report(handle, {JobStatus.PAUSED}, wait, json)


@extractions.command("resume")
@command
def resume(extraction: ExtractionId, json: Json = False, quiet: Quiet = False) -> None:
    """Go on with a paused, cancelled, failed or interrupted extraction, in this process. Ctrl-C pauses it again."""
    with open_workspace() as workspace:
        handle = workspace.extractions.get(extraction)
        handle.resume()
        note(f"Resuming {handle.record.name} ({handle.id})")
        _run_here(handle, json=json, quiet=quiet)


@extractions.command("stop")
@command
def stop(
    extraction: ExtractionId,
    discard: Annotated[bool, Option("--discard", help="Do not keep what was read so far.")] = False,
    wait: Wait = 60.0,
    json: Json = False,
) -> None:
    """End an extraction early; what was read so far can be looked at."""
    with open_workspace() as workspace:
        handle = workspace.extractions.get(extraction)
        handle.stop(save=not discard)
        _report(handle, set(), wait, json)


@extractions.command("logits")
@command
def logits(extraction: ExtractionId, json: Json = False, quiet: Quiet = False) -> None:
    """Compute which next tokens every feature makes likelier and less likely. Ctrl-C pauses it."""
    with open_workspace() as workspace:
        handle = workspace.extractions.get(extraction)
        follow_logits(workspace.extractions.compute_logits(handle.id), handle.id, quiet=quiet)
        record = handle.record
    if json:
        write_json(record)
    else:
        write(f"Logit effects of {count(record.d_sae)} features are kept with {record.id}")


@extractions.command("delete")
@command
def delete(
    extraction: ExtractionId,
    yes: Annotated[bool, Option("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Delete an extraction with its files; labels, stars and notes stay."""
    with open_workspace() as workspace:
        record = workspace.extractions.get(extraction).record
        if not yes:
            if not sys.stdin.isatty():
                raise ConfigError("Nobody is there to confirm.", where=record.id, hint="Say --yes to delete it.")
            typer.confirm(f"Delete {record.id}, {size(record.size_bytes)}?", abort=True)
        freed = workspace.extractions.delete(record.id)
    if json:
        write_json({"id": record.id, "name": record.name, "deleted": True, "freed_bytes": freed})
    else:
        write(f"Deleted {record.id}")


def _report(handle: Extraction, reached: set[JobStatus], wait: float, json: bool) -> None:
    again = command_line("extractions", "list")
    record = wait_for(lambda: handle.record, reached, wait, name=handle.record.name, look_again=again)
    if json:
        write_json(record)
    else:
        write(f"The extraction of {record.name} is {record.status.value} ({record.id})")
