"""Defines ``saewidgets extract`` and ``saewidgets extractions``: read what every feature of an SAE fires on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from saewidgets.cli.configfile import read_config
from saewidgets.cli.follow import EXTRACTION, LOGITS, ask, follow, phase
from saewidgets.cli.options import ConfigFile, Option, Spread, Status, Wait, Yes, delete_record, settings
from saewidgets.cli.output import count, moment, note, size
from saewidgets.cli.session import CommandGroup, answer, command, command_line, listed, session
from saewidgets.config import ExtractionConfig
from saewidgets.errors import ConfigError, NotFoundError

if TYPE_CHECKING:
    from saewidgets.feature_records import ExtractionRecord
    from saewidgets.workspace import Extraction

extractions = CommandGroup("Look after extractions: whichever process runs them.")
Source = Annotated[
    str, typer.Argument(metavar="SAE", help="Id, beginning of it (4 characters or more) or name of an SAE or a run.")
]
ExtractionId = Annotated[str, typer.Argument(metavar="EXTRACTION", help="Id of the extraction.")]
COLUMNS = ("id", "sae", "status", "tokens", "features", "dead", "size", "created")


def source_of(wanted: str) -> dict[str, str]:
    """``sae_id`` or ``training_id`` of what was named; an SAE goes before a run of its name. Raises `NotFoundError`,
    and `ConfigError` for an extraction."""
    workspace = session.workspace
    if wanted.startswith("train_"):
        return {"training_id": workspace.trainings.get(wanted).id}
    if wanted.startswith("ext_"):
        record = workspace.extractions.get(wanted).record
        raise ConfigError(
            "This is an extraction, not an SAE.", where=wanted,
            hint=f"Name its SAE: {record.sae_id or record.training_id}, or use --extraction where a command has it.",
        )
    try:
        return {"sae_id": workspace.saes.find(wanted).id}
    except NotFoundError as no_sae:
        try:
            return {"training_id": workspace.trainings.get(wanted).id}
        except NotFoundError:
            raise no_sae from None


TEXT, KEEP, SKIP, MODEL = "What is read", "What is kept", "What does not count", "The language model"
SETTINGS = {
    **settings(ExtractionConfig, "corpus", "tokens", "context_size", panel=TEXT),
    **settings(ExtractionConfig, "examples", "per_interval", "per_document", "min_activation", "seed", panel=KEEP),
    **settings(ExtractionConfig, "model", "model_revision", "model_dtype", "batch_size", "device", panel=MODEL),
    **settings(
        ExtractionConfig, ("exclude_special_tokens", "--exclude-special-tokens/--include-special-tokens"), panel=SKIP
    ),
}


@command(settings=SETTINGS, quiet=True)
def extract(
    sae: Source,
    config: ConfigFile = None,
    max_norm_ratio: Annotated[
        str | None,
        Option(
            "--max-norm-ratio", metavar="NUMBER|none", rich_help_panel=SKIP,
            help="Tokens whose activation is so many times longer than the median; none counts all.",
        ),
    ] = None,
    spread: Spread = 1,
) -> None:
    """Read what every feature of an SAE fires on. Ctrl-C pauses it with a checkpoint."""
    wanted: dict[str, Any] = {} if config is None else read_config(config)
    wanted |= session.settings
    if max_norm_ratio is not None:
        wanted["max_norm_ratio"] = None if max_norm_ratio.strip().lower() == "none" else max_norm_ratio
    handle = session.workspace.extractions.create(**source_of(sae), config=wanted, spread=spread)
    _run_here("Extracting", handle)


def _run_here(doing: str, extraction: Extraction) -> None:
    note(f"{doing} {extraction.record.name} ({extraction.id})")
    record = follow(extraction, EXTRACTION)
    found = f"{count(record.seen)} of {count(record.d_sae)} features fired on {count(record.n_tokens)} tokens"
    owner = record.sae_id or record.training_id or record.id
    said = f"Look at them with: {command_line('features', 'list', owner)}"
    answer(record, f"{record.name}: {found}, {count(record.dead)} dead, {count(record.dense)} dense", notes=[said])


def _row(record: ExtractionRecord) -> list[str]:
    return [
        record.id, record.name, phase(record), count(record.n_tokens or record.tokens_total), count(record.seen),
        count(record.dead), size(record.size_bytes), moment(record.created_at),
    ]  # fmt: skip


@extractions.verb("list")
def list_extractions(
    sae: Annotated[str | None, Option(help="Only those of this SAE or run.")] = None,
    status: Status = None,
    search: Annotated[str | None, Option(help="Words that all have to be in name, model, hook name or id.")] = None,
) -> None:
    """List the extractions of the workspace, newest first."""
    origin = source_of(sae) if sae is not None else {}
    found = list(session.workspace.extractions.list(status=status, search=search, **origin))  # type: ignore[arg-type]
    none = f"No extractions. Start one with: {command_line('extract')}"
    listed(found, COLUMNS, _row, (3, 4, 5, 6), none)


@extractions.verb("pause")
def pause(extraction: ExtractionId, wait: Wait = 60.0) -> None:
    """Pause an extraction: it writes a checkpoint and frees its device."""
    ask(session.workspace.extractions.get(extraction), "pause", EXTRACTION, wait)


@extractions.verb("resume", quiet=True)
def resume(extraction: ExtractionId) -> None:
    """Go on with a paused, cancelled, failed or interrupted extraction, in this process. Ctrl-C pauses it again."""
    handle = session.workspace.extractions.get(extraction)
    handle.resume()
    _run_here("Resuming", handle)


@extractions.verb("stop")
def stop(
    extraction: ExtractionId,
    discard: Annotated[bool, Option("--discard", help="Do not keep what was read so far.")] = False,
    wait: Wait = 60.0,
) -> None:
    """End an extraction early; what was read so far can be looked at."""
    ask(session.workspace.extractions.get(extraction), "stop", EXTRACTION, wait, save=not discard)


@extractions.verb("logits", quiet=True)
def logits(extraction: ExtractionId) -> None:
    """Compute which next tokens every feature makes likelier and less likely. Ctrl-C pauses it."""
    handle = session.workspace.extractions.get(extraction)
    follow(session.workspace.extractions.compute_logits(handle.id), LOGITS, resume=(*LOGITS.resume, handle.id))
    record = handle.record
    answer(record, f"Logit effects of {count(record.d_sae)} features are kept with {record.id}")


@extractions.verb("delete")
def delete(extraction: ExtractionId, yes: Yes = False) -> None:
    """Delete an extraction with its files; labels, stars and notes stay."""
    delete_record(session.workspace.extractions, session.workspace.extractions.get(extraction).record, yes)
