"""Defines `run_training` and `run_group`: from configurations to exported SAEs, one folder each (see `member`).

Trainings that read one stream of text run together: one forward of the language model feeds all of them, and each takes
its steps as it would alone, so it ends in the same bits. A single training is a group of one.
"""

import json
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from saewidgets.activations.corpus import is_exact, with_exact_revision
from saewidgets.config.base import require
from saewidgets.config.group import require_shared
from saewidgets.config.training import TrainingConfig
from saewidgets.errors import SAEWidgetsError, TrainingError
from saewidgets.events import Control, Emit, Event, Interruption, JobStatus, NullControl, Progress, Request, ignore
from saewidgets.sae.mesh import ALONE, LostWorkerError, Mesh
from saewidgets.sae.scaler import RAW
from saewidgets.settings import spins
from saewidgets.training import health
from saewidgets.training.checkpoint import MEASURED, list_checkpoints
from saewidgets.training.member import Evaluations, Member, Task, TrainingResult
from saewidgets.training.parallel import HERE, Launcher, Workers, end_with_first, take_part
from saewidgets.training.prepare import prepare
from saewidgets.training.progress import Logs, ProgressMeter
from saewidgets.training.schedules import evaluations_left
from saewidgets.training.threads import FollowedLoad

_LARGEST = 1 << 26  # bytes of run.json


def with_exact_text(config: TrainingConfig, folder: Path, *, resume: bool) -> TrainingConfig:
    """`config` with the commit of its dataset in place of a branch: when it is resumed the one it was started with,
    else the newest."""
    if is_exact(config.corpus):
        return config
    path, before = folder / "run.json", None
    if resume:
        with suppress(OSError, ValueError, KeyError, TypeError):  # it was never started, or is written again at once
            if path.stat().st_size <= _LARGEST:
                before = json.loads(path.read_text(encoding="utf-8"))["config"]["corpus"]
    if isinstance(before, dict) and before == {**config.corpus.to_data(), "revision": before.get("revision")}:
        known = config.replace(**{"corpus.revision": before["revision"]})
        if is_exact(known.corpus):
            return known
    return config.model_copy(update={"corpus": with_exact_revision(config.corpus)})


Ended = Callable[[int, TrainingResult, SAEWidgetsError | None], None]
"""Called with a training's number when it has ended by itself: completed, failed (one of several, with why), or stopped
alone."""


@dataclass(frozen=True, slots=True)
class GroupResult:
    """How trainings that ran together ended; `status` is completed if at least one did."""

    status: JobStatus
    results: tuple[TrainingResult, ...]


def run_training(
    config: TrainingConfig,
    folder: Path | str,
    *,
    emit: Emit = ignore,
    control: Control | None = None,
    model: Any = None,
    tokenizer: Any = None,
    tokens_folder: Path | str | None = None,
    resume: bool = False,
    launcher: Launcher = HERE,
) -> TrainingResult:
    """Train an SAE as `config` says and leave everything in `folder`.

    Args:
        config: the run.
        folder: the run's folder; made if it does not exist.
        emit: receives `events`.
        control: asked for pause, stop and cancel at every microbatch and language-model batch.
        model, tokenizer: a model that is already loaded, used in place of `config.model`; never copied or moved.
        tokens_folder: where packed text is kept, shared between runs; `folder/tokens` if left out.
        resume: continue from the newest whole checkpoint in `folder` (from the beginning if there is none).
        launcher: starts the other workers of a run with `parallel`; processes of this machine if left out.

    Raises:
        StateError: `folder` already holds checkpoints and `resume` is False.
        FormatError: every checkpoint is damaged.
        TrainingError: NaN, divergence or out of memory.
        ConfigError, NotFoundError, FormatError, StorageError: what cannot work, where, and what to do.
    """
    task = Task(config, Path(folder), emit, resume=resume)
    packed = tokens_folder or Path(folder).absolute() / "tokens"
    found = run_group(
        [task], tokens_folder=packed, control=control, model=model, tokenizer=tokenizer, launcher=launcher
    )
    return found.results[0]


def follow(spec: str) -> None:
    """Take part in a run as a worker that is not the first, as `spec` says, which is JSON of `Workers`."""
    about = json.loads(spec)
    config, tokens_folder, mesh = TrainingConfig.from_data(about["config"]), about["tokens_folder"], take_part(about)
    with tempfile.TemporaryDirectory() as folder:  # for what the first worker writes elsewhere
        run = _GroupRun([Member(Task(config, Path(folder)))], NullControl(), Path(tokens_folder), mesh=mesh)
        with run.until:
            run.run(None, None)


