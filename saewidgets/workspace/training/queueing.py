"""Runs become rows, folders and one job: all of them, or nothing is left."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.catalog import Catalog, new_training_id
from saewidgets.config import TrainingConfig
from saewidgets.config.group import require_shared
from saewidgets.config.names import free_name
from saewidgets.errors import NotFoundError, SAEWidgetsError, StorageError
from saewidgets.jobs import compute_lane
from saewidgets.records import TrainingRecord
from saewidgets.workspace.capture.using import total_tokens
from saewidgets.workspace.corpora import dataset_facts, dataset_name, from_row, to_rows
from saewidgets.workspace.files import free_bytes, new_folder
from saewidgets.workspace.held import Held
from saewidgets.workspace.sinks import OnEvent, as_sinks
from saewidgets.workspace.training import continuing
from saewidgets.workspace.training.concrete import concrete
from saewidgets.workspace.training.fitting import require_fit
from saewidgets.workspace.training.job import KIND, TrainingRunners

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace


FOLDER = "trainings"
MIN_FREE_BYTES = 64 * 1024**2  # below this not even a small run's first checkpoint fits


@dataclass(frozen=True, slots=True)
class New:
    """A run to be queued.

    `name` gets a number where another run has it; None takes the one of the configuration as it is, else its default.
    """

    config: TrainingConfig
    name: str | None = None
    retry_of: str | None = None


def queue(
    workspace: Workspace,
    runners: TrainingRunners,
    tasks: Sequence[New],
    held: Held | None,
    *,
    group: tuple[str, str] | None = None,
    prepare: continuing.Prepare | None = None,
    on_event: OnEvent = None,
) -> Sequence[str]:
    """One job for all `tasks`; returns their ids.

    Args:
        workspace: where they are to run.
        runners: what keeps their models and sinks.
        tasks: the runs; of a group all that it has.
        held: the model that their user handed in.
        group: the id of what they belong to, and the name it is to get.
        prepare: puts the checkpoint into each folder that it goes on from.
        on_event: where their events go besides the catalog.

    Raises:
        ConfigError, NotFoundError: a setting cannot work here.
        StorageError: the disk is full, or a folder cannot be made. Nothing is left of any of them.
    """
    on_event = as_sinks(on_event)
    configs = [concrete(workspace, task.config, held, begins=prepare is None) for task in tasks]
    require_shared(configs)
    require_fit(configs, held)
    totals = [total_tokens(workspace, config) for config in configs]
    ids = [new_training_id() for _ in tasks]
    lane = compute_lane(workspace.settings.host, configs[0].device)
    _check_disk(workspace.folder)
    made: dict[str, Path] = {}

    def insert(job_id: str) -> None:
        workspace.catalog.trainings.create_all([
            {
                "id": training_id, "job_id": job_id, "config": rows[training_id], "model": config.model,
                "name": task.name or config.name or config.default_name,
                "name_given": task.name is None and bool(config.name),
                "corpus": config.corpus.label, "hook_name": config.hook_name, "d_sae": config.sae.d_sae,
                "architecture": config.sae.architecture, "device": config.device, "lane": lane,
                "tokens_total": total, "folder": made[training_id],
                "retry_of": task.retry_of, "group_id": group[0] if group else None,
            }
            for training_id, task, config, total in zip(ids, tasks, configs, totals, strict=True)
        ], free_name)  # fmt: skip
        if prepare is not None:
            for training_id, folder in made.items():
                prepare(training_id, folder)

    payload: dict[str, Any] = {"model_given": held is not None, "continues": prepare is not None}
    if group is None:
        payload["training_id"] = ids[0]
    else:
        payload |= {"training_ids": ids, "group_id": group[0], "group_name": group[1]}
    rows: dict[str, dict[str, Any]] = {}
    try:
        for training_id in ids:
            made[training_id] = new_folder(workspace.folder / FOLDER / training_id, "run")
            if held is not None:
                runners.hold(training_id, held)
            runners.sinks.keep(training_id, on_event)
        rows.update(zip(ids, to_rows(configs, list(made.values())), strict=True))
        workspace.catalog.models.upsert(configs[0].model)
        workspace.catalog.datasets.upsert(dataset_name(configs[0].corpus), dataset_facts(configs[0].corpus))
        workspace.manager.submit(KIND, payload, lane, before_start=insert)
    except BaseException:
        for training_id, folder in made.items():
            _undo(workspace, runners, training_id, folder)
        raise
    return ids


def _undo(workspace: Workspace, runners: TrainingRunners, training_id: str, folder: Path) -> None:
    """Leave nothing of a run that could not be queued."""
    runners.forget(training_id)
    with contextlib.suppress(SAEWidgetsError):  # usually there is no row; the error that counts is the first one
        workspace.catalog.trainings.delete(training_id)
    shutil.rmtree(folder, ignore_errors=True)


def _check_disk(folder: Path) -> None:
    free = free_bytes(folder)
    if free < MIN_FREE_BYTES:
        raise StorageError(
            f"Not enough disk space: {free / 1e6:.0f} MB free.",
            where=str(folder),
            hint="Delete trainings you no longer need, or open a workspace on another disk.",
        )


def retry_name(catalog: Catalog, record: TrainingRecord, free_name: Callable[[str], str]) -> str:
    """The name of a retry of `record`: "mine-2" of "mine", and "mine-3" of "mine-2" where it got that number here."""
    if _stem(record.name) is None:
        return free_name(record.name)
    first = record.config.get("name") or from_row(record.config, record.folder).default_name
    earlier = _repeated(catalog, record)
    return free_name(_unnumbered(record.name, {first, *_names(earlier.name if earlier else None)}))


def group_retry_name(catalog: Catalog, record: TrainingRecord, name: str, default: str) -> str:
    """The same for a group: `name` of the group of `record`, `default` if nobody had chosen one."""
    earlier = _repeated(catalog, record)
    return _unnumbered(name, {default, *_names(earlier.group_name if earlier else None)})


def _repeated(catalog: Catalog, record: TrainingRecord) -> TrainingRecord | None:
    if record.retry_of is None:
        return None
    try:
        return catalog.trainings.get(record.retry_of)
    except NotFoundError:  # deleted just now
        return None


def _names(name: str | None) -> Collection[str]:
    """`name`, which may itself be one with a number, and what stands before that."""
    return {each for each in (name, _stem(name or "")) if each}


def _unnumbered(name: str, known: Collection[str]) -> str:
    """What stands before the number of `name` if that is known; a name that somebody chose stays whole."""
    stem = _stem(name)
    return stem if stem in known and stem is not None else name


def _stem(name: str) -> str | None:
    """What stands before the number: "mine" of "mine-3"; None where there is none."""
    first, dash, number = name.rpartition("-")
    return first if dash and number.isdigit() else None
