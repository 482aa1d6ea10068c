"""`ws.extractions`: jobs that read what every latent of an SAE fires on; `Extraction`, the handle of one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from saewidgets.catalog import new_extraction_id
from saewidgets.config.extraction import ExtractionConfig
from saewidgets.config.names import shown_model
from saewidgets.durable import require_space
from saewidgets.errors import ConfigError, NotFoundError, StateError
from saewidgets.events import JobStatus
from saewidgets.feature_records import ExtractionEstimate, ExtractionRecord
from saewidgets.jobs import Job, Listeners
from saewidgets.records import JobRecord, Records
from saewidgets.workspace.checked import checks_arguments
from saewidgets.workspace.corpora import corpus_to_row, with_text
from saewidgets.workspace.extraction.demo import take_demo
from saewidgets.workspace.extraction.extraction_job import (
    KIND,
    bytes_needed,
    checked,
    concrete,
    estimate,
    nothing_to_show,
    run_extraction,
)
from saewidgets.workspace.extraction.logits import LogitJobs
from saewidgets.workspace.folders import TOKENS, remove_tree
from saewidgets.workspace.handle import FilesHandle
from saewidgets.workspace.lookup import Ref
from saewidgets.workspace.parts import PARTS, Helpers
from saewidgets.workspace.subjects import KnownSAE, files_of, find_subject, held_model
from saewidgets.workspace.tasks import Tasks, subscribe_to
from saewidgets.workspace.user_models import UserModel, corpus_of, missing, take

if TYPE_CHECKING:
    from saewidgets.features.store.read import FeatureStore
    from saewidgets.workspace.workspace import Workspace

_FEWEST_TOKENS = 100_000  # that are proposed, however few an SAE was trained on
LOGITS = "logits"  # the folder that `features.store` keeps the tables in
_OPEN = 4  # stores kept open; their arrays are memory-mapped
_UNFINISHED = frozenset(status for status in JobStatus if not status.is_final)


class Extraction(FilesHandle[ExtractionRecord]):
    """One extraction."""

    _what = "extraction"

    def __init__(self, workspace: Workspace, extraction_id: str) -> None:
        super().__init__(workspace, workspace.catalog.extractions, extraction_id)
        self._keeper = workspace.extractions

    @property
    def config(self) -> ExtractionConfig:
        """Its configuration, with the text that it was given in memory. Raises `NotFoundError` if that is on another
        machine, or was deleted."""
        record = self.record
        return ExtractionConfig.from_data(with_text(record.config, record.folder))

    def store(self) -> Any:
        """Its results, see `ws.extractions.open`."""
        return self._workspace.extractions.open(self.id)

    def _facts(self, record: ExtractionRecord) -> dict[str, str]:
        facts = {
            "Model and hook": f"{shown_model(record.model)} · {record.hook_name}",
            "Tokens": f"{record.n_tokens or record.tokens_total:,}",
        }
        if record.seen is not None:
            facts["Latents"] = f"{record.seen:,} of {record.d_sae:,} fired"
        return facts


@checks_arguments
class Extractions:
    """The extractions of a workspace. A training and the SAE imported from it have theirs in common."""

    NAMED: ClassVar = {"sae_id": ("sae", "training")}

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._rows = workspace.catalog.extractions
        self._tasks = Tasks(
            workspace, KIND, partial(run_extraction, workspace), rows=self._rows, folder="extractions",
            key="extraction_id",
        )  # fmt: skip
        self.helpers = Helpers(workspace, KIND, partial(run_extraction, workspace))
        self._opened = lru_cache(_OPEN)(self._open)
        self._changes = Listeners()
        self._logits = LogitJobs(workspace, self._reopen)

    # ------------------------------------------------------------------------------------------------ start

    def create(
        self,
        *,
        sae_id: Ref | None = None,
        training_id: Ref | None = None,
        config: ExtractionConfig | Mapping[str, Any] | None = None,
        model: Any = None,
        tokenizer: Any = None,
        spread: bool | int = False,
    ) -> Extraction:
        """Queue an extraction and return at once.

        Args:
            sae_id: an SAE of the library; its id, or its name.
            training_id: a training that has left an SAE, instead.
            config: what to read and to keep; plain data works too, None takes the defaults.
            model, tokenizer: a transformers model you have loaded, used as it is; `config.model` is then only its name.
            spread: share the work among so many jobs, or True: as many as run at once, one on each GPU of this machine
                or as the cluster has room for. The results are the same, bit for bit.

        Raises:
            ConfigError: a setting cannot work (contexts longer than the model reads), or it is not known which model or
                text to read; `where` names it.
            NotFoundError: there is no such SAE or training, or its files are not here.
            StateError: the training has left no SAE, or used a model that is no longer in memory.
            StorageError: the disk is too full.
        """
        subject = self._subject(sae_id, training_id)
        given = take(model, tokenizer, corpus_of(config))
        held = given or held_model(self._workspace, subject)
        wanted = checked(config)
        if held is None and subject.model_given and wanted.model is None:
            raise missing(subject.id, "Give it: create(…, model=model, tokenizer=tokenizer).")
        if given is None and wanted.model is not None:
            held = None  # another one was requested by its name
        files_of(self._workspace, subject)
        settled = concrete(self._workspace, subject, wanted, held)
        need = sum(bytes_needed(subject.d_sae, settled))
        hint = "Keep fewer examples per feature, delete extractions you no longer need, or use another disk."
        require_space(self._workspace.folder, need, "an extraction", hint)
        ours = {"training_id" if subject.of_training else "sae_id": subject.id}
        data = settled.to_data()
        devices = self.helpers.devices(spread, settled.device, held)

        def insert(job_id: str, folders: Mapping[str, Path]) -> None:
            ((extraction_id, folder),) = folders.items()
            data["corpus"] = corpus_to_row(data["corpus"], folder)
            self._rows.create(
                id=extraction_id, config=data, model=str(settled.model), hook_name=str(subject.hook_name),
                d_sae=subject.d_sae, tokens_total=settled.tokens, folder=folder, layer=subject.layer, job_id=job_id,
                facts={**subject.packing.to_data(), "validation_share": subject.validation_share,
                       "model_given": held is not None},
                **ours,
            )  # fmt: skip
            self.helpers.start(job_id, extraction_id, devices)

        (extraction_id,) = self._tasks.submit(
            partial(new_extraction_id, subject.id), settled.device, insert, payload={**ours, "jobs": len(devices)},
            held=held, model=str(settled.model),
        )  # fmt: skip
        return Extraction(self._workspace, extraction_id)

    def estimate(
        self,
        *,
        sae_id: Ref | None = None,
        training_id: Ref | None = None,
        config: ExtractionConfig | Mapping[str, Any] | None = None,
    ) -> ExtractionEstimate:
        """Estimate an extraction: time, disk, memory, and warnings. Nothing is started. Raises what `create` raises."""
        subject = self._subject(sae_id, training_id)
        held = held_model(self._workspace, subject)
        return estimate(self._workspace, subject, concrete(self._workspace, subject, checked(config), held))

    def defaults(self, *, sae_id: Ref | None = None, training_id: Ref | None = None) -> ExtractionConfig:
        """The default configuration for an SAE: its own model, context length and text, where they are known, and of an
        SAE that was trained on fewer tokens than usual as many, at least 100,000."""
        subject = self._subject(sae_id, training_id)
        usual = ExtractionConfig().tokens
        return ExtractionConfig(
            tokens=min(usual, max(_FEWEST_TOKENS, subject.training_tokens or usual)),
            corpus=subject.corpus, context_size=subject.context_size, model=subject.model,
            model_revision=subject.revision, model_dtype=subject.dtype,  # type: ignore[arg-type]
        )

    # ------------------------------------------------------------------------------------------------ find

    def list(
        self,
        *,
        status: JobStatus | str | Collection[JobStatus | str] | None = None,
        source_type: str | None = None,
        sae_id: Ref | None = None,
        training_id: Ref | None = None,
        search: str | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> Records[ExtractionRecord]:
        """Extractions, newest first; those of an SAE are those of its training.

        Args:
            source_type: ``"training"`` or ``"sae"``: what it was started from.
            search: words that all have to be in name, model, hook name or id.

        Raises:
            ConfigError: there is no such status or source.
            NotFoundError: there is no such SAE or training.
        """
        self._workspace.manager.sweep()
        return self._rows.list(
            origin=sae_id or training_id, status=status, source_type=source_type, search=search, limit=limit,
            offset=offset,
        )

    def get(self, extraction_id: Ref) -> Extraction:
        """The extraction with this id, of this name, or whose id begins so. Raises `NotFoundError`."""
        return Extraction(self._workspace, self._rows.get(extraction_id).id)

    def for_sae(self, sae_id: Ref) -> Records[ExtractionRecord]:
        """The extractions of an SAE (or a training), newest first."""
        return self.list(sae_id=sae_id)

    def latest(self, sae_id: Ref) -> ExtractionRecord | None:
        """The newest extraction of an SAE (or a training) that can be read; None if there is none."""
        return next(iter(self._rows.list(origin=sae_id, has_data=True, limit=1)), None)

    def status(self, sae_id: Ref) -> JobStatus | None:
        """The status of the newest extraction of an SAE (or a training); None if there is none."""
        return next((record.status for record in self.list(sae_id=sae_id, limit=1)), None)

    def count(self) -> dict[JobStatus, int]:
        """How many there are, by status."""
        return self._rows.count()

    def open(self, extraction_id: Ref) -> FeatureStore:
        """The results of an extraction: arrays, memory-mapped, and the text around every example. Raises
        `NotFoundError`, `StateError` if there is nothing to show yet, and `FormatError` if a file is damaged."""
        self._workspace.storage.fetch(self._workspace.folder / "extractions" / extraction_id)
        return self._opened(extraction_id)

    def _open(self, extraction_id: str) -> FeatureStore:
        from saewidgets.features.store.read import FeatureStore  # torch: seconds to import

        record = self._rows.get(extraction_id)
        if not record.has_data:
            raise nothing_to_show(record)
        if not Path(record.folder).is_dir():
            raise NotFoundError(
                "The files of the extraction are not here.", where=record.folder, hint=f"They are on {record.host}."
            )
        own = Path(record.folder) / TOKENS
        return FeatureStore(record.folder, own if own.is_dir() else self._workspace.folder / TOKENS)

    def compute_logits(self, extraction_id: Ref) -> Job:
        """Compute for all features of an extraction which next tokens they make most and least likely, as a job.

        Opening a feature computes them for that one; tables of all can be read where the model is not. Returns at
        once; one that is under way, paused or failed goes on. Tables are written whole at the end, and those that were
        there before stay until then.

        Raises:
            StateError: the extraction has nothing to read yet, or was made with other weights than the SAE has now; or
                its model was handed in as an object that is no longer in memory.
            ConfigError, NotFoundError: it is not known which model it is, or the files of its SAE are not here.
        """
        return self._logits.start(extraction_id)

    def logit_jobs(self) -> dict[str, JobRecord]:
        """The newest job of `compute_logits` of every extraction that has one, by the extraction's id."""
        return self._logits.newest()

    def logits_job(self, extraction_id: Ref) -> Job | None:
        """The newest job of `compute_logits` of an extraction, to pause, resume or cancel; None if there is none."""
        job = self._logits.newest().get(extraction_id)
        return None if job is None else self._workspace.manager.handle(job.id)

    @staticmethod
    def has_logits(record: ExtractionRecord) -> bool:
        """Whether an extraction has the tables of `compute_logits`, in files that are here."""
        return (Path(record.folder) / LOGITS).is_dir()

    def demo(self) -> Extraction:
        """The demo SAE's extraction, ready to read: it is part of the package, and with its SAE and labels it is put
        into the workspace when it is first asked for. Its SAE is ``.record.sae_id``. Raises `StorageError`."""
        extraction_id, taken = take_demo(self._workspace)
        if taken:
            self._changes.tell(extraction_id)  # no job brings the news
        return Extraction(self._workspace, extraction_id)

    def subscribe(self, callback: Callable[[str | None], None]) -> Callable[[], None]:
        """Call `callback` after an extraction has changed or was deleted, as `Workspace.subscribe` does."""
        return subscribe_to((self._changes.add, self._tasks.subscribe, self._logits.subscribe), callback)

    # ------------------------------------------------------------------------------------------------ end

    def cancel(self, sae_id: Ref) -> int:
        """Cancel the extractions of an SAE (or a training) that have not ended; returns how many."""
        asked = 0
        for record in self.list(sae_id=sae_id, status=_UNFINISHED):
            with contextlib.suppress(StateError):  # it ended in the meantime
                Extraction(self._workspace, record.id).cancel()
                asked += 1
        return asked

    def tidy(self, extraction_id: Ref) -> None:
        """Remove the files of one that was cancelled while it was not running, so that nothing is kept; its text
        stays, with which it can be started again."""
        from saewidgets.features.extraction.extraction_checkpoint import remove_checkpoints  # torch: seconds to import
        from saewidgets.features.extraction.extractor import CHECKPOINT

        record = self._rows.get(extraction_id)
        if record.has_data or record.status not in (JobStatus.CANCELLED, JobStatus.STOPPED):
            return  # there is something to read, or its process tidies up
        self.helpers.dismiss(record.job_id)
        remove_tree(self._workspace.folder, Path(record.folder) / PARTS)
        if record.status is JobStatus.CANCELLED:
            remove_checkpoints(Path(record.folder) / CHECKPOINT)

    def delete(self, extraction_id: Ref) -> int:
        """Remove an extraction and its files; labels, stars and notes stay. Returns the bytes freed. Raises
        `NotFoundError`, and `StateError` while it is running or its logit effects are being computed."""
        record = Extraction(self._workspace, extraction_id).record
        if not record.status.is_active:
            self._logits.end(extraction_id)
            self.helpers.dismiss(record.job_id)
        freed = self._tasks.delete(record)
        self._forget(extraction_id)
        return freed

    def remove_files(self, folders: Mapping[str, Path]) -> int:
        """Remove the folders (by id) of extractions that went with their SAE or training; what a row still names stays.
        Returns the bytes freed."""
        there = self._rows.existing(folders)
        freed = 0
        for extraction_id, folder in folders.items():
            if extraction_id not in there:
                self._forget(extraction_id)
                self._workspace.storage.remove(folder)
                freed += remove_tree(self._workspace.folder, folder)
        return freed

    def held(self, extraction_id: Ref) -> UserModel | None:
        """The model object given to an extraction, if that was in this process."""
        return self._tasks.held(extraction_id)

    def _reopen(self, extraction_id: str) -> None:
        """Its files have changed."""
        self._opened.cache_clear()
        self._changes.tell(extraction_id)

    def _forget(self, extraction_id: str) -> None:
        self._tasks.forget(extraction_id)
        self._logits.forget(extraction_id)
        self._workspace.features.forget(extraction_id)
        self._reopen(extraction_id)

    def _subject(self, sae_id: str | None, training_id: str | None) -> KnownSAE:
        if (sae_id is None) == (training_id is None):
            raise ConfigError(
                "An extraction reads one SAE of the library, or what one training has left.", where="sae_id",
                hint="Give either sae_id or training_id.",
            )
        if training_id is not None:
            return find_subject(self._workspace, training_id)
        return find_subject(self._workspace, sae_id or "")
