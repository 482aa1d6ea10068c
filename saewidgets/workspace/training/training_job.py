"""`run_trainings`: the job of a training, or of a group of them, from their rows. Used by `ws.trainings`."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.errors import CatalogError, NotFoundError, SAEWidgetsError
from saewidgets.events import Facts, JobStatus, Request
from saewidgets.jobs import JobContext, error_info
from saewidgets.records import TrainingRecord
from saewidgets.workspace.capture.using import require_stores
from saewidgets.workspace.corpora import exact_configs
from saewidgets.workspace.held import Held
from saewidgets.workspace.sinks import Sinks
from saewidgets.workspace.training.checkpoints import reconcile
from saewidgets.workspace.training.settle import find_pretrained

if TYPE_CHECKING:
    from saewidgets.catalog import Catalog
    from saewidgets.training import TrainingResult
    from saewidgets.workspace.workspace import Workspace

log = logging.getLogger(__name__)

KIND = "training"
TOKENS = "tokens"  # subfolder of the workspace with packed corpora, shared by all runs

_LOOK_EVERY = 0.5  # seconds
_REQUESTS = {"stop": Request.STOP, "cancel": Request.CANCEL}


def run_trainings(
    workspace: Workspace, sinks: Sinks, context: JobContext, ids: Sequence[str], held: Held | None
) -> Any:
    """Do the job of a training, or of a group of them."""
    from saewidgets.training import Task, run_group  # torch: seconds to import

    catalog = workspace.catalog
    records = _taking_part(workspace, ids)
    require_stores(workspace, records)
    if context.resumed:
        for record in records:
            take_back(workspace, record.id, Path(record.folder))
    wishes = Wishes(catalog, context.job_id if len(ids) > 1 else None)
    with ExitStack() as stack:
        feeds = [stack.enter_context(sinks.fed(record, context.emitter(record.id))) for record in records]
        # A run that goes on from another's checkpoint finds a copy of it in its folder.
        resume = context.resumed or bool(context.payload.get("continues"))
        tasks = [
            Task(
                config, Path(record.folder), feed.emit, partial(wishes.of, record.id), resume,
                partial(find_pretrained, workspace),
            )
            for config, record, feed in zip(exact_configs(catalog, records), records, feeds, strict=True)
        ]  # fmt: skip

        def ended(number: int, result: TrainingResult, error: SAEWidgetsError | None) -> None:
            feeds[number].status = result.status.value
            if len(ids) > 1:
                _ended_alone(workspace, records[number].id, result, error)
                feeds[number].emit(Facts({}))  # whoever watches looks again

        result = run_group(
            tasks, tokens_folder=workspace.folder / TOKENS, control=context.control,
            model=held.model if held else None, tokenizer=held.tokenizer if held else None, ended=ended,
        )  # fmt: skip
        for record, feed, each in zip(records, feeds, result.results, strict=True):
            feed.status = each.status.value
            if each.sae_path is not None:
                # Before the status changes: whoever sees "completed" finds the SAE.
                catalog.trainings.update(record.id, sae_path=each.sae_path, own_command=None)
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


def _ended_alone(
    workspace: Workspace, training_id: str, result: TrainingResult, error: SAEWidgetsError | None
) -> None:
    """Write how one of a group has ended, after all that it emitted."""
    workspace.manager.flush()
    changes: dict[str, Any] = {"sae_path": result.sae_path} if result.sae_path is not None else {}
    workspace.catalog.trainings.update(
        training_id, own_status=result.status.value, own_command=None,
        own_error=None if error is None else asdict(error_info(error)), ended_at=workspace.catalog.now(), **changes,
    )  # fmt: skip


def take_back(workspace: Workspace, training_id: str, folder: Path) -> None:
    """Forget what was measured after the checkpoint that a resumed run starts from: it is measured again."""
    step = reconcile(workspace.catalog, training_id, folder)
    if step is not None:
        workspace.catalog.metrics.truncate(training_id, step)


class Wishes:
    """What was asked of single trainings of a job, by whichever process: looked up twice a second at most. A job of one
    training (`job_id` None) is asked itself."""

    def __init__(self, catalog: Catalog, job_id: str | None) -> None:
        self._catalog, self._job_id = catalog, job_id
        self._looked = -_LOOK_EVERY
        self._found: dict[str, str] = {}

    def of(self, training_id: str) -> Request:
        """What was asked of this one."""
        now = time.monotonic()
        if self._job_id is not None and now - self._looked >= _LOOK_EVERY:
            self._looked = now
            try:
                self._found = self._catalog.trainings.commands(self._job_id)
            except CatalogError as error:  # somebody holds it for long: the next look will tell
                log.warning("What was asked of single trainings could not be read: %s", error)
        return _REQUESTS.get(self._found.get(training_id, ""), Request.RUN)
