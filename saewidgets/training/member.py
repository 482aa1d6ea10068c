"""Defines `Member`, one of the trainings of a run: its folder, log, trainer, evaluation and result; and
`Evaluations`, which measures those that are due at the same time in one pass.

<folder>/
    run.json            configuration, facts, result
    log.txt             what happened
    checkpoints/        see `checkpoint`
    sae/                the exported SAE, once the training completed or was stopped
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from saewidgets.activations.store import Away
from saewidgets.activations.store_stream import StoredStream
from saewidgets.config.sparsity import warning_of
from saewidgets.config.training import TrainingConfig
from saewidgets.durable import storage_errors, write_json
from saewidgets.errors import ConfigError, StateError
from saewidgets.evaluation import Baseline, Evaluator, Subject
from saewidgets.evaluation.place import evaluate_rows
from saewidgets.events import Control, Emit, Facts, JobStatus, Request, ignore
from saewidgets.lm.tokens import TokenMask
from saewidgets.sae import SAE, build_sae
from saewidgets.sae.mesh import ALONE
from saewidgets.sae.scaler import RAW, Scaler
from saewidgets.settings import free_memory, machine_memory
from saewidgets.training import pretrained
from saewidgets.training.checkpoint import (
    EVALUATED,
    SAMPLES,
    Checkpoint,
    clean_leftovers,
    list_checkpoints,
    newest_whole,
    remove_checkpoint,
)
from saewidgets.training.environment import compare, describe_environment, recorded
from saewidgets.training.estimate import KEPT_BYTES, ModelSize, with_evaluations
from saewidgets.training.export import exported, metadata, save_final
from saewidgets.training.loop import Trainer
from saewidgets.training.parallel import AgreedControl, from_first, gathered, placed
from saewidgets.training.prepare import TrainingInputs
from saewidgets.training.progress import Narrator, ProgressMeter, RunLog
from saewidgets.training.schedules import with_epochs
from saewidgets.version import __version__

_COPIES = 4  # of every weight in float32: itself, its gradient, and the two moments of Adam


def require_room(config: TrainingConfig, d_in: int, d_out: int | None, device: str) -> None:
    """Raise `ConfigError` if weights, gradients and moments of an autoencoder are more than the memory of a device, or
    than what is free of it: a process that takes more main memory is killed."""
    latents = config.autoencoder.d_sae // config.parallel.latents
    needed = _COPIES * 4 * latents * (d_in + (d_out or d_in))
    free, memory = free_memory(), machine_memory()
    if device.startswith("cuda"):
        unused, memory = torch.cuda.mem_get_info(device)
        free = unused + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    for available, has, hint in (
        (memory, "has", "Lower Latents (d_sae)."), (free, "has free", "Lower Latents (d_sae), or end other programs."),
    ):  # fmt: skip
        if available is not None and needed > available:
            raise ConfigError(
                f"{latents:,} latents of width {d_in:,} take {needed / 1e9:,.1f} GB with their gradients and Adam's "
                f"moments; {device} {has} {available / 1e9:,.1f} GB.",
                where="sae.d_sae", hint=hint,
            )


_STATUS = {Request.PAUSE: JobStatus.PAUSED, Request.STOP: JobStatus.STOPPED, Request.CANCEL: JobStatus.CANCELLED}


@dataclass(frozen=True, slots=True, eq=False)
class PendingSAE:
    """An SAE that waits to be evaluated, as it is, and what is not folded into it."""

    sae: SAE
    scaler: Scaler = RAW


@dataclass(frozen=True, slots=True)
class Task:
    """What one training is to do. `wanted` is called after each step: STOP or CANCEL ends this training alone."""

    config: TrainingConfig
    folder: Path
    emit: Emit = ignore
    wanted: Callable[[], Request] = lambda: Request.RUN
    resume: bool = False
    find_pretrained: pretrained.Find = pretrained.as_path
    away: Away | None = None  # what has the files of a store of activations that are not here


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """How a training ended. `status` is failed only where others of its group went on; `sae_path` None where it paused,
    was cancelled, or learned nothing; ``val_*`` metrics are those of the exported SAE when there is one."""

    status: JobStatus
    step: int
    tokens: int
    sae_path: str | None
    metrics: Mapping[str, float] = field(default_factory=dict)


class Member:
    """A training while it runs; `checkpoint` is the one it continues from, `result` how it has ended."""

    def __init__(self, task: Task) -> None:
        self.task, self.config, self.emit = task, task.config, task.emit
        self.folder = Path(task.folder).absolute()
        with storage_errors("The run's folder cannot be made", self.folder, "Choose a folder that can be written."):
            self.folder.mkdir(parents=True, exist_ok=True)
        self.log = RunLog(self.folder, self.emit)
        self.facts: dict[str, Any] = {}
        self.checkpoint: Checkpoint | None = None
        self.prepared: TrainingInputs | None = None
        self.trainer: Trainer | None = None
        self.result: TrainingResult | None = None
        self.mesh = ALONE
        self._training: PendingSAE | None = None
        self._leaving: PendingSAE | None = None
        self._evaluations: Evaluations | None = None

    @property
    def step(self) -> int:
        if self.result is not None:
            return self.result.step
        if self.trainer is not None:
            return self.trainer.step
        return self.checkpoint.step if self.checkpoint is not None else 0

    @property
    def tokens(self) -> int:
        return self.step * self.config.batch_size

    @property
    def is_over(self) -> bool:
        return self.trainer is not None and self.trainer.is_over

    @property
    def scaler(self) -> Scaler | None:
        return None if self.checkpoint is None else self.checkpoint.scaler()

    def look(self) -> None:
        """Find the checkpoint to continue from. Damaged newer ones are removed: they cannot pass for the newest."""
        folder = self.folder / "checkpoints"
        clean_leftovers(folder)
        if not self.task.resume:
            if found := list_checkpoints(folder):
                raise StateError(
                    f"The folder already holds a run that is at step {found[0].step:,}.", where=str(self.folder),
                    hint="Resume it, or choose another folder.",
                )
            pretrained.check(self.config, self.task.find_pretrained)  # before minutes of packing
            return
        self.checkpoint, problems = newest_whole(folder)
        if self.checkpoint is None:
            if problems:
                raise problems[0]
            pretrained.check(self.config, self.task.find_pretrained)
            self.log.info("There is no checkpoint yet: starting from the beginning.")
            return
        for problem in problems:
            self.log.warning(f"A checkpoint is damaged and was removed. {problem}")
            remove_checkpoint(Path(problem.where or "").parent)

    def start(self, prepared: TrainingInputs, meter: ProgressMeter, control: Control, evaluations: Evaluations) -> None:
        self.prepared = prepared
        self.config = self._with_evaluations(with_epochs(self.config, prepared.stream.tokens_per_epoch), prepared)
        total = self.config.steps * self.config.batch_size
        meter.set_total(total)
        require_room(self.config, prepared.stream.d_in, prepared.stream.d_out, prepared.device)
        whole = build_sae(
            self.config.autoencoder, prepared.stream.d_in, d_out=prepared.stream.d_out,
            generator=torch.Generator().manual_seed(self.config.seed), initialise=self.mesh.leads,
        )
        sae = placed(self.mesh, whole, prepared.device)
        self._evaluations = evaluations
        self._training = PendingSAE(sae, prepared.scaler)
        facts = prepared.facts()
        emit = Narrator(self.emit, self.log, evaluated=_evaluated(self.config, facts["validation_contexts"]))
        trainer = self.trainer = Trainer(
            self.config, sae, prepared.stream, self.folder, scaler=prepared.scaler,
            emit=emit, control=control if self.mesh.size == 1 else AgreedControl(control, self.mesh, self.task.wanted),
            evaluate=lambda: self._evaluated(control.check),
            environment=describe_environment(prepared.device, prepared.stream.layout, prepared.compiled), meter=meter,
        )
        parameters = sum(p.numel() for p in sae.parameters())
        self._learn({**facts, "parameters": parameters, "steps": self.config.steps, "tokens_total": total})
        if self.config.activations.is_measured and self.checkpoint is None:
            self.log.info(_scaling(prepared.scaler))
            if said := warning_of(self.config, prepared.stream.d_out or prepared.stream.d_in, self.config.steps):
                self.log.warning(f"sae.{said[0]}: {said[1]}")
        if self.mesh.told(lambda: self.checkpoint is not None):
            found = self.checkpoint or Checkpoint(self.folder, {})  # the first worker has it
            note = compare(found.state, self.config, trainer.environment) if self.mesh.leads else None
            trainer.load(found)
            self.log.info(f"Resuming from step {trainer.step:,} ({trainer.tokens:,} tokens).")
            if note:
                self.log.warning(note)
            self._learn({"resume_note": note})
        elif self.config.from_pretrained is not None:
            if self.mesh.leads:
                self._start_from(self.config.from_pretrained, whole, prepared)
            if whole is not sae:
                sae.load_state_dict(self.mesh.spread(whole.state_dict()))
        self.write_record("running")

    def _with_evaluations(self, config: TrainingConfig, prepared: TrainingInputs) -> TrainingConfig:
        """What is left empty of the evaluations, filled in; a run that is resumed goes on as it began."""
        saved = self.mesh.told(lambda: self.checkpoint and self.checkpoint.state["config"]["evaluation"])
        if saved is not None:
            return config.replace(evaluation={**saved, **config.evaluation.model_dump(exclude_none=True)})
        lm, stream = prepared.lm, prepared.stream
        size = ModelSize(None, stream.d_in, 0)
        if lm is not None:
            parameters = sum(p.numel() for p in lm.model.parameters())
            size = ModelSize(parameters, lm.d_model, lm.n_layers, lm.vocab_size, lm.is_causal)
        return with_evaluations(config, size, stream.n_held_out * config.context_size)

    def _start_from(self, named: str, sae: SAE, prepared: TrainingInputs) -> None:
        """After the trainer is made, as a checkpoint is loaded: latents that start anew do so as in any other run."""
        with pretrained.naming():
            found = self.task.find_pretrained(named)
        notes = pretrained.start_from(sae, found.path, self.config, prepared.scaler)
        self.log.info(f"Starting from the SAE {found.label}.")
        for note in notes:
            self.log.warning(note)
        self._learn({"started_from": {"sae": named, "name": found.label}})

    def _learn(self, facts: Mapping[str, Any]) -> None:
        self.facts.update(facts)
        self.emit(Facts(dict(facts)))

    def changed_threads(self, numbers: str) -> None:
        """Record with how many threads it has computed by now, which says that a resumed run will have other bits."""
        if self.trainer is not None:
            of_stream = {**self.trainer.environment["layout"], "threads": numbers}
            self.trainer.environment |= {"threads": numbers, "layout": of_stream}
        self._learn({"threads": numbers})
        self.log.info(f"Other programs use the cores: {numbers} threads from here on, as many as they leave.")

    @property
    def due(self) -> PendingSAE | None:
        """Its pending evaluation: the SAE as it is, in the end as it is exported; None while it trains."""
        if self._leaving is not None:
            return self._leaving
        return self._training if self.trainer is not None and self.trainer.waits else None

    def await_evaluation(self) -> None:
        """From now on the SAE to be exported is what is evaluated. Without a single step there is none."""
        prepared, trainer = self.prepared, self.trainer
        if self._leaving is None and prepared is not None and trainer is not None and trainer.step:
            whole = gathered(trainer.sae)
            if self.mesh.leads:
                whole = exported(whole, prepared.scaler, hook_name=self.config.hook_name)
            self._leaving = PendingSAE(whole)

    def _evaluated(self, check: Callable[[], None]) -> dict[str, float]:
        """The numbers of what is due, measured by the first worker."""
        trainer, evaluations = self.trainer, self._evaluations
        assert trainer is not None
        assert evaluations is not None  # it has started
        if self._leaving is None and self.mesh.latents.size > 1 and self._training is not None:
            self._training = replace(self._training, sae=gathered(trainer.sae))
        found: dict[str, float] = from_first(self.mesh, lambda: evaluations.of(self, check))
        return found

    def finish(self, status: JobStatus, check: Callable[[], None]) -> TrainingResult:
        """Export what was learned, with the metrics of exactly what is exported; one more checkpoint; free the memory.
        Without a single step there is nothing to export."""
        self.await_evaluation()
        prepared, trainer = self.prepared, self.trainer
        if prepared is None or trainer is None or self._leaving is None:
            return self.end_without_sae(Request.STOP)
        sae = self._leaving.sae
        trainer.measure(lambda: self._evaluated(check))
        if status is JobStatus.COMPLETED:
            trainer.save_end("final")
            for warning in trainer.targets.at_the_end(trainer.latest):
                self.log.warning(warning)
        else:
            trainer.save_end()
        if not self.mesh.leads:
            return self._end(status, None)
        model_name, model_class = prepared.model_of(self.config)
        sae.metadata = metadata(
            self.config, model_name=model_name, model_class=model_class, tokens=trainer.tokens, metrics=trainer.latest,
            dataset=prepared.dataset,
        )
        path = save_final(sae, self.folder)
        self.log.info(f"{status.value.capitalize()} at step {trainer.step:,}: the SAE is in {path}.")
        return self._end(status, str(path))

    def end_without_sae(self, request: Request) -> TrainingResult:
        """Checkpoint for a pause, nothing new for a cancel, nothing to keep for an early stop."""
        if request is Request.PAUSE and self.trainer is not None and self.trainer.step > 0:
            self.trainer.save("latest")
        status = _STATUS[request]
        self.log.info(f"{status.value.capitalize()} at step {self.step:,}.")
        return self._end(status, None)

    def failed(self, error: Exception) -> TrainingResult:
        self.log.error(str(error))
        return self._end(JobStatus.FAILED, None)

    def _end(self, status: JobStatus, sae_path: str | None) -> TrainingResult:
        metrics: dict[str, float] = {}
        if self.trainer is not None:
            metrics = dict(self.trainer.latest)
        elif self.checkpoint is not None:  # left before its weights were loaded
            metrics = dict(self.checkpoint.state["metrics"])
        if self.trainer is not None and status is JobStatus.COMPLETED:
            self._learn({"costs": self.trainer.meter.costs})
        self.write_record(status.value, step=self.step, tokens=self.tokens, metrics=metrics)
        self.result = TrainingResult(status, self.step, self.tokens, sae_path, metrics)
        self.release()
        return self.result

    def write_record(self, status: str, **result: Any) -> None:
        """run.json: what a person or a script finds in the folder without the catalog."""
        record = {
            "status": status, "saewidgets": __version__, "time": time.time(), "config": recorded(self.config),
            "facts": self.facts, **result,
        }
        write_json(self.folder / "run.json", record)

    def release(self) -> None:
        """Let go of model, weights and buffers, so that their memory is free at once."""
        lm = None if self.prepared is None else self.prepared.lm
        on_gpu = self.trainer is not None and "cuda" in (self.trainer.device.type, "" if lm is None else lm.device.type)
        self.trainer = self.prepared = self._training = self._leaving = None
        if self._evaluations is not None:
            self._evaluations.forget(self)
        if on_gpu:
            torch.cuda.empty_cache()


def _scaling(scaler: Scaler) -> str:
    if scaler.whitening is not None:
        return "Inputs are whitened while training; loss and training FVU are in whitened units."
    targets = "" if scaler.factor_out is None else f", targets by {scaler.factor_out:.6g}"
    return f"Inputs are scaled by {scaler.factor:.6g}{targets} while training."


def _evaluated(config: TrainingConfig, held_out: int) -> str:
    what = "activations" if config.corpus.kind == "activations" else "text"
    return f"held-out {what}" if held_out else f"evaluated on {what} of the training"


class Evaluations:
    """Evaluates the trainings of one run, which share their text, on what of it is held out.

    Trainings that run together wait for each other before they evaluate (`Trainer.each_step`), so that whoever asks
    first has all of them measured in one pass, and the others find their numbers. What the language model does without
    an SAE, or with zeros in an activation's place, is measured once in a run.
    """

    def __init__(self, trainings: Sequence[Member]) -> None:
        self._trainings = trainings
        self._evaluator: Evaluator | None = None
        self._baselines: dict[tuple[str, int | None], Baseline] = {}  # by place in the model, and tokens
        self._found: dict[Member, tuple[PendingSAE, Mapping[str, float]]] = {}

    def of(self, training: Member, check: Callable[[], None]) -> dict[str, float]:
        """The numbers of what is due of `training`, by their names in charts. `check` is called before every forward;
        what it raises ends the evaluation of all that are due."""
        due = training.due
        assert due is not None  # the caller gets something
        known = self._found.pop(training, None)
        if known is not None and known[0] is due:
            return _shown(known[1])
        prepared, settings = training.prepared, training.config.evaluation
        assert prepared is not None
        if prepared.lm is None:
            assert isinstance(prepared.stream, StoredStream)
            assert settings.tokens is not None  # filled in at the start
            parts = prepared.stream.held_out(settings.tokens, check)
            return _shown(evaluate_rows(due.sae, parts, scaler=due.scaler)[0])
        together = {
            each: what for each in self._trainings
            if (what := each.due) is not None
            and (each.config.evaluation.tokens, each.config.evaluation.ce_tokens)
            == (settings.tokens, settings.ce_tokens)
        }  # fmt: skip
        self._measure(together, prepared, check)
        return _shown(self._found.pop(training)[1])

    def forget(self, training: Member) -> None:
        self._found.pop(training, None)

    def _measure(self, due: Mapping[Member, PendingSAE], prepared: TrainingInputs, check: Callable[[], None]) -> None:
        assert prepared.lm is not None
        self._evaluator = self._evaluator or Evaluator(prepared.lm, KEPT_BYTES)
        config = next(iter(due)).config  # how text is read is the same for all
        tokens, ce_tokens, settings = config.evaluation.tokens, config.evaluation.ce_tokens, config.activations
        assert tokens is not None
        subjects = [
            Subject(
                what.sae, each.config.hook_name, each.config.hook_name_out, what.scaler,
                self._baselines.get((each.config.hook_names[-1], ce_tokens)),
            )
            for each, what in due.items()
        ]  # fmt: skip
        contexts = prepared.stream.evaluation_contexts(tokens)
        number = len(contexts) if ce_tokens is None else min(len(contexts), math.ceil(ce_tokens / config.context_size))
        spread = torch.arange(number) * len(contexts) // number  # the cross-entropy reads these, from all over the text
        others = torch.ones(len(contexts), dtype=torch.bool).index_fill(0, spread, False)
        found = self._evaluator.evaluate(
            subjects, torch.cat([contexts[spread], contexts[others]]), rule=TokenMask.of(settings),
            batch_size=settings.model_batch_size, check=check,
            ce_contexts=number,
        )
        for (each, what), (metrics, _) in zip(due.items(), found, strict=True):
            self._found[each] = what, metrics
            if (baseline := Baseline.of(metrics)) is not None:
                self._baselines[each.config.hook_names[-1], ce_tokens] = baseline


def _shown(found: Mapping[str, float]) -> dict[str, float]:
    names = {**EVALUATED, **SAMPLES}
    return {ours: found[name] for name, ours in names.items() if math.isfinite(found.get(name, math.nan))}
