"""What reading an SAE takes: its files, its model, where in the model it belongs, and the text it was trained on."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.catalog import Origin
from saewidgets.config import TrainingConfig
from saewidgets.config.names import one_name
from saewidgets.config.packing import Packing, SeqposSlice, as_ids, as_slice
from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError
from saewidgets.records import SAERecord
from saewidgets.settings import resolve_device
from saewidgets.workspace.capture.using import as_text
from saewidgets.workspace.corpora import from_row
from saewidgets.workspace.library.intake import layer_of

if TYPE_CHECKING:
    from saewidgets.workspace.held import Held
    from saewidgets.workspace.workspace import Workspace

CONTEXT = 128
"""Tokens per context where nothing says how many the SAE was trained with."""


@dataclass(frozen=True, slots=True)
class Subject:
    """An SAE and all that is known of what it belongs to; None where that is nothing.

    Attributes:
        origin: whose it is.
        of_training: its files are those that the training left, not a copy in the library.
        name, d_sae, layer: for the reader.
        model, revision, dtype: the language model; `model` is None where neither record nor files name one.
        hook_name: where it reads.
        context_size, packing, validation_share: how its text was packed.
        corpus: the text it was trained on, as configuration data, where it is still here.
        device: where it was trained.
        model_given: it was trained on a model that somebody handed in as an object.
        hook_name_out: what a transcoder reconstructs.
        exclude_special_tokens, batch_size: how its text was read, contexts per forward.
        exclude_token_ids, seqpos_slice: further tokens that it was not trained on; the positions that it was.
        store_id: of the stored activations it was trained from, whether they are still here or not.
    """

    origin: Origin
    of_training: bool
    name: str
    d_sae: int
    layer: int | None
    model: str | None
    revision: str | None
    dtype: str
    hook_name: str | None
    context_size: int | None
    packing: Packing
    validation_share: float
    corpus: Any
    device: str
    model_given: bool
    hook_name_out: str | None = None
    exclude_special_tokens: bool = True
    batch_size: int = 16
    exclude_token_ids: tuple[int, ...] = ()
    seqpos_slice: SeqposSlice | None = None
    store_id: str | None = None

    @property
    def id(self) -> str:
        """Of the training or the SAE whose files they are."""
        return (self.origin.training_id if self.of_training else self.origin.sae_id) or ""


def find_subject(workspace: Workspace, wanted: str) -> Subject:
    """The SAE of this id, or the one that the training of this id has left."""
    origin = workspace.catalog.extractions.origin(wanted)
    if wanted.startswith("train_"):
        return _of_training(workspace, origin)
    return _of_sae(workspace, origin, workspace.saes.get(wanted))


def files_of(workspace: Workspace, subject: Subject) -> Path:
    """The folder of its files."""
    if subject.of_training:
        return workspace.trainings.get(subject.id).sae_path
    return workspace.saes.folder_of(workspace.saes.get(subject.id))


def held_model(workspace: Workspace, subject: Subject) -> Held | None:
    """The model object that its training was given, if that was in this process and it is still in memory."""
    training = subject.origin.training_id
    return workspace.trainings.held(training) if training is not None else None


def device_here(workspace: Workspace, wanted: str) -> str:
    """`wanted` where this machine has it, else the workspace's own device."""
    try:
        return resolve_device(wanted)
    except ConfigError:
        return resolve_device(workspace.settings.device)


def _of_training(workspace: Workspace, origin: Origin) -> Subject:
    run = workspace.trainings.get(origin.training_id or "")
    record = run.record
    config, corpus = _settings(record.config, record.folder)
    corpus = as_text(workspace, corpus)
    return Subject(
        origin=origin, of_training=True, name=record.name, d_sae=record.d_sae, layer=layer_of(record.hook_name),
        corpus=corpus, model_given=workspace.trainings.was_given_a_model(record), store_id=_store_of(record.config),
        **_known(config),
    )