def run_group(
    tasks: Sequence[Task],
    *,
    tokens_folder: Path | str,
    control: Control | None = None,
    model: Any = None,
    tokenizer: Any = None,
    ended: Ended = lambda number, result, error: None,
    launcher: Launcher = HERE,
) -> GroupResult:
    """Train several SAEs on one stream of activations: one forward of the language model feeds all.

    A training that diverges ends alone; whatever else goes wrong (a full disk or device) ends all, and all can be
    resumed. Trainings may be at different steps when they are resumed: those behind catch up first. `control` concerns
    all; `ended` is called for each training that ends by itself. A run that loses a worker begins again at once, from
    its newest checkpoint; a second time only if it has written one since."""
    require_shared([task.config for task in tasks])
    lost = 0  # workers since the newest checkpoint
    while True:
        members = [Member(task) for task in tasks]
        run = _GroupRun(members, control or NullControl(), Path(tokens_folder), ended, launcher=launcher)
        try:
            with run.until:
                return run.run(model, tokenizer)
        except SAEWidgetsError as error:
            run.log(error)
            lost = 0 if run.has_advanced else lost + 1
            if not isinstance(error, LostWorkerError) or lost > 1 or run.mesh.size == 1:  # the last: none came
                raise
        except (RuntimeError, MemoryError) as error:
            if not health.is_out_of_memory(error):
                run.log(f"{type(error).__name__}: {error}")
                raise
            traceback.clear_frames(error.__traceback__)  # their locals are the tensors that filled the memory
            failure = run.out_of_memory(error)
            run.log(failure)
            raise failure from error
        finally:
            for member in run.members:
                member.release()
        tasks = [replace(task, resume=True) for task in tasks]


