"""`ws.activations`: activations captured once to disk, to train from many times; `Capture`, the handle of one store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.catalog import new_store_id
from saewidgets.config import arguments
from saewidgets.config.capture import CaptureConfig
from saewidgets.config.corpus import ActivationCorpus
from saewidgets.config.names import as_recorded, check_revision, free_name, is_local, shown_model
from saewidgets.durable import free_bytes, require_space
from saewidgets.errors import ConfigError, StateError
from saewidgets.events import JobStatus
from saewidgets.jobs import Listeners
from saewidgets.records import ActivationStoreRecord, CaptureEstimate, Records
from saewidgets.workspace.capture.capture_job import IMPORT_LANE, KIND, discard, run_store
from saewidgets.workspace.capture.stored_corpus import FOLDER, require_files, settings_said, users_of
from saewidgets.workspace.checked import checks_arguments
from saewidgets.workspace.corpora import corpus_to_row, located
from saewidgets.workspace.handle import FilesHandle
from saewidgets.workspace.lookup import Ref
from saewidgets.workspace.parts import Helpers
from saewidgets.workspace.tasks import Tasks
from saewidgets.workspace.training.settle import not_in_model
from saewidgets.workspace.user_models import UserModel, place_of, take

if TYPE_CHECKING:
    from saewidgets.activations.store import StoredActivations
    from saewidgets.workspace.workspace import Workspace


def settled(
    workspace: Workspace, model: Any, tokenizer: Any, **settings: Any
) -> tuple[CaptureConfig, UserModel | None]:
    """The configuration with "auto" and the like made concrete: it must mean the same elsewhere."""
    named = isinstance(model, str | Path) and tokenizer is None
    held = None if named else take(model, tokenizer, settings.get("corpus"))
    config = CaptureConfig(**{"model": str(model) if held is None else held.name, **settings})
    changes: dict[str, Any] = {}
    if held is not None:
        changes["device"] = place_of(held, config.device)
    else:
        check_revision(config.model, config.model_revision)
        changes["device"] = workspace.settings.device_for(config.device)
        changes["model"] = as_recorded(config.model)
    changes.update({f"corpus.{name}": value for name, value in located(config.corpus).items()})
    return config.replace(**changes), held


def needed(workspace: Workspace, config: CaptureConfig, held: UserModel | None, *, ask: bool) -> CaptureEstimate | None:
    """The estimate; None where the model's sizes are not on this machine, unless the hub may be queried."""
    # Torch: seconds to import.
    from saewidgets.activations.store_write import bytes_per_token
    from saewidgets.lm import check_context, model_facts, resolve_hook, wrap_model
    from saewidgets.lm.model_config import cached_config

    own = config.model_dtype
    if held is not None:
        lm = wrap_model(held.model, held.tokenizer)
        widths = {name: resolve_hook(lm.model, name).width for name in config.hook_names}
        vocabulary, own = lm.vocab_size, str(lm.dtype).removeprefix("torch.")  # type: ignore[assignment]
        check_context(lm.name, lm.context, config.context_size)
    else:
        if not ask and not is_local(config.model) and cached_config(config.model, config.model_revision) is None:
            return None
        facts = model_facts(config.model, revision=config.model_revision)
        for name in config.hook_names:
            if (sentence := not_in_model(name, config.model, facts.n_layers, facts.n_heads)) is not None:
                raise ConfigError(sentence, where="hook_names")
        check_context(config.model, facts.context, config.context_size)
        widths, vocabulary = {name: facts.d_in(name) for name in config.hook_names}, facts.vocab_size
    dtype = config.dtype or own
    per_token = bytes_per_token(list(widths.values()), dtype, vocabulary)
    total = per_token * -(-config.tokens // config.context_size) * config.context_size
    free = free_bytes(workspace.folder)
    return CaptureEstimate(
        tokens=config.tokens, bytes_per_token=per_token, size_bytes=total, disk_free_bytes=free,
        fits=free >= total * 1.1, dtype=dtype, widths=widths,
    )


_DTYPES = ("float32", "bfloat16", "float16", "int8")


class Capture(FilesHandle[ActivationStoreRecord]):
    """One store of activations."""

    _what = "store"

    def __init__(self, workspace: Workspace, store_id: str) -> None:
        super().__init__(workspace, workspace.catalog.activations, store_id)
        self._keeper = workspace.activations

    @property
    def corpus(self) -> ActivationCorpus:
        """What a `TrainingConfig` takes to train from this store."""
        return ActivationCorpus(self.id)

    def open(self) -> StoredActivations:
        """See `ws.activations.open`."""
        return self._workspace.activations.open(self.id)

    def verify(self, on_file: Callable[[int], None] = lambda done: None) -> None:
        """See `ws.activations.verify`."""
        self._workspace.activations.verify(self.id, on_file)

    def _facts(self, record: ActivationStoreRecord) -> dict[str, str]:
        facts = {
            "Model": shown_model(record.model or "not known"),
            "Hook names": ", ".join(record.hook_names),
            "Tokens": f"{record.n_tokens or record.tokens_total:,}",
        }
        if record.size_bytes is not None:
            facts["Size"] = f"{record.size_bytes / 1e6:,.1f} MB, {record.dtype}"
        if record.state_note:
            facts["Files"] = record.state_note
        return facts


@checks_arguments
class Activations:
    """The stores of activations of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._rows = workspace.catalog.activations
        self._tasks = Tasks(
            workspace, KIND, partial(run_store, workspace), rows=self._rows, folder=FOLDER, key="store_id",
            again="capture(..., model, tokenizer=...)",
        )  # fmt: skip
        self.helpers = Helpers(workspace, KIND, partial(run_store, workspace))
        self.changes = Listeners()

    # ------------------------------------------------------------------------------------------------ capture

    def capture(
        self,
        model: Any,
        corpus: Any,
        hook_names: str | Sequence[str],
        tokens: int,
        *,
        dtype: str | None = None,
        name: str | None = None,
        tokenizer: Any = None,
        spread: bool | int = False,
        **settings: Any,
    ) -> Capture:
        """Queue a capture and return at once: one forward of the model feeds all hook points.

        Args:
            model: a hub id, a local folder, ``"demo"``, or a transformers model you have loaded, with its `tokenizer`.
            corpus: the text, as in `TrainingConfig`.
            hook_names: which activations, such as ``"blocks.6.hook_resid_post"`` or several of them.
            tokens: how many to capture; all of a text that has fewer.
            dtype: ``"float32"``, ``"bfloat16"``, ``"float16"`` or ``"int8"`` (with a scale per row): of the stored
                numbers; None takes the model's.
            spread: share the work among so many jobs, or True: as many as run at once, one on each GPU of this machine
                or as the cluster has room for. The store is the same, byte for byte.
            settings: ``context_size prepend_bos join_documents separator model_batch_size model_revision model_dtype
                device model_compile``, see `CaptureConfig`.

        Raises:
            ConfigError: a setting cannot work; `where` names it.
            NotFoundError: there is no such model, file or hook point, as far as that is known without loading anything.
            StorageError: the store does not fit on the disk.
        """
        config, held = settled(
            self._workspace, model, tokenizer, corpus=corpus, hook_names=hook_names, tokens=tokens, dtype=dtype,
            name=name, **settings,
        )
        need = needed(self._workspace, config, held, ask=False)
        if need is not None:
            self._require_space(need.size_bytes)
        return self._submit(
            config.to_data(), *self.helpers.devices(spread, config.device, held), held=held, used=config.corpus,
            source="captured", model=config.model,
            name=config.name or self._free_name(f"{Path(config.model).name} {config.corpus.label}"),
            corpus=config.corpus.label, hook_names=config.hook_names, tokens_total=config.tokens, dtype=config.dtype,
            context_size=config.context_size,
        )  # fmt: skip

    def estimate(
        self,
        model: Any,
        corpus: Any,
        hook_names: str | Sequence[str],
        tokens: int,
        *,
        dtype: str | None = None,
        tokenizer: Any = None,
        **settings: Any,
    ) -> CaptureEstimate:
        """Estimate the disk space of a capture, with its arguments and errors. Nothing is started; of a model on the
        hub the configuration is read."""
        config, held = settled(
            self._workspace, model, tokenizer, corpus=corpus, hook_names=hook_names, tokens=tokens, dtype=dtype,
            **settings,
        )
        found = needed(self._workspace, config, held, ask=True)
        assert found is not None  # it was requested
        return found

    def import_states(
        self,
        paths: str | Path | Sequence[str | Path],
        *,
        hook_names: str | Sequence[str] | None = None,
        model: str | None = None,
        corpus: str = "imported states",
        dtype: str | None = None,
        name: str | None = None,
    ) -> Capture:
        """Queue an import of hidden states that a script has saved (``layer_6_states.pt``), and return at once.

        Several files become one store: of the same tokens at several layers.

        Args:
            paths: files of `torch.save` with the tensor under ``hidden_states`` (or with one tensor only), or
                ``.safetensors``; or a folder of ``layer_…_states.pt``. No code in them runs.
            hook_names: of each file; None: ``blocks.L.hook_resid_post`` of the layer L that the file says.
            model: the model that they are from; a training needs it then from its own configuration.
            corpus: what to call the text they are of.
            dtype: number format of the store; None keeps that of the files.

        Raises:
            NotFoundError: there is no such file.
            FormatError: a file holds something else.
            ConfigError: it is not known where in the model the states are from, or the files do not fit each other, or
                the model as far as it is known on this machine.
            StorageError: the store does not fit on the disk.
        """
        # Torch: seconds to import.
        from saewidgets.activations.row_format import row_bytes
        from saewidgets.workspace.capture import hidden_states as states

        found = [states.look_at_states(path) for path in states.paths_of(paths)]
        hooks = states.hook_names_of(hook_names, found)
        if dtype is not None and dtype not in _DTYPES:
            arguments.refuse(dtype, "dtype", "a number format", f"Use {', '.join(_DTYPES)}, or None.")
        rows = {file.rows for file in found}
        if len(rows) > 1:
            raise ConfigError(
                "The files have different numbers of rows: " + ", ".join(f"{n:,}" for n in sorted(rows)) + ".",
                where="paths", hint="Only files of the same tokens become one store; import them one by one.",
            )
        self._require_space(sum(file.rows * row_bytes(file.width, dtype or file.stored_dtype) for file in found))
        if model is not None:
            states.check_widths(model, [(hook, file.width) for hook, file in zip(hooks, found, strict=True)])
        layers = " ".join(f"L{file.layer}" for file in found if file.layer is not None)
        shown = arguments.name(name, "a name for the store") if name else self._free_name(
            f"{Path(model or '').name} {corpus} {layers}"
        )
        config = {
            "paths": [str(file.path.absolute()) for file in found], "hook_names": list(hooks), "dtype": dtype,
            "model": model,
        }  # fmt: skip
        return self._submit(
            config, IMPORT_LANE, source="imported", model=model, name=shown, corpus=corpus, hook_names=hooks,
            tokens_total=found[0].rows, dtype=dtype,
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------------ find

    def list(
        self,
        *,
        status: JobStatus | str | Collection[JobStatus | str] | None = None,
        model: str | None = None,
        hook_name: str | None = None,
        search: str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> Records[ActivationStoreRecord]:
        """Stores, newest first. `hook_name` wants those that hold this hook point, or all heads where it is one of
        them, `search` words that all have to be in name, model, corpus, hook names or id. Raises `ConfigError` if there
        is no such status."""
        self._workspace.manager.sweep()
        return self._rows.list(
            status=status, model=model, hook_name=hook_name, search=search, limit=limit, offset=offset
        )

    def get(self, store_id: Ref) -> Capture:
        """The store with this id, with this name, or whose id begins so: ``acts_`` and at least four characters more.
        Raises `NotFoundError`, which lists those that fit where several do."""
        return Capture(self._workspace, self._rows.get(store_id).id)

    def open(self, store_id: Ref) -> StoredActivations:
        """A store, to look at: token ids, memory-mapped rows. Raises `StateError` if it is incomplete, `NotFoundError`
        or `FormatError` where its files are missing or were changed."""
        from saewidgets.activations.store import StoredActivations  # torch: seconds to import

        return StoredActivations(require_files(self.get(store_id).record), self._workspace.storage.remote)

    def verify(self, store_id: Ref, on_file: Callable[[int], None] = lambda done: None) -> None:
        """Compare every file of a store with its SHA-256; `on_file` is called with the bytes compared so far. Raises
        `FormatError` if one was changed: lists only look at sizes, times and a sample."""
        self.open(store_id).verify(on_file)

    def training_settings(self, store_id: Ref) -> dict[str, Any]:
        """What a training that reads a store takes from it, by dotted name: model, revision, precision, context length,
        BOS. Of imported states nothing but the model is known, and that only if it was named. Raises `NotFoundError`.
        """
        return settings_said(self._rows.get(store_id))

    def used_by(self, store_id: Ref) -> Sequence[str]:
        """Ids of the trainings that read a store now, or go on reading it when they are resumed."""
        return [record.id for record in users_of(self._workspace, self._rows.get(store_id).id)]

    # ------------------------------------------------------------------------------------------------ change

    def rename(self, store_id: Ref, name: str) -> ActivationStoreRecord:
        """Give a store another name. Raises `ConfigError` if it is empty or too long."""
        record = self._rows.update(store_id, name=arguments.name(name, "a name for the store"))
        self.changes.tell(store_id)
        return record

    def delete(self, store_id: Ref) -> int:
        """Remove a store, by its whole id or its name, and its files. SAEs that were trained from it stay. Returns the
        bytes freed. Raises `NotFoundError`, and `StateError` while it is being captured or a training reads it."""
        record = Capture(self._workspace, store_id).record
        if users := users_of(self._workspace, record.id):
            raise StateError(
                f"{len(users)} training{'s read' if len(users) > 1 else ' reads'} this store: "
                f"{', '.join(user.name for user in users[:5])}.",
                where=record.id, hint="Stop or delete them first.",
            )
        if not record.status.is_active:
            self.helpers.dismiss(record.job_id)
        freed = self._tasks.delete(record)
        self._workspace.catalog.datasets.delete(record.id)  # forms no longer suggest it
        self.changes.tell(record.id)
        return freed

    def tidy(self, store_id: Ref) -> None:
        """Remove the files of one that was cancelled while it was not running; its text stays, to start it again."""
        record = self._rows.get(store_id)
        if not record.is_whole and record.status in (JobStatus.CANCELLED, JobStatus.STOPPED):
            self.helpers.dismiss(record.job_id)
            discard(Path(record.folder))

    def folder_of(self, store_id: Ref) -> Path:
        """The folder of a store that a training is about to read. Raises what `open` raises."""
        return require_files(self._rows.get(store_id))

    # ------------------------------------------------------------------------------------------------ inside

    def _submit(
        self, config: dict[str, Any], *devices: str, held: UserModel | None = None, used: Any = None, **row: Any
    ) -> Capture:
        """Queue what makes a store, a job on each of `devices`; `used` is the corpus that forms are to suggest from now
        on."""

        def insert(job_id: str, folders: Mapping[str, Path]) -> None:
            ((store_id, folder),) = folders.items()
            if used is not None:
                config["corpus"] = corpus_to_row(config["corpus"], folder)
            self._rows.create(id=store_id, config=config, folder=folder, job_id=job_id, **row)
            self.helpers.start(job_id, store_id, devices)

        model, jobs = None if used is None else row["model"], {"jobs": len(devices)}
        (store_id,) = self._tasks.submit(
            new_store_id, devices[0], insert, payload=jobs, held=held, model=model, corpus=used
        )
        self.changes.tell(store_id)
        return Capture(self._workspace, store_id)

    def _require_space(self, need: int) -> None:
        hint = "Capture fewer tokens or hook points, choose dtype=\"int8\", or free some space."
        require_space(self._workspace.folder, need, "the store", hint)

    def _free_name(self, wanted: str) -> str:
        return free_name(wanted, {record.name for record in self._rows.list()})
