"""Language models and SAEs for steering: those that live readings of features keep, so that a model is there once."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

from saewidgets.errors import ConfigError
from saewidgets.records import SAERecord
from saewidgets.workspace.held import missing
from saewidgets.workspace.subjects import Subject, find_subject

if TYPE_CHECKING:
    from saewidgets.lm import LoadedModel
    from saewidgets.steering import SteeringSource
    from saewidgets.workspace.workspace import Workspace


class Loader:
    """Models and SAEs of a workspace by the SAE's record. Any thread may ask."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._seen: dict[str, weakref.ref[Any]] = {}  # SAE's id → its model, while somebody keeps that

    def model_of(self, record: SAERecord) -> LoadedModel:
        """The model that an SAE was made for: the user's own if it was trained on that, else loaded.

        Raises:
            StateError: it was handed in as an object that is no longer in memory.
            ConfigError: it is not known which model it is, or where in it the SAE belongs.
            NotFoundError, FormatError: it, or the SAE, cannot be loaded; the message says why.
        """
        lm = self._workspace.features.live.open(find_subject(self._workspace, record.id)).model.lm
        with self._lock:
            self._seen[record.id] = weakref.ref(lm.model)
        return lm

    def has(self, record: SAERecord) -> bool:
        """Whether its model is in memory."""
        with self._lock:
            seen = self._seen.get(record.id)
        return seen is not None and seen() is not None

    def named(self, name: str) -> LoadedModel:
        """A model by its name: the one that is in memory if it is that, else loaded in its place."""
        return self._workspace.features.live.named(name)

    def tokenizer_of(self, record: SAERecord) -> Any:
        """The tokenizer of the model that an SAE was made for, without the model. Raises as `model_of`."""
        # Torch: seconds to import.
        from saewidgets.demo import resolve_model
        from saewidgets.lm import load_tokenizer

        subject = find_subject(self._workspace, record.id)
        if subject.model_given:
            raise missing(record.id, "Pass its tokenizer=….")
        if subject.model is None:
            raise ConfigError(
                f"It is not known which model {record.name} was made for.", where="tokenizer",
                hint="Pass the model's tokenizer=….",
            )
        return load_tokenizer(resolve_model(subject.model), revision=subject.revision)

    def source(self, record: SAERecord, device: str | None) -> SteeringSource:
        """An SAE with its place in the model, on any device if None.

        Raises:
            NotFoundError, FormatError: as `ws.saes.load`.
        """
        from saewidgets.steering import SteeringSource  # torch: seconds to import

        subject = find_subject(self._workspace, record.id)
        sae = self._workspace.features.live.sae(subject, device)
        out = record.metadata.get("hook_name_out") or sae.metadata.get("hook_name_out")
        return SteeringSource(sae, subject.hook_name, out, name=record.name)

    def shares_model(self, one: SAERecord, other: SAERecord) -> bool:
        """Whether features of both can steer one model."""
        return _model(find_subject(self._workspace, one.id)) == _model(find_subject(self._workspace, other.id))

    def forget(self) -> None:
        """Let go of everything, also what live readings keep."""
        self._workspace.features.live.forget()


def _model(subject: Subject) -> tuple[str | None, str | None]:
    """Its name, and the training that was given its user's own."""
    return subject.model, subject.origin.training_id if subject.model_given else None
