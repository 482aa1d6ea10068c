"""`LogitJobs`: logit tables of all latents of an extraction, as a job. Used by `ws.extractions`."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.errors import ConfigError, FormatError, SAEWidgetsError, StateError
from saewidgets.events import Interruption, JobStatus, LogLine, Meter, Progress, Request
from saewidgets.feature_records import ExtractionRecord
from saewidgets.jobs import Job, JobContext
from saewidgets.jobs.job_store import lane_device
from saewidgets.records import JobRecord
from saewidgets.workspace.extraction.extraction_job import nothing_to_show
from saewidgets.workspace.live import LiveSAE
from saewidgets.workspace.subjects import KnownSAE, find_subject
from saewidgets.workspace.tasks import Tasks
from saewidgets.workspace.user_models import UserModel

if TYPE_CHECKING:
    import numpy.typing as npt

    from saewidgets.workspace.workspace import Workspace

KIND = "logits"
_SECONDS = 60.0  # of work between two writings of what is done
_WAITS = frozenset({JobStatus.PAUSING, JobStatus.PAUSED, JobStatus.INTERRUPTED, JobStatus.FAILED})
_GOES_ON = frozenset({JobStatus.QUEUED, JobStatus.STARTING, JobStatus.RUNNING}) | _WAITS


@dataclass(frozen=True, slots=True)
class LogitsResult:
    """How many latents have tables now, and the bytes of the extraction's files with them."""

    latents: int
    size_bytes: int


class LogitJobs:
    """Starts jobs that compute logit tables, and does them; `changed` is called with the extraction's id."""

    def __init__(self, workspace: Workspace, changed: Callable[[str], None]) -> None:
        self._workspace = workspace
        self._changed = changed
        self._lock = threading.Lock()
        self._tasks = Tasks(workspace, KIND, self._run, key="extraction_id", ended=self._ended)
        self.subscribe = self._tasks.subscribe

    def start(self, extraction_id: str) -> Job:
        record, subject = self._checked(extraction_id)
        lane = self._workspace.features.live.lane(subject, record)
        manager = self._workspace.manager
        manager.sweep(fresh=True)  # one whose process was killed a moment ago still reads "running"
        with self._lock:
            for job in self._jobs(extraction_id):
                if job.status in _GOES_ON:
                    if job.status in _WAITS:
                        manager.resume(job.id)
                    return manager.handle(job.id)
            # What is deleted only when no job reads it: the SAE, or the training.
            ours = {"training_id" if subject.of_training else "sae_id": subject.id}
            return self._tasks.start({"extraction_id": extraction_id, **ours}, lane_device(lane))

    def _ended(self, job: JobRecord) -> None:
        """After a cancel nothing is left of it, however far it was."""
        if job.status in (JobStatus.CANCELLED, JobStatus.STOPPED):
            with contextlib.suppress(SAEWidgetsError):  # the extraction is gone, and its folder with it
                record = self._workspace.catalog.extractions.get(str(job.payload["extraction_id"]))
                shutil.rmtree(_kept_in(record, job.id), ignore_errors=True)

    def newest(self) -> dict[str, JobRecord]:
        found = self._workspace.manager.list(kind=KIND)
        return {str(job.payload.get("extraction_id")): job for job in reversed(found)}

    def end(self, extraction_id: str) -> None:
        """Before an extraction is deleted: what waits is cancelled."""
        for job in self._jobs(extraction_id):
            if job.status.is_active:
                raise StateError(
                    "The logit effects of its features are being computed.", where=extraction_id,
                    hint=f"Cancel that first: ws.jobs.get({job.id!r}).cancel().",
                )
            if job.status in (JobStatus.QUEUED, JobStatus.PAUSED):
                self._workspace.manager.request(job.id, "cancel")

    def forget(self, extraction_id: str) -> None:
        """The extraction is gone: so are the rows of its jobs."""
        for job in self._jobs(extraction_id):
            self._workspace.catalog.jobs.delete(job.id)

    def _jobs(self, extraction_id: str) -> list[JobRecord]:
        found = self._workspace.manager.list(kind=KIND)
        return [job for job in found if job.payload.get("extraction_id") == extraction_id]

    def _checked(self, extraction_id: str) -> tuple[ExtractionRecord, KnownSAE]:
        record = self._workspace.extractions.get(extraction_id).record
        if not record.has_data:
            raise nothing_to_show(record)
        if record.other_weights:
            raise StateError(
                "The extraction was made with other weights than the SAE has now.", where=extraction_id,
                hint="Extract the SAE again; labels are kept.",
            )
        return record, find_subject(self._workspace, record.sae_id or record.training_id or "")

    def _run(self, context: JobContext, ids: Sequence[str], held: UserModel | None) -> LogitsResult:
        # Torch: seconds to import.
        import torch

        from saewidgets.features.extraction.extraction_checkpoint import remove_checkpoints
        from saewidgets.features.store.layout import vocabulary_of, write_logits

        context.control.check()
        (extraction_id,) = ids
        workspace, (record, subject) = self._workspace, self._checked(extraction_id)
        context.emit(Progress(0, record.d_sae, "features", phase="loading model"))
        opened = workspace.features.live.open(subject, record)
        if opened.sae.d_sae != record.d_sae:
            raise ConfigError(
                f"The SAE has {opened.sae.d_sae:,} features, the extraction {record.d_sae:,}.", where="d_sae",
                hint="Extract the SAE again; labels are kept.",
            )
        device = str(opened.model.lm.device).partition(":")[0]
        with torch.no_grad(), torch.autocast(device, enabled=False):
            arrays = _computed(opened, _kept_in(record, context.job_id), context)
        context.emit(Progress(record.d_sae, record.d_sae, "features", phase="writing"))
        self._checked(extraction_id)  # it may have been deleted, or its SAE replaced, by another process
        tokens = {*arrays["top_tokens"].ravel().tolist(), *arrays["bottom_tokens"].ravel().tolist()} - {-1}
        workspace.storage.fetch(record.folder)
        write_logits(record.folder, arrays, *vocabulary_of(sorted(tokens), opened.model.text))
        remove_checkpoints(_kept_in(record, context.job_id))
        workspace.storage.publish(Path(record.folder))
        size = workspace.extractions.open(extraction_id).size_bytes
        workspace.catalog.extractions.update(extraction_id, size_bytes=size)
        self._changed(extraction_id)
        return LogitsResult(record.d_sae, size)


