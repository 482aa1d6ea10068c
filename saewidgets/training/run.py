"""A whole run: from the configuration to the exported SAE in its folder.

    <folder>/
        run.json            configuration, facts, result
        log.txt             what happened
        checkpoints/        see `checkpoint`
        sae/                the exported SAE, once the run completed or was stopped
"""

from __future__ import annotations

import json
import math
import os
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from saewidgets.config.training import TrainingConfig
from saewidgets.errors import SAEWidgetsError, StateError, StorageError
from saewidgets.evaluation import Baseline, evaluate, measure_baseline
from saewidgets.events import Control, Emit, Facts, Interruption, JobStatus, NullControl, Request, ignore
from saewidgets.sae import SAE, build_sae
from saewidgets.training import health
from saewidgets.training.checkpoint import (
    Checkpoint,
    clean_leftovers,
    list_checkpoints,
    newest_whole,
    remove_checkpoint,
)
from saewidgets.training.environment import compare, describe_environment, package_version, recorded
from saewidgets.training.export import exported, metadata, save_final
from saewidgets.training.length import with_epochs
from saewidgets.training.loop import Trainer
from saewidgets.training.prepare import Prepared, prepare
from saewidgets.training.progress import ProgressMeter
from saewidgets.training.runlog import RunLog

_STATUS = {Request.PAUSE: JobStatus.PAUSED, Request.STOP: JobStatus.STOPPED, Request.CANCEL: JobStatus.CANCELLED}


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """How a run ended.

    Attributes:
        status: completed, stopped (ended early, what was learned is kept), paused or cancelled.
        step, tokens: finished optimiser steps and the tokens in them.
        sae_path: absolute path of the exported SAE; None when the run paused, was cancelled, or learned nothing.
        metrics: the newest value of every metric; ``val_*`` are those of the exported SAE when there is one.
    """

    status: JobStatus
    step: int
    tokens: int
    sae_path: str | None
    metrics: Mapping[str, float] = field(default_factory=dict)


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

    Raises:
        StateError: `folder` already holds checkpoints and `resume` is False.
        FormatError: every checkpoint is damaged.
        TrainingError: NaN, divergence or out of memory.
        ConfigError, NotFoundError, FormatError, StorageError: what cannot work, where, and what to do.
    """
    folder = Path(folder).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"The run's folder cannot be made ({error.strerror}).", where=str(folder),
            hint="Choose a folder that can be written.",
        ) from error
    run = _Run(config, folder, emit, control or NullControl(), Path(tokens_folder or folder / "tokens"))
    try:
        return run.run(model, tokenizer, resume)
    except SAEWidgetsError as error:
        run.log.error(str(error))
        raise
    except (RuntimeError, MemoryError) as error:
        if not health.is_out_of_memory(error):
            run.log.error(f"{type(error).__name__}: {error}")
            raise
        traceback.clear_frames(error.__traceback__)  # their locals are the tensors that filled the memory
        failure = health.out_of_memory_error(run.device, run.tokens, config, error)
        run.log.error(str(failure))
        raise failure from error
    finally:
        run.release()


class _Run:
    """One call of `run_training`: what its phases share."""

    def __init__(self, config: TrainingConfig, folder: Path, emit: Emit, control: Control, tokens_folder: Path) -> None:
        self.config, self.folder, self.emit, self.control = config, folder, emit, control
        self.tokens_folder = tokens_folder
        self.log = RunLog(folder, emit)
        self.meter = ProgressMeter(emit, config.steps * config.batch_size)
        self.facts: dict[str, Any] = {}
        self.device = config.device
        self.prepared: Prepared | None = None
        self.trainer: Trainer | None = None
        self.baseline: Baseline | None = None

    @property
    def tokens(self) -> int:
        """Tokens trained on so far."""
        return self.trainer.tokens if self.trainer else 0

    def run(self, model: Any, tokenizer: Any, resume: bool) -> TrainingResult:
        """Prepare, train, finish; or what was asked for instead."""
        checkpoint = self._checkpoint(resume)
        self._write_record("running")
        try:
            prepared, trainer = self._start(model, tokenizer, checkpoint)
        except Interruption as interruption:
            return self._left(interruption.request, checkpoint)
        status = JobStatus.COMPLETED
        try:
            trainer.run()
        except Interruption as interruption:
            if interruption.request is not Request.STOP:
                return self._left(interruption.request, checkpoint)
            status = JobStatus.STOPPED
        if trainer.step == 0:
            return self._left(Request.STOP, checkpoint)
        try:
            return self._finish(prepared, trainer, status)
        except Interruption as interruption:
            return self._left(interruption.request, checkpoint)

    # --- before the first step --------------------------------------------------------------------

    def _checkpoint(self, resume: bool) -> Checkpoint | None:
        """The checkpoint to continue from. Damaged newer ones are removed, so that they cannot pass for the newest."""
        folder = self.folder / "checkpoints"
        clean_leftovers(folder)
        if not resume:
            if found := list_checkpoints(folder):
                raise StateError(
                    f"The folder already holds a run that is at step {found[0].step:,}.", where=str(self.folder),
                    hint="Resume it, or choose another folder.",
                )
            return None
        checkpoint, problems = newest_whole(folder)
        if checkpoint is None:
            if problems:
                raise problems[0]
            self.log.info("There is no checkpoint yet: starting from the beginning.")
            return None
        for problem in problems:
            self.log.warning(f"A checkpoint is damaged and was removed. {problem}")
            remove_checkpoint(Path(problem.where or "").parent)
        return checkpoint

    def _start(self, model: Any, tokenizer: Any, checkpoint: Checkpoint | None) -> tuple[Prepared, Trainer]:
        """Everything up to a trainer at the right step."""
        # What a resumed run has learned can only be exported once it is loaded: Stop waits until then.
        check = self.control.check if checkpoint is None else self._check_unless_stopping
        if checkpoint is not None:  # or the bar would begin at zero while the model loads
            self.meter.at(int(checkpoint.state["tokens"]), checkpoint.step)
        prepared = self.prepared = prepare(
            self.config, self.tokens_folder, meter=self.meter, log=self.log, check=check, model=model,
            tokenizer=tokenizer, scale=None if checkpoint is None else float(checkpoint.state["scale"]),
        )
        self.device = prepared.device
        self.config = with_epochs(self.config, prepared.stream.tokens_per_epoch)
        total = self.config.steps * self.config.batch_size
        self.meter.set_total(total)
        sae = build_sae(
            self.config.sae, prepared.stream.d_in, generator=torch.Generator().manual_seed(self.config.seed)
        ).to(prepared.device, torch.float32)  # whatever the user's default number format is
        environment = describe_environment(prepared.device, prepared.stream.layout)
        trainer = self.trainer = Trainer(
            self.config, sae, prepared.stream, self.folder, scale=prepared.scale, emit=self.emit, control=self.control,
            evaluate=lambda: self._measured(sae, prepared, prepared.scale, self.control.check), environment=environment,
            meter=self.meter,
        )
        parameters = sum(p.numel() for p in sae.parameters())
        self._learn({**prepared.facts(), "parameters": parameters, "steps": self.config.steps, "tokens_total": total})
        if checkpoint is not None:
            note = compare(checkpoint.state, self.config, trainer.environment)
            trainer.load(checkpoint)
            self.log.info(f"Resuming from step {trainer.step:,} ({trainer.tokens:,} tokens).")
            if note:
                self.log.warning(note)
            self._learn({"resume_note": note})
        self._write_record("running")
        return prepared, trainer

    def _learn(self, facts: Mapping[str, Any]) -> None:
        self.facts.update(facts)
        self.emit(Facts(dict(facts)))

    # --- evaluation and export --------------------------------------------------------------------

    def _measured(
        self, sae: SAE, prepared: Prepared, scale: float, check: Callable[[], None]
    ) -> dict[str, float]:
        """Evaluate on held-out text; names as they appear in charts."""
        contexts = prepared.stream.evaluation_contexts(self.config.evaluation.tokens)
        settings = self.config.activations
        exclude, size = settings.exclude_special_tokens, settings.model_batch_size
        if self.baseline is None:  # the same in every evaluation of a run
            self.baseline = measure_baseline(
                prepared.lm, contexts, self.config.hook_name, exclude_special_tokens=exclude, batch_size=size,
                check=check,
            )
        found = evaluate(
            sae, prepared.lm, contexts, self.config.hook_name, scale=scale, exclude_special_tokens=exclude,
            batch_size=size, baseline=self.baseline, check=check,
        )
        named = {f"val_{name}": found[name] for name in ("fvu", "l0", "mse", "dead")}
        named["ce_loss_score"] = found["ce_loss_score"]
        return {name: value for name, value in named.items() if math.isfinite(value)}

    def _finish(self, prepared: Prepared, trainer: Trainer, status: JobStatus) -> TrainingResult:
        """Export what was learned, with the metrics of exactly what is exported; one more checkpoint."""
        sae = exported(trainer.sae, prepared.scale)
        trainer.measure(lambda: self._measured(sae, prepared, 1.0, self._check_unless_stopping))
        if status is JobStatus.COMPLETED:
            for warning in trainer.targets.at_the_end(trainer.latest):
                self.log.warning(warning)
            trainer.save_final()
        else:
            trainer.save("latest")
        sae.metadata = metadata(
            self.config, model_name=prepared.lm.name, model_class=type(prepared.lm.model).__name__,
            tokens=trainer.tokens, metrics=trainer.latest,
        )
        path = save_final(sae, self.folder)
        self.log.info(f"{status.value.capitalize()} at step {trainer.step:,}: the SAE is in {path}.")
        return self._result(status, str(path))

    def _check_unless_stopping(self) -> None:
        """Like `control.check`, but Stop does not interrupt the very work that it asked for."""
        try:
            self.control.check()
        except Interruption as interruption:
            if interruption.request is not Request.STOP:
                raise

    # --- the end ----------------------------------------------------------------------------------

    def _left(self, request: Request, checkpoint: Checkpoint | None) -> TrainingResult:
        """Leave without an SAE: checkpoint for a pause, nothing new for a cancel, nothing to keep for an early stop."""
        if request is Request.PAUSE and self.trainer is not None and self.trainer.step > 0:
            self.trainer.save("latest")
        status = _STATUS[request]
        self.log.info(f"{status.value.capitalize()} at step {self.trainer.step if self.trainer else 0:,}.")
        return self._result(status, None, checkpoint)

    def _result(self, status: JobStatus, sae_path: str | None, checkpoint: Checkpoint | None = None) -> TrainingResult:
        if self.trainer is not None:
            step, tokens, metrics = self.trainer.step, self.trainer.tokens, dict(self.trainer.latest)
        elif checkpoint is not None:  # left before its weights were loaded
            step, tokens, metrics = checkpoint.step, int(checkpoint.state["tokens"]), dict(checkpoint.state["metrics"])
        else:
            step, tokens, metrics = 0, 0, {}
        self._write_record(status.value, step=step, tokens=tokens, metrics=metrics)
        return TrainingResult(status, step, tokens, sae_path, metrics)

    def _write_record(self, status: str, **result: Any) -> None:
        """run.json: what a person or a script finds in the folder without the catalog."""
        record = {
            "status": status, "saewidgets": package_version(), "time": time.time(), "config": recorded(self.config),
            "facts": self.facts, **result,
        }
        path = self.folder / "run.json"
        temporary = path.with_name(f".tmp-{uuid.uuid4().hex}.json")
        try:
            temporary.write_text(json.dumps(record, indent=1, allow_nan=False), encoding="utf-8")
            os.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise StorageError(
                f"The run's record cannot be written ({error.strerror}).", where=str(path),
                hint="Free some space or check that the folder is writable.",
            ) from error

    def release(self) -> None:
        """Let go of model, weights and buffers, so that their memory is free when the call returns."""
        on_gpu = self.trainer is not None and self.trainer.device.type == "cuda"
        self.trainer = self.prepared = None
        if on_gpu:
            torch.cuda.empty_cache()