def _of_sae(workspace: Workspace, origin: Origin, record: SAERecord) -> Subject:
    common: dict[str, Any] = {
        "origin": origin, "of_training": False, "name": record.name, "d_sae": record.d_sae, "layer": record.layer,
    }
    if origin.training_id is not None:
        training = _of_training(workspace, origin)
        return replace(training, **common)
    kept = record.metadata.get("config")
    if isinstance(kept, Mapping):  # of a training that was deleted
        config, corpus = _settings(kept, None)
        corpus = as_text(workspace, corpus)
        return Subject(
            **common, corpus=corpus, model_given=bool(record.metadata.get("model_given")), store_id=_store_of(kept),
            **_known(config),
        )  # fmt: skip
    said = _said(workspace, record)
    context = said.get("context_size")
    revision = said.get("model_from_pretrained_kwargs")
    revision = revision.get("revision") if isinstance(revision, Mapping) else None
    return Subject(
        **common, model=_model_of(record, said), revision=revision if isinstance(revision, str) else None,
        dtype="float32", hook_name=record.hook_name or _text(said.get("hook_name")),
        context_size=context if isinstance(context, int) and 2 <= context <= 1_048_576 else None,
        packing=Packing.from_data(said), validation_share=0.0, corpus=None, device="auto",
        model_given=False, hook_name_out=_text(said.get("hook_name_out")), **counted_as_said(said),
    )  # fmt: skip


def _settings(data: Mapping[str, Any], folder: str | None) -> tuple[TrainingConfig, Any]:
    """The configuration of a training, and its text as data; None where that is no longer here."""
    try:
        if folder is not None or "corpus" in data:
            config = from_row(data, folder or "")
            return config, config.corpus.to_data()
    except (NotFoundError, ConfigError):
        pass  # the text went with its training, or is on another machine: everything else is still known
    return TrainingConfig.from_data({**data, "corpus": "demo"}), None


def _store_of(data: Mapping[str, Any]) -> str | None:
    """The id of the stored activations that a training read; None for one that read text."""
    corpus = data.get("corpus")
    if not isinstance(corpus, Mapping) or corpus.get("kind") != "activations":
        return None
    return _text(corpus.get("store_id"))


def _known(config: TrainingConfig) -> dict[str, Any]:
    return {
        "model": config.model, "revision": config.model_revision, "dtype": config.model_dtype,
        "hook_name": config.hook_name, "context_size": config.context_size,
        "packing": config.activations.packing, "validation_share": config.activations.validation_share,
        "device": config.model_device or config.device, "hook_name_out": config.hook_name_out,
        "exclude_special_tokens": config.activations.exclude_special_tokens,
        "exclude_token_ids": config.activations.exclude_token_ids or (),
        "seqpos_slice": config.activations.seqpos_slice, "batch_size": config.activations.model_batch_size,
    }  # fmt: skip


def counted_as_said(said: Mapping[str, Any]) -> dict[str, Any]:
    """Tokens that an SAE was not trained on, and positions that it was, as SAELens writes them; what makes no sense
    there is as good as not said."""
    found: dict[str, Any] = {}
    ids = said.get("exclude_special_tokens")
    listed = isinstance(ids, list)
    for name, read, value in (
        ("exclude_token_ids", as_ids, ids if listed else said.get("exclude_token_ids")),
        ("seqpos_slice", as_slice, said.get("seqpos_slice")),
    ):
        with contextlib.suppress(ConfigError):
            found[name] = read(value)
    return {"exclude_special_tokens": not listed, **{name: value for name, value in found.items() if value}}


def _said(workspace: Workspace, record: SAERecord) -> dict[str, Any]:
    """What the files say of their training, as SAELens names it; nothing where they are not here."""
    try:
        config = workspace.saes.config(record.id)
    except SAEWidgetsError:  # the pass itself says what is wrong with the files
        return {}
    metadata = config.get("metadata")
    return {**config, **(metadata if isinstance(metadata, Mapping) else {})}


def _model_of(record: SAERecord, said: Mapping[str, Any]) -> str | None:
    """The repository of its model, where its name is one that is known; else the name as it stands."""
    name = record.model or _text(said.get("model_name"))
    return one_name(name) if name else name


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
