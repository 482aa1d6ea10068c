"""Trainings that read a store: what they take from it, and which stores they keep from being deleted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.activation_records import ActivationStoreRecord
from saewidgets.config import TrainingConfig
from saewidgets.config.corpus_store import ActivationCorpus
from saewidgets.errors import ConfigError, FormatError, NotFoundError, StateError
from saewidgets.events import JobStatus
from saewidgets.records import TrainingRecord

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

FOLDER = "activations"
_MAY_GO_ON = frozenset(status for status in JobStatus if not status.is_final) | {JobStatus.INTERRUPTED}
_RESTORE = "Restore the files, or capture the activations again."


def require_files(record: ActivationStoreRecord) -> Path:
    """The folder of a whole store whose files are as they were written.

    Raises:
        StateError: it is incomplete.
        NotFoundError, FormatError: files are missing, or were changed.
    """
    if not record.is_whole:
        raise StateError(
            f"The store is incomplete: its capture is {record.status.value}.", where=record.id,
            hint="Wait until it has completed, or resume it.",
        )
    if record.state == "missing":
        raise NotFoundError(record.state_note, where=record.folder, hint=_RESTORE)
    if record.state == "changed":
        raise FormatError(record.state_note, where=record.folder, hint=_RESTORE)
    return Path(record.folder)


def settings_of_store(workspace: Workspace, config: TrainingConfig) -> dict[str, Any]:
    """What a training that reads a store takes from it, by dotted name; nothing for one that reads text.

    Model, context length and packing are those of the capture: the batches do not depend on what the configuration says
    of them, but what is written beside the SAE does.

    Raises:
        NotFoundError, StateError, FormatError: there is no such store, or it cannot be read.
        ConfigError: it does not hold the hook point, or is of another model.
    """
    if not isinstance(config.corpus, ActivationCorpus):
        return {}
    record = workspace.activations.get(config.corpus.store_id).record
    require_files(record)
    for name in config.hook_names:
        if name not in record.hook_names:
            raise ConfigError(
                f"The store {record.name} does not hold {name}.",
                where="hook_name" if name == config.hook_name else "hook_name_out",
                hint=f"It holds {', '.join(record.hook_names)}.",
            )
    changes: dict[str, Any] = {"corpus": {**config.corpus.to_data(), "store_id": record.id}}
    captured = record.config
    if record.model is None:
        if "model" not in config.model_fields_set:
            raise ConfigError(
                "The imported states do not say which model they are from.", where="model",
                hint='Name it, for example TrainingConfig(model="gpt2", …).',
            )
        return changes
    model = str(captured.get("model") or record.model)
    if config.model not in ("demo", model, record.model):
        raise ConfigError(
            f"The store {record.name} was captured from {record.model}, not from {config.model}.", where="model",
            hint="Leave the model out: the store says it.",
        )
    changes["model"] = model
    for ours, theirs in (
        ("model_revision", "model_revision"), ("model_dtype", "model_dtype"), ("context_size", "context_size"),
        ("activations.prepend_bos", "prepend_bos"),
    ):
        if theirs in captured:
            changes[ours] = captured[theirs]
    return changes


def users_of(workspace: Workspace, store_id: str) -> list[TrainingRecord]:
    """The trainings that read a store now, or go on reading it when they are resumed."""
    found = workspace.catalog.trainings.list(status=_MAY_GO_ON)
    return [record for record in found if _reads(record, store_id)]


def text_of(workspace: Workspace, store_id: str) -> Any:
    """The text that a store was captured from, as configuration data; None where that is not known or not here."""
    from saewidgets.workspace.capture.job import config_of

    try:
        record = workspace.catalog.activations.get(store_id)
        return None if record.source == "imported" else config_of(record).corpus.to_data()
    except (NotFoundError, FormatError, ConfigError):
        return None


def _reads(record: TrainingRecord, store_id: str) -> bool:
    corpus = record.config.get("corpus")
    return isinstance(corpus, dict) and corpus.get("kind") == "activations" and corpus.get("store_id") == store_id
