"""Defines `KnownSAE`, all that is needed to read an SAE: its files, its model, its hook point, its training text."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.catalog import Origin
from saewidgets.config import TrainingConfig
from saewidgets.config.names import one_name, text_or_none
from saewidgets.config.packing import Packing, SeqposSlice, as_ids, as_slice
from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError
from saewidgets.records import SAERecord
from saewidgets.settings import resolve_device
from saewidgets.workspace.capture.stored_corpus import as_text
from saewidgets.workspace.corpora import from_row
from saewidgets.workspace.library.sae_files import layer_of

if TYPE_CHECKING:
    from saewidgets.workspace.user_models import UserModel
    from saewidgets.workspace.workspace import Workspace

CONTEXT = 128  # tokens per context if it is unknown how many the SAE was trained with


@dataclass(frozen=True, slots=True)
class KnownSAE:
    """An SAE and all that is known of what it belongs to; None where that is nothing."""

    origin: Origin
    of_training: bool  # its files are those that the training left, not a copy in the library
    name: str
    d_sae: int
    layer: int | None
    model: str | None
    revision: str | None
    dtype: str  # of the model
    hook_name: str | None
    context_size: int | None
    packing: Packing
    validation_share: float
    corpus: Any  # the text it was trained on, as configuration data, where it is still here
    device: str  # where it was trained
    model_given: bool  # it was trained on a model given as an object
    hook_name_out: str | None = None  # what a transcoder reconstructs
    exclude_special_tokens: bool = True
    batch_size: int = 16  # contexts per forward
    training_tokens: int | None = None
    exclude_token_ids: tuple[int, ...] = ()  # further tokens that it was not trained on
    seqpos_slice: SeqposSlice | None = None  # the positions that it was trained on
    store_id: str | None = None  # of the stored activations it was trained from, whether they are still here or not

    @property
    def id(self) -> str:
        """The id of the training or SAE that the files belong to."""
        return (self.origin.training_id if self.of_training else self.origin.sae_id) or ""

    def place(self, hint: str) -> str:
        """Its hook name. Raises `ConfigError` where that is not known; `hint` says how to give it."""
        if self.hook_name is None:
            what = f"It is not known where in a model {self.name} belongs."
            raise ConfigError(what, where="hook_name", hint=hint)
        return self.hook_name

    def own_model(self, hint: str, where: str = "model") -> str:
        """The name of its model. Raises `ConfigError` where that is not known; `hint` says how to give it."""
        if self.model is None:
            raise ConfigError(f"It is not known which model {self.name} was trained on.", where=where, hint=hint)
        return self.model


def find_subject(workspace: Workspace, wanted: str) -> KnownSAE:
    """The SAE of this id, or the one that the training of this id has left."""
    origin = workspace.catalog.features.origin(wanted)
    if wanted.startswith("train_"):
        return _of_training(workspace, origin)
    return _of_sae(workspace, origin, workspace.saes.get(wanted))


def files_of(workspace: Workspace, subject: KnownSAE) -> Path:
    """The folder of its files."""
    if subject.of_training:
        return workspace.trainings.get(subject.id).sae_path
    return workspace.saes.folder_of(workspace.saes.get(subject.id))


def held_model(workspace: Workspace, subject: KnownSAE) -> UserModel | None:
    """The model object that its training was given, if that was in this process and it is still in memory."""
    training = subject.origin.training_id
    return workspace.trainings.held(training) if training is not None else None


def device_here(workspace: Workspace, wanted: str) -> str:
    """`wanted` where this machine has it, else the workspace's own device."""
    try:
        return resolve_device(wanted)
    except ConfigError:
        return resolve_device(workspace.settings.device)


def unlisted_subject(sae: Any, name: str = "") -> KnownSAE:
    """An SAE that is not in the workspace: its metadata are all that is known of it."""
    said = sae.metadata if isinstance(sae.metadata, Mapping) else {}
    name = name or text_or_none(said.get("name")) or f"a {sae.cfg.architecture} SAE"
    return _as_said(said, origin=Origin(None, None), of_training=False, name=name, d_sae=sae.d_sae, layer=None)


