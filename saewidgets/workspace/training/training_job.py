"""`run_trainings`: the job of a training, or of a group of them, from their rows. Used by `ws.trainings`."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.errors import CatalogError, NotFoundError, SAEWidgetsError
from saewidgets.events import Facts, JobStatus, Request
from saewidgets.jobs import JobContext, error_info
from saewidgets.records import TrainingRecord
from saewidgets.workspace.capture.stored_corpus import require_stores
from saewidgets.workspace.corpora import exact_configs
from saewidgets.workspace.folders import TOKENS
from saewidgets.workspace.sinks import Sinks
from saewidgets.workspace.training.checkpoints import take_back
from saewidgets.workspace.training.settle import find_pretrained
from saewidgets.workspace.user_models import UserModel

if TYPE_CHECKING:
    from saewidgets.catalog import Catalog
    from saewidgets.training.member import TrainingResult
    from saewidgets.workspace.workspace import Workspace

log = logging.getLogger(__name__)

KIND = "training"
_LOOK_EVERY = 0.5  # seconds
_REQUESTS = {"stop": Request.STOP, "cancel": Request.CANCEL}


def run_trainings(
    workspace: Workspace, sinks: Sinks, context: JobContext, ids: Sequence[str], held: UserModel | None
) -> Any:
    """Do the job of a training, or of a group of them."""
    from saewidgets.training.member import Task  # torch: seconds to import
    from saewidgets.training.parallel import HERE
    from saewidgets.training.run import run_group

    rows = workspace.catalog.trainings
    records = _taking_part(workspace, ids)
    require_stores(workspace, records, context.control.check)
    if context.resumed:
        for record in records:
            take_back(workspace, record.id, Path(record.folder))
    sinks.open(records, context.emitter)
    requests = _Requests(workspace.catalog, context.job_id if len(ids) > 1 else None)
    # A run that goes on from another's checkpoint finds a copy of it in its folder.
    resume = context.resumed or bool(context.payload.get("continues"))
    tasks = [
        Task(
            config, Path(record.folder), context.emitter(record.id), partial(requests.of, record.id), resume,
            partial(find_pretrained, workspace), workspace.storage.remote,
        )
        for config, record in zip(exact_configs(workspace.catalog, records), records, strict=True)
    ]  # fmt: skip

    def ended(number: int, result: TrainingResult, error: SAEWidgetsError | None) -> None:
        if len(ids) == 1:
            return
        workspace.manager.flush()  # what it emitted comes before its end
        changes: dict[str, Any] = {"sae_path": result.sae_path} if result.sae_path is not None else {}
        rows.update(
            records[number].id, own_status=result.status.value, own_command=None,
            own_error=None if error is None else asdict(error_info(error)), ended_at=workspace.catalog.now(), **changes,
        )  # fmt: skip
        context.emitter(records[number].id)(Facts({}))  # watchers look again

    result = run_group(
        tasks, tokens_folder=workspace.folder / TOKENS, control=context.control,
        model=held.model if held else None, tokenizer=held.tokenizer if held else None, ended=ended,
        launcher=workspace.launcher() if workspace.launcher else HERE,
    )  # fmt: skip
    for record, each in zip(records, result.results, strict=True):
        if each.sae_path is not None:  # before the status changes, so that a completed run has its SAE
            rows.update(record.id, sae_path=each.sae_path, own_command=None)
    return result if len(ids) > 1 else result.results[0]


def _taking_part(workspace: Workspace, ids: Sequence[str]) -> list[TrainingRecord]:
    """The trainings that have not ended by themselves; all that did not complete where that are none."""
    trainings = workspace.catalog.trainings
    records = []
    for training_id in ids:
        try:
            records.append(trainings.get(training_id))
        except NotFoundError:  # one of a group was deleted
            if len(ids) == 1:
                raise
    if going := [record for record in records if not record.ended_alone]:
        return going
    again = [record for record in records if record.status is not JobStatus.COMPLETED] or records
    for record in again:
        trainings.update(record.id, own_status=None, own_command=None, own_error=None, ended_at=None)
    return again


class _Requests:
    """Requests to single trainings of a job (`job_id` None: to the job), read twice a second at most."""

    def __init__(self, catalog: Catalog, job_id: str | None) -> None:
        self._catalog, self._job_id = catalog, job_id
        self._looked = -_LOOK_EVERY
        self._found: dict[str, str] = {}

    def of(self, training_id: str) -> Request:
        now = time.monotonic()
        if self._job_id is not None and now - self._looked >= _LOOK_EVERY:
            self._looked = now
            try:
                self._found = self._catalog.trainings.commands(self._job_id)
            except CatalogError as error:  # it is locked for long: the next look will tell
                log.warning("Commands for single trainings could not be read: %s", error)
        return _REQUESTS.get(self._found.get(training_id, ""), Request.RUN)
