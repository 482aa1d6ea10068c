"""Runs become rows, folders and one job: all of them, or nothing is left."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.catalog import Catalog, new_training_id
from saewidgets.config import TrainingConfig
from saewidgets.config.names import free_name
from saewidgets.durable import require_space
from saewidgets.errors import NotFoundError
from saewidgets.jobs import compute_lane
from saewidgets.records import TrainingRecord
from saewidgets.workspace.capture.using import total_tokens
from saewidgets.workspace.corpora import from_row, to_rows
from saewidgets.workspace.held import Held
from saewidgets.workspace.tasks import Tasks
from saewidgets.workspace.training import checkpoints
from saewidgets.workspace.training.settle import settle

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace


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
    tasks: Tasks,
    new: Sequence[New],
    held: Held | None,
    *,
    group: tuple[str, str] | None = None,
    prepare: checkpoints.Prepare | None = None,
    keep: Callable[[str], None] = lambda training_id: None,
) -> Sequence[str]:
    """One job for all `new`; returns their ids.

    `group` is the id and the name of what they belong to; `prepare` puts the checkpoint into each folder that it goes
    on from; `keep` is told each id before the job can start.
    """
    configs = settle(workspace, [each.config for each in new], held, begins=prepare is None)
    totals = [total_tokens(workspace, config) for config in configs]
    first = configs[0]
    hint = "Delete trainings you no longer need, or open a workspace on another disk."
    require_space(workspace.folder, MIN_FREE_BYTES, "a run", hint)

    def rows(folders: Mapping[str, Path]) -> Callable[[str], None]:
        data = to_rows(configs, list(folders.values()))

        def insert(job_id: str) -> None:
            workspace.catalog.trainings.create_all([
                {
                    "id": training_id, "job_id": job_id, "config": row, "model": config.model,
                    "name": each.name or config.name or config.default_name,
                    "name_given": each.name is None and bool(config.name),
                    "corpus": config.corpus.label, "hook_name": config.hook_name, "d_sae": config.sae.d_sae,
                    "architecture": config.sae.architecture, "device": config.device,
                    "lane": compute_lane(workspace.settings.host, first.device),
                    "tokens_total": total, "folder": folder,
                    "retry_of": each.retry_of, "group_id": group[0] if group else None,
                }
                for (training_id, folder), row, each, config, total in zip(
                    folders.items(), data, new, configs, totals, strict=True
                )
            ], free_name)  # fmt: skip
            for training_id, folder in folders.items():
                keep(training_id)
                if prepare is not None:
                    prepare(training_id, folder)

        return insert

    payload: dict[str, Any] = {"continues": prepare is not None}
    if group is not None:
        payload |= {"group_id": group[0], "group_name": group[1]}
    return tasks.submit(
        new_training_id, first.device, rows, count=None if group is None else len(new), payload=payload, held=held,
        model=first.model, corpus=first.corpus,
    )  # fmt: skip


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
