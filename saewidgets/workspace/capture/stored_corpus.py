"""Stores as the corpus of trainings: the settings taken from one (`settings_of_store`) and its users (`users_of`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.config import TrainingConfig, as_corpus
from saewidgets.config.corpus import ActivationCorpus
from saewidgets.config.hook_names import head_of, without_head
from saewidgets.config.packing import FIELDS
from saewidgets.errors import ConfigError, FormatError, NotFoundError, SAEWidgetsError, StateError
from saewidgets.events import JobStatus
from saewidgets.records import ActivationStoreRecord, TrainingRecord
from saewidgets.workspace.corpora import with_text

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

FOLDER = "activations"
_MAY_GO_ON = frozenset(status for status in JobStatus if not status.is_final) | {JobStatus.INTERRUPTED}
_RESTORE = "Restore the files, or capture the activations again."


def require_files(record: ActivationStoreRecord) -> Path:
    """The folder of a whole store whose files are as they were written."""
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


def total_tokens(workspace: Workspace, config: TrainingConfig) -> int:
    """How long a run that reads a store is, in tokens."""
    assert isinstance(config.corpus, ActivationCorpus)  # text is not packed yet: what its `tokens` say
    if config.epochs is not None:
        from saewidgets.activations.store import StoredActivations  # torch: seconds to import, and so are these
        from saewidgets.activations.store_stream import StoredWindows
        from saewidgets.training.schedules import with_epochs

        folder = Path(workspace.activations.get(config.corpus.store_id).record.folder)
        windows = StoredWindows(StoredActivations(folder, workspace.storage.remote), config, config.hook_names)
        config = with_epochs(config, windows.tokens_per_epoch)
    return config.steps * config.batch_size


def settings_of_store(workspace: Workspace, config: TrainingConfig) -> dict[str, Any]:
    """What a training that reads a store takes from it, by dotted name. Batches do not depend on what the configuration
    says of the model and its contexts; what is written beside the SAE does."""
    assert isinstance(config.corpus, ActivationCorpus)
    record = workspace.activations.get(config.corpus.store_id).record
    require_files(record)
    for name in config.hook_names:
        if not record.holds(name):
            what, hint = _missing(record, name, f"The store {record.name}")
            raise ConfigError(what, where="hook_name" if name == config.hook_name else "hook_name_out", hint=hint)
    changes: dict[str, Any] = {"corpus": {**config.corpus.to_data(), "store_id": record.id}}
    if record.model is None:
        if "model" not in config.model_fields_set:
            raise ConfigError(
                "The imported states do not say which model they are from.", where="model",
                hint='Name it, for example TrainingConfig(model="gpt2", …).',
            )
        return changes
    said = settings_said(record)
    if config.model not in ("demo", said["model"], record.model):
        raise ConfigError(
            f"The store {record.name} was captured from {record.model}, not from {config.model}.", where="model",
            hint="Leave the model out: the store names it.",
        )
    return {**changes, **said}


def settings_said(record: ActivationStoreRecord) -> dict[str, Any]:
    """What a training that reads this store takes from it, by dotted name; nothing where no model is known."""
    return _said(record) | {f"activations.{name}": record.config[name] for name in FIELDS if name in record.config}


def form_of_store(workspace: Workspace, data: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """A form's data with the settings of its store, if it names one; and what is wrong with that, by field."""
    try:
        if (store_id := store_of(as_corpus(data.get("corpus")))) is None:
            return dict(data), {}
        record = workspace.activations.get(store_id).record
        require_files(record)
    except SAEWidgetsError as error:  # of text the form itself says what is wrong
        names_store = isinstance(error, StateError | NotFoundError | FormatError)
        return dict(data), {"corpus": error.message} if names_store else {}
    errors = {
        field: " ".join(_missing(record, str(data[field]), "The store"))
        for field in ("hook_name", "hook_name_out") if data.get(field) and not record.holds(str(data[field]))
    }  # fmt: skip
    return {**data, **_said(record)}, errors


def _missing(record: ActivationStoreRecord, hook_name: str, store: str) -> tuple[str, str]:
    """What is wrong where a store does not hold a hook point, and what it holds."""
    whole, head = without_head(hook_name), head_of(hook_name)
    heads = record.hooks.get(whole, {}).get("heads")
    if head is not None and heads:
        held = f"{store[0].lower()}{store[1:]} has heads 0 to {heads - 1} of {whole}"
        return f"Head {head} does not exist: {held}.", "Count from 0."
    return f"{store} does not hold {hook_name}.", f"It holds {', '.join(record.hook_names)}."


def _said(record: ActivationStoreRecord) -> dict[str, Any]:
    """What a store records of its model and its text, by the names of a training; nothing if the model is unknown."""
    if record.model is None:
        return {}
    known = ("model", "model_revision", "model_dtype", "context_size")
    return {"model": record.model} | {name: record.config[name] for name in known if name in record.config}


def store_of(corpus: Any) -> str | None:
    """The id of the store that the data of a corpus names; None of text."""
    stored = isinstance(corpus, Mapping) and corpus.get("kind") == "activations"
    return str(corpus.get("store_id")) if stored else None


def require_stores(
    workspace: Workspace, trainings: Iterable[TrainingRecord], check: Callable[[], None]
) -> None:
    """Raise what `require_files` raises, or `NotFoundError`, where a training's store cannot be read. One in a storage
    comes here if there is room for all of it; else it is read by ranges."""
    for training in trainings:
        if (store_id := store_of(training.config.get("corpus"))) is not None:
            folder = require_files(workspace.catalog.activations.get(store_id))
            workspace.storage.fetch(folder, if_fits=True, check=check)


def users_of(workspace: Workspace, store_id: str) -> list[TrainingRecord]:
    """The trainings that read a store now, or go on reading it when they are resumed."""
    found = workspace.catalog.trainings.list(status=_MAY_GO_ON)
    return [record for record in found if store_of(record.config.get("corpus")) == store_id]


def as_text(workspace: Workspace, corpus: Any) -> Any:
    """The data of a corpus; in place of a store the text it was captured from, None where that is not known or here."""
    if (store_id := store_of(corpus)) is None:
        return corpus
    try:
        record = workspace.catalog.activations.get(store_id)
        return None if record.source == "imported" else with_text(record.config, record.folder)["corpus"]
    except (NotFoundError, FormatError, ConfigError):
        return None