class _GroupRun:
    """One call of `run_group`: what its phases share."""

    def __init__(
        self, members: Sequence[Member], control: Control, tokens_folder: Path,
        ended: Ended = lambda number, result, error: None, *, mesh: Mesh = ALONE, launcher: Launcher = HERE,
    ) -> None:
        self.members, self.tokens_folder, self._ended = members, tokens_folder, ended
        self.control, self.mesh, self._launcher = control, mesh, launcher
        self._due = [False] * len(members)  # requested checkpoints
        total = members[0].config.steps * members[0].config.batch_size
        self.meter = ProgressMeter(
            self._tell, total, going=lambda: [member.tokens for member in self.live],
            to_come=lambda: max((evaluations_left(member.config, member.step) for member in self.live), default=0),
        )
        config = members[0].config
        self.devices = [config.device, config.model_device or config.device]
        self.errors: dict[int, SAEWidgetsError] = {}
        self.until = ExitStack()  # a model that others have, too, is as it was when the run is over

    @property
    def live(self) -> list[Member]:
        return [member for member in self.members if member.result is None]

    @property
    def has_advanced(self) -> bool:
        """Whether there is a checkpoint behind the one that the first training began with."""
        member = self.members[0]
        begun = 0 if member.checkpoint is None else member.checkpoint.step
        return any(found.step > begun for found in list_checkpoints(member.folder / "checkpoints"))

    def run(self, model: Any, tokenizer: Any) -> GroupResult:
        for member in self.members if self.mesh.leads else ():
            member.look()
            member.config = with_exact_text(member.config, member.folder, resume=member.task.resume)
            member.write_record("running")
        try:
            self._start(model, tokenizer)
            try:
                self._train()
            except Interruption as interruption:
                self.meter.settle()
                if interruption.request is not Request.STOP:
                    raise
                for member in self.live:
                    member.await_evaluation()  # all before the first is finished: they are evaluated together
                for member in self.live:
                    member.finish(JobStatus.STOPPED, self._check_unless_stopping)
                return self._result(JobStatus.STOPPED)
        except Interruption as interruption:
            for member in self.live:
                left = member.end_without_sae(interruption.request)
            return self._result(left.status)
        if len(self.errors) == len(self.members):
            raise next(iter(self.errors.values()))
        ends = {member.result.status for member in self.members if member.result}
        return self._result(next(each for each in _FIRST if each in ends))

    def _result(self, status: JobStatus) -> GroupResult:
        return GroupResult(status, tuple(member.result for member in self.members if member.result))

    def _start(self, model: Any, tokenizer: Any) -> None:
        # What a resumed run has learned can only be exported once it is loaded: Stop waits until then.
        config = self.members[0].config
        if config.parallel.workers > self.mesh.size:
            what, hint = "A loaded model stays in this process; others train as well.", "Name it in the configuration."
            require((model is None, "model", what, hint))
            workers = Workers(config, self.tokens_folder.absolute(), self._launcher, self.control.check)
            self.mesh = self.until.enter_context(workers).mesh
        resumed = any(member.checkpoint is not None for member in self.members)
        check = self._check_unless_stopping if resumed else self.control.check
        if resumed:  # or the bar would begin at zero while the model loads
            behind = min(self.members, key=lambda member: member.step)
            self.meter.at(behind.tokens, behind.step)
        scalers = [member.scaler for member in self.members]
        if self.mesh.told(lambda: scalers[0] is not None):
            scalers[0] = scalers[0] or RAW
        prepared = prepare(
            [member.config for member in self.members], self.tokens_folder, meter=self.meter,
            log=Logs([member.log for member in self.members]), check=check, model=model, tokenizer=tokenizer,
            scalers=scalers, kept=None if self.mesh.size > 1 else self.members[0].folder / MEASURED,
            until=self.until, mesh=self.mesh, away=self.members[0].task.away,
        )
        lm = prepared[0].lm
        self.devices = [prepared[0].device, prepared[0].device if lm is None else str(lm.device)]
        evaluations = Evaluations(self.members)
        for number, (member, found) in enumerate(zip(self.members, prepared, strict=True)):
            member.mesh = self.mesh
            member.start(found, self.meter, _MemberControl(self.control, self._due, number), evaluations)

    def _train(self) -> None:
        """Let the trainings take their steps in turns, those that are behind first, until all have ended.

        They read the same batch one after the other, so that the window of activations it is from is needed once.
        """
        going = {n: member.trainer.each_step() for n, member in enumerate(self.members) if member.trainer}
        threads = None
        if spins() and self.mesh.size == 1 and set(self.devices) == {"cpu"}:
            threads = self.until.enter_context(FollowedLoad())
        try:
            while going:
                if threads is not None and threads.follow():
                    for each in self.live:
                        each.changed_threads(str(threads))
                number = min(going, key=lambda each: (self.members[each].step, each))
                member = self.members[number]
                try:
                    asked = Request.RUN if self.mesh.size > 1 else member.task.wanted()  # or its control says it to all
                    if asked is not Request.RUN:
                        going.pop(number).close()
                        result = (
                            member.finish(JobStatus.STOPPED, self._check_unless_stopping)
                            if asked is Request.STOP else member.end_without_sae(asked)
                        )  # fmt: skip
                        self._ended(number, result, None)
                    elif next(going[number], _OVER) is _OVER:
                        for other in going:  # those that are over, too, are evaluated with it
                            if self.members[other].is_over:
                                self.members[other].await_evaluation()
                        del going[number]
                        self._ended(number, member.finish(JobStatus.COMPLETED, self._check_unless_stopping), None)
                except LostWorkerError:
                    raise
                except TrainingError as error:
                    going.pop(number, None)
                    self.errors[number] = error
                    result = member.failed(error)
                    if len(self.members) > 1:  # the error of a single training is that of the run
                        self._ended(number, result, error)
        finally:
            for steps in going.values():
                steps.close()

    def _check_unless_stopping(self) -> None:
        """Like `control.check`, but Stop does not interrupt the very work that it asked for."""
        try:
            self.control.check()
        except Interruption as interruption:
            if interruption.request is not Request.STOP:
                raise

    def _tell(self, event: Event) -> None:
        """Progress to all that go on, each with its own position: some are a step ahead, or more after a resume."""
        assert isinstance(event, Progress)
        for member in self.live:
            member.emit(replace(event, done=self.meter.position(member.tokens), step=member.step))

    def log(self, message: object) -> None:
        for member in self.live:
            with suppress(SAEWidgetsError):  # the disk may be what is wrong, and the first error is the one that counts
                member.log.error(str(message))

    def out_of_memory(self, error: BaseException) -> TrainingError:
        first = (self.live or self.members)[0]
        where = " or ".join(dict.fromkeys(self.devices))
        failure = health.out_of_memory_error(where, first.tokens, first.config, error)
        if len(self.members) > 1:
            hint = f"Train fewer than {len(self.members)} at a time, or: {failure.hint}"
            failure = TrainingError(failure.what, where=failure.where, hint=hint, kind=failure.kind)
        return failure


_OVER = object()
_FIRST = (JobStatus.COMPLETED, JobStatus.STOPPED, JobStatus.CANCELLED)  # what a group is called whose members differ


class _MemberControl:
    """The control of one of several trainings: each of them writes a requested checkpoint."""

    def __init__(self, control: Control, due: list[bool], number: int) -> None:
        self._control, self._due, self._number = control, due, number
        self.check, self.request = control.check, control.request

    def take_checkpoint_request(self) -> bool:
        if self._control.take_checkpoint_request():
            self._due[:] = [True] * len(self._due)
        due, self._due[self._number] = self._due[self._number], False
        return due


if __name__ == "__main__":
    about_it = sys.stdin.readline()
    threading.Thread(target=end_with_first, daemon=True).start()
    try:
        follow(about_it)
    except LostWorkerError as lost_worker:  # whose cause is the text of a library
        sys.exit(str(lost_worker))
