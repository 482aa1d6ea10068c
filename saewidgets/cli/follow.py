"""Watching a run from a terminal, or several as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from saewidgets.cli.display import Look
from saewidgets.cli.ending import failure, standing
from saewidgets.cli.output import count, duration, note
from saewidgets.cli.watch import CHECKPOINT, watch
from saewidgets.events import JobStatus

if TYPE_CHECKING:
    from saewidgets.records import TrainingRecord

SHOWN = (("loss", "loss"), ("l0", "L0"), ("fvu", "FVU"))


class Followable(Protocol):
    """A run, or several that are watched as one."""

    @property
    def id(self) -> str: ...

    @property
    def record(self) -> TrainingRecord: ...

    def pause(self) -> None: ...


def _phase(record: TrainingRecord) -> str:
    return standing(record) if record.progress is None else record.progress.phase


def _values(record: TrainingRecord) -> dict[str, str]:
    return {label: f"{record.latest[key]:.4g}" for key, label in SHOWN if key in record.latest}


def _counted(record: TrainingRecord) -> tuple[int, int | None]:
    # What epochs of text are in tokens is known once the text is packed.
    is_open = record.config.get("epochs") and record.config["corpus"]["kind"] != "activations"
    return record.tokens_done, None if is_open and "steps" not in record.facts else record.tokens_total


def _paused(record: TrainingRecord) -> str:
    done, total = map(count, _counted(record))
    return f"Paused at {done} of {total} tokens, step {count(record.step)}."


def follow(run: Followable, *, quiet: bool = False, resume: tuple[str, ...] | None = None) -> TrainingRecord:
    """Show `run` until it ends or pauses. Ctrl-C pauses it with a checkpoint; a second one gives up waiting.

    Args:
        run: what is shown.
        quiet: show nothing on the way.
        resume: the words of the command that goes on where it paused; None: those that resume the run.

    Returns:
        the record it ended with.

    Raises:
        typer.Exit: with status 130 when it was paused.
    """
    return watch(
        run, Look(_counted, phase=_phase, values=_values), quiet=quiet, pausing=CHECKPOINT, paused=_paused,
        left="Left without waiting; what is not in a checkpoint is lost.", resume=resume or ("resume", run.id),
    )


def finish(record: TrainingRecord) -> None:
    """Say how a run ended.

    Raises:
        typer.Exit: with a status that is not zero when it did not end well.
    """
    if record.status in (JobStatus.COMPLETED, JobStatus.STOPPED):
        word = "Completed" if record.status is JobStatus.COMPLETED else "Stopped"
        note(f"{word}: {count(record.tokens_done)} tokens in {duration(record.seconds_running)}. {record.id}")
        if record.sae_path:
            note(f"SAE: {record.sae_path}")
        return
    raise failure(record, first=f"{record.id} {record.status.value}.")