def _kept_in(record: ExtractionRecord, job_id: str) -> Path:
    return Path(record.folder) / f".logits-{job_id}"


def _computed(opened: LiveSAE, folder: Path, context: JobContext) -> dict[str, npt.NDArray[Any]]:
    """The tables of all latents; what is done is kept in `folder` now and then, and when it is paused."""
    # Torch: seconds to import.
    import numpy as np

    from saewidgets.features.extraction.extraction_checkpoint import remove_checkpoints, sae_fingerprint
    from saewidgets.features.logit_effects import logit_tables
    from saewidgets.features.store.layout import LOGIT_ARRAYS, LOGIT_TOKENS

    total = opened.sae.d_sae
    arrays = {name: np.empty((total, LOGIT_TOKENS), array.dtype) for name, array in LOGIT_ARRAYS.items()}
    belongs = {"sae": sae_fingerprint(opened.sae), "model": opened.model.lm.fingerprint()}
    done = first = _read(folder, belongs, arrays, context) if context.resumed else 0
    saved, meter = time.monotonic(), Meter(context.emit, total, "features")
    meter.at(first, "computing")
    try:
        for part, found in logit_tables(opened.sae, opened.model.head, first):
            for name, values in found.items():
                arrays[name][part] = values
            done = part.stop
            meter.at(done, "computing")
            context.control.check()
            if context.control.take_checkpoint_request() or time.monotonic() - saved > _SECONDS:
                _write(folder, belongs, arrays, done)
                saved = time.monotonic()
    except Interruption as interruption:
        if interruption.request is Request.PAUSE:
            _write(folder, belongs, arrays, done)
        else:
            remove_checkpoints(folder)
        raise
    return arrays


def _write(folder: Path, belongs: dict[str, str], arrays: dict[str, npt.NDArray[Any]], done: int) -> None:
    # Torch: seconds to import.
    import torch

    from saewidgets.features.extraction.extraction_checkpoint import write_checkpoint

    tensors = {name: torch.from_numpy(array[:done]) for name, array in arrays.items()}
    write_checkpoint(folder, done, tensors, {"identity": belongs})


def _read(folder: Path, belongs: dict[str, str], arrays: dict[str, npt.NDArray[Any]], context: JobContext) -> int:
    """Put what was computed before into `arrays`; of how many latents that is."""
    from saewidgets.features.extraction.extraction_checkpoint import read_checkpoint  # torch: seconds to import

    try:
        found = read_checkpoint(folder)
    except FormatError as error:
        context.emit(LogLine(f"{error.what} Starting over.", "warning"))
        return 0
    if found is None:
        return 0
    state, tensors = found
    if state.get("identity") != belongs:
        context.emit(LogLine("The model or the SAE is not the one from before. Starting over.", "warning"))
        return 0
    done = int(state["done"])
    for name, array in arrays.items():
        array[:done] = tensors[name].numpy()
    return done