def _of_training(workspace: Workspace, origin: Origin) -> KnownSAE:
    record = workspace.trainings.get(origin.training_id or "").record
    return _as_configured(
        workspace, record.config, record.folder, origin=origin, of_training=True, name=record.name, d_sae=record.d_sae,
        layer=layer_of(record.hook_name), model_given=workspace.trainings.was_given_a_model(record),
    )


def _of_sae(workspace: Workspace, origin: Origin, record: SAERecord) -> KnownSAE:
    common: dict[str, Any] = {
        "origin": origin, "of_training": False, "name": record.name, "d_sae": record.d_sae, "layer": record.layer,
    }
    if origin.training_id is not None:
        return replace(_of_training(workspace, origin), **common)
    kept = record.metadata.get("config")
    if isinstance(kept, Mapping):  # of a training that was deleted
        given = bool(record.metadata.get("model_given"))
        return _as_configured(workspace, kept, None, **common, model_given=given)
    said: dict[str, Any] = {}
    with contextlib.suppress(SAEWidgetsError):  # reading it says what is wrong with its files
        config = workspace.saes.config(record.id)
        metadata = config.get("metadata")
        said = {**config, **(metadata if isinstance(metadata, Mapping) else {})}
    listed = {"model_name": record.model, "hook_name": record.hook_name}
    return _as_said(said | {name: value for name, value in listed.items() if value}, **common)


def _as_configured(
    workspace: Workspace, data: Mapping[str, Any], folder: str | None, **about: Any
) -> KnownSAE:
    """From the configuration of its training; its text may be gone."""
    named, corpus = data.get("corpus"), None
    try:
        config = from_row(data if named else {**data, "corpus": "demo"}, folder or "")
        corpus = as_text(workspace, config.corpus.to_data()) if named else None
    except (NotFoundError, ConfigError):  # the text went with its training: everything else is still known
        config = TrainingConfig.from_data({**data, "corpus": "demo"})
    stored = named if isinstance(named, Mapping) and named.get("kind") == "activations" else {}
    activations = config.activations
    return KnownSAE(
        **about, corpus=corpus, store_id=text_or_none(stored.get("store_id")), model=config.model,
        revision=config.model_revision, dtype=config.model_dtype, hook_name=config.hook_name,
        hook_name_out=config.hook_name_out, context_size=config.context_size, packing=activations.packing,
        validation_share=activations.validation_share, batch_size=activations.model_batch_size,
        device=config.model_device or config.device, exclude_special_tokens=activations.exclude_special_tokens,
        exclude_token_ids=activations.exclude_token_ids or (), seqpos_slice=activations.seqpos_slice,
        training_tokens=None if config.epochs else config.tokens,
    )  # fmt: skip


def _as_said(said: Mapping[str, Any], **about: Any) -> KnownSAE:
    """From its files, with SAELens' names; invalid values count as missing."""
    model, context = text_or_none(said.get("model_name")), said.get("context_size")
    tokens = said.get("training_tokens")
    revision = said.get("model_from_pretrained_kwargs")
    ids = said.get("exclude_special_tokens")
    listed = isinstance(ids, list)
    counted: dict[str, Any] = {}
    for name, read, value in (
        ("exclude_token_ids", as_ids, ids if listed else said.get("exclude_token_ids")),
        ("seqpos_slice", as_slice, said.get("seqpos_slice")),
    ):
        with contextlib.suppress(ConfigError):
            if (found := read(value)):
                counted[name] = found
    return KnownSAE(
        **about, **counted, model=one_name(model) if model else None,
        revision=text_or_none(revision.get("revision")) if isinstance(revision, Mapping) else None, dtype="float32",
        hook_name=text_or_none(said.get("hook_name")), hook_name_out=text_or_none(said.get("hook_name_out")),
        context_size=context if type(context) is int and 2 <= context <= 1_048_576 else None,
        packing=Packing.from_data(said), validation_share=0.0, corpus=None, device="auto", model_given=False,
        exclude_special_tokens=not listed, training_tokens=tokens if type(tokens) is int and tokens > 0 else None,
    )  # fmt: skip
