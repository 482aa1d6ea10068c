"""The activation stores of a workspace, as the form offers them for training from."""

from __future__ import annotations

from typing import Any

from saewidgets.activation_records import ActivationStoreRecord
from saewidgets.events import JobStatus
from saewidgets.widgets.base import Handler
from saewidgets.widgets.messages.runs import ListStores, StoreRow, StoresData
from saewidgets.widgets.messages.wire import Command
from saewidgets.widgets.training_panel.form import transcoders
from saewidgets.widgets.training_panel.state import PanelModel


class StoreCommands:
    """Handlers of one panel. They run on worker threads and write no trait."""

    def __init__(self, model: PanelModel) -> None:
        self._workspace = model.workspace

    def table(self) -> dict[type[Command], Handler]:
        """Message class → handler."""
        return {ListStores: self.list}

    def list(self, command: ListStores) -> StoresData:
        activations = self._workspace.activations
        two = command.architecture in transcoders()
        return StoresData(
            stores=tuple(
                store_row(record, activations.training_settings(record.id), two_hooks=two)
                for record in activations.list()
            )
        )


def store_row(record: ActivationStoreRecord, settings: dict[str, Any], *, two_hooks: bool = False) -> StoreRow:
    """One store as the form lists it.

    Args:
        record: the store.
        settings: what a training takes from it, by dotted name.
        two_hooks: the autoencoder reads one hook point and reconstructs another.
    """
    return StoreRow(
        id=record.id,
        name=record.name,
        model=record.model or "",
        corpus=record.corpus,
        hook_names=record.hook_names,
        tokens=record.n_tokens if record.n_tokens is not None else record.tokens_total,
        size_bytes=record.size_bytes,
        problem=problem_of(record, two_hooks),
        values={**settings, "corpus": record.id},
    )


def problem_of(record: ActivationStoreRecord, two_hooks: bool) -> str:
    """Why a training cannot read it, as a sentence or two; ``""`` if it can."""
    if not record.is_whole:
        status = record.status
        if status in (JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.STOPPED):
            ended = "failed" if status is JobStatus.FAILED else f"was {status.value}"
            return f"Its capture {ended}. Capture the activations again."
        if status in (JobStatus.INTERRUPTED, JobStatus.PAUSED):
            verb = "is" if status is JobStatus.PAUSED else "was"
            return f"Its capture {verb} {status.value}. Resume it: saewidgets activations resume {record.id}."
        return f"Its capture is {status.value}. Wait until it has completed."
    if record.state != "ok":
        return record.state_note
    if two_hooks and len(record.hook_names) < 2:
        return "A transcoder reads one hook point and reconstructs another; this store holds only one."
    return ""
