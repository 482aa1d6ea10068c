"""Defines `Trainer`, the training loop: batches in, a trained SAE and events out.

A step is: one batch from the stream, split into microbatches; loss and backward of each; gradients unscaled, projected,
clipped; one Adam step; decoder norms restored. Everything that a later step depends on (weights, buffers, Adam's
moments, schedules, dead-latent counter, loss scale, position in the stream) is a function of the finished steps and is
in the checkpoint, so a run resumed at step n continues bit by bit as if it had never stopped.
"""

import itertools
import math
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saewidgets.activations import Batch
from saewidgets.activations.store_stream import StoredStream
from saewidgets.activations.stream import RowStream
from saewidgets.config.sae import Penalised
from saewidgets.config.training import TrainingConfig
from saewidgets.errors import FormatError, TrainingError
from saewidgets.events import (
    SAVING,
    UNIT_ROWS,
    CheckpointSaved,
    Control,
    Emit,
    Facts,
    LogLine,
    Metrics,
    NullControl,
    Progress,
)
from saewidgets.render.numbers import decimal
from saewidgets.sae import SAE, Loss, LossState, StandardSAE
from saewidgets.sae.scaler import Scaler
from saewidgets.training import health
from saewidgets.training.checkpoint import (
    EVALUATED,
    MEASURED,
    WHITENING,
    Checkpoint,
    is_better,
    list_checkpoints,
    rotate,
    update_state,
    write_checkpoint,
)
from saewidgets.training.dead_latents import DeadLatents, Resampler
from saewidgets.training.environment import recorded
from saewidgets.training.metrics import MetricWindow
from saewidgets.training.optimizer import Adam, Precision
from saewidgets.training.progress import ProgressMeter
from saewidgets.training.schedules import SHORT, Schedules, checkpoint_interval, evaluation_interval
from saewidgets.training.steered_l0 import SteeredL0

DEAD = "dead.tokens_since_fired"  # its name among the optimiser's tensors


Evaluate = Callable[[], Mapping[str, float]]


class Trainer:
    """Trains one SAE with `stream`'s unscaled activations, which the SAE sees as `scaler` has them. `evaluate` measures
    the SAE as it is now on held-out text; None where nothing was held out. `environment` is what bit-identity depends
    on.

    Attributes:
        waits: for its evaluation, with everything else of the step done."""

    def __init__(
        self,
        config: TrainingConfig,
        sae: SAE,
        stream: RowStream,
        folder: Path,
        *,
        scaler: Scaler,
        emit: Emit,
        control: Control,
        evaluate: Evaluate | None = None,
        environment: Mapping[str, Any] | None = None,
        meter: ProgressMeter | None = None,
    ) -> None:
        self.config, self.sae, self.stream, self.scaler = config, sae, stream, scaler
        self.folder, self.emit, self.control, self.evaluate = folder / "checkpoints", emit, control, evaluate
        self.environment = dict(environment or {})
        self.device, self.mesh = sae.W_dec.device, sae.mesh
        self._seen = scaler.to(self.device)
        self.steps = config.steps
        self._has_penalty = isinstance(sae.cfg, Penalised)
        self.schedules = Schedules.resolve(
            config.optimizer, self.steps, has_coefficient=self._has_penalty, is_steered=sae.is_steered
        )
        self.precision = Precision(config.precision, self.device)
        # What a latent reads lies together in memory, since its gradient is a sum of such rows.
        sae.W_enc.data = sae.W_enc.data.T.contiguous().T
        self.adam = Adam(sae, config.optimizer.replace(lr=config.learning_rate))
        self.environment["fused"] = self.adam.fused
        self.sparsity = SteeredL0(sae, self.steps)
        self.dead = DeadLatents(sae.d_sae, config.dead_window, self.device)
        self.resampler = Resampler(config.resampling, sae, self.steps, config.seed)
        self.targets = health.Targets(config.targets)
        self.window = MetricWindow(sae.d_out, self.device)
        self.watch = health.LossWatch()
        self.meter = meter or ProgressMeter(emit, self.steps * config.batch_size)
        self.step, self.waits = 0, False
        self.latest: dict[str, float] = {}
        self.best: float | None = None
        self.saved: Checkpoint | None = None  # the checkpoint of the current weights, once there is one
        self._evaluated_at = -1
        self._seconds_at_log = 0.0

    @property
    def tokens(self) -> int:
        return self.step * self.config.batch_size

    def run(self) -> None:
        """Train to the last step. What is raised leaves the state of the last finished step."""
        for _ in self.each_step():
            pass

    @property
    def is_over(self) -> bool:
        return self.step >= self.steps or self.targets.ends_the_run

    def each_step(self) -> Generator[None]:
        """`run`, paused after every step with what is due after it, so that others can make theirs.

        Where an evaluation is due it also pauses ahead of that (`waits`): others that are due are measured with it.
        """
        self.sae.train()
        self.meter.enter("training")
        self.meter.at(self.tokens, self.step)
        if self.evaluate is not None and 0 < self.step < self.steps and self._evaluation_is_due():
            yield from self._after_step()  # the run was left in the middle of this evaluation
        left = 0 if self.is_over else self.steps - self.step
        # A store is read by a thread, and how often it is waited for is not the same on all workers.
        is_read_by_thread = self.mesh.size > 1 and isinstance(self.stream, StoredStream)
        control = NullControl() if is_read_by_thread else self.control
        with closing(self.stream.batches(self.step, control.check)) as batches:
            for batch in itertools.islice(batches, left):
                self._train_step(*self._scaled(batch))
                self.meter.at(self.tokens, self.step)
                yield from self._after_step()
                yield
                if self.targets.ends_the_run:
                    return
        if not self.is_over:
            raise TrainingError(
                f"The activation stream ended after {self.step:,} of {self.steps:,} steps.",
                where="corpus",
                hint="Use more text or fewer tokens.",
            )

    def _train_step(self, x: Tensor, target: Tensor | None) -> None:
        """One optimiser step, or none at all: an interruption or an error before Adam's step leaves no trace."""
        if self.step == 0 and self.config.from_pretrained is None and self.sae.cfg.start_from_data:
            self.sae.start_from(x, target)
        if self.step == 0 and not self.config.activations.is_measured:
            self.sparsity.start_from(x, x if target is None else target)
        self.adam.set_lr(self.schedules.lr(self.step))
        state = LossState(
            self._sparsity_scale(self.step), self.dead.mask(self.tokens), progress=self.step / self.steps,
            steps=self.steps, lift_scale=self.sparsity.lift_unit,
            dead_at_most=self.dead.at_most if self.mesh.latents.size == 1 else None,
        )
        buffers = {name: buffer.clone() for name, buffer in self.sae.named_buffers()}
        window = self.window.copy()
        try:
            fired, l0 = self._accumulate(x, target, state)
        except BaseException:  # whatever it was, it is raised again; only the half step is taken back
            self.adam.zero_grad()
            for name, buffer in self.sae.named_buffers():
                buffer.copy_(buffers[name])
            self.window = window
            raise
        self.precision.unscale(self.adam.optimizer)
        if self.config.optimizer.project_decoder_grad:
            self.sae.before_step()
        norm = self.adam.clip()
        self.precision.step(self.adam.optimizer)
        self.sae.after_step(unit_rows=self._has_unit_rows())
        if self.step and self.step == self._unit_rows_from:  # a ramp ends in a worse FVU (docs/training.md)
            number = self.step + 1
            self.emit(LogLine(f"Step {number:,}: decoder rows have norm one from here on; FVU rises for a while."))
            self.emit(Facts({UNIT_ROWS: number}))
        self.adam.zero_grad()
        self.sparsity.after_step(self.step, l0)
        self.dead.update(fired, x.shape[0])
        if self.resampler.is_due(self.step + 1):
            self._resample(x, x if target is None else target)
        self.window.end_step(norm)
        self.saved = None
        self.step += 1

    @property
    def _unit_rows_from(self) -> int | None:
        """The step from which decoder rows are kept at norm one, where that begins in the course of a run."""
        start = getattr(self.sae.cfg, "unit_norm_from", None)
        is_long = self.steps >= SHORT and self.config.from_pretrained is None
        return math.ceil(start * self.steps) if start is not None and is_long else None

    def _has_unit_rows(self) -> bool:
        """Whether decoder rows have norm one after this step."""
        every, start = self.config.optimizer.normalize_decoder_every, self._unit_rows_from
        if start is not None and self.step >= start:
            return True
        # The first step as well: later the jump would undo training.
        return every is not None and (self.step == 0 or (self.step + 1) % every == 0)

    def _sparsity_scale(self, step: int) -> Any:
        """The factor on the sparsity coefficient: its warm-up and, where it is steered, what it is now."""
        return self.schedules.sparsity(step) * self.sparsity.scale

    @torch.no_grad()
    def _resample(self, x: Tensor, target: Tensor) -> None:
        """Point the latents that are dead after this step at rows of its batch that are reconstructed badly."""
        step, parts = self.step + 1, self.config.gradient_accumulation
        dead = self.dead.mask(step * self.config.batch_size)
        if dead is None or not int(self.mesh.latents.add(dead.sum())):
            return
        errors = [
            (self.sae.loss(part, aim).reconstruction - aim).square().sum(1)
            for part, aim in zip(x.chunk(parts), target.chunk(parts), strict=True)
        ]
        changed = self.resampler.resample(step, x, target, torch.cat(errors), dead, self.adam)
        self.dead.tokens_since_fired[changed] = 0
        number, of = (int(self.mesh.latents.add(each)) for each in (torch.tensor(len(changed)), dead.sum()))
        self.emit(LogLine(f"Step {step:,}: {number:,} of {of:,} dead latents were resampled."))

    def _scaled(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """The batch as the SAE sees it; every batch is a tensor of its own, so it is scaled in place."""
        x, target = batch if isinstance(batch, tuple) else (batch, None)
        x = self._seen.apply_(x.to(self.device, torch.float32))
        return x, None if target is None else self._seen.apply_out_(target.to(self.device, torch.float32))

    def _accumulate(self, x: Tensor, target: Tensor | None, state: LossState) -> tuple[Tensor, Tensor]:
        """Gradients of the mean loss over the microbatches of `x`; returns which latents fired, [d_sae], and L0."""
        parts = self.config.gradient_accumulation
        fired = torch.zeros(self.sae.d_sae, dtype=torch.bool, device=self.device)
        l0 = torch.zeros((), dtype=torch.float64, device=self.device)
        wanted = x if target is None else target
        for part, aim in zip(x.chunk(parts), wanted.chunk(parts), strict=True):
            self.control.check()
            rows, wanted_rows = self.mesh.rows(part), None if target is None else self.mesh.rows(aim)
            with torch.enable_grad(), self.precision.autocast():
                loss = self.sae.loss(rows, wanted_rows, step=state)
            self.precision.backward(loss.total / (parts * self.sparsity.loss_unit))
            loss = self._of_all(loss)
            fired |= loss.fired
            l0 = l0 + loss.l0.double() / parts
            self.window.add_batch(aim, loss, self.step)
        self.adam.take_gradients()
        return fired, l0

    def _of_all(self, loss: Loss) -> Loss:
        """The loss of a microbatch from those of all workers' rows; without a graph where there are several."""
        data = self.mesh.data
        if data.size == 1:
            return loss
        values = torch.stack([each.detach().float() for each in (loss.total, loss.mse, loss.l0, *loss.terms.values())])
        total, mse, l0, *terms = data.add(values) / data.size
        fired = data.add(loss.fired.to(torch.int32)) > 0
        return replace(
            loss, total=total, mse=mse, l0=l0, terms=dict(zip(loss.terms, terms, strict=True)), fired=fired
        )

    def _after_step(self) -> Generator[None]:
        last = self.step == self.steps  # the caller evaluates and saves what is exported then
        if self.step == 1 or last or self.step % self.config.log_every_steps == 0:
            self.flush()
        if last:
            return
        if self.control.take_checkpoint_request():
            self.save("latest", "manual")
        improved = False
        if self.evaluate is not None and self._evaluation_is_due():
            self.waits = True
            yield
            self.measure(self.evaluate)
            self.waits = False
            improved = self._improved()
            if self.step >= self.schedules.settled:
                for line in self.targets.judge(self.step, self.latest):
                    self.emit(line)
        if self.step % checkpoint_interval(self.config) == 0:
            self.save("latest", "every", *self._best_kind(improved))
        elif improved:
            self.save("latest", "best")

    def flush(self) -> None:
        """Read the log window, emit it as `Metrics` and start the next. Raises `TrainingError` on NaN or divergence."""
        started = self.step - self.window.steps
        # No number while it is unknown: 0 would read as "none is dead".
        dead = self.dead.share(self.tokens, self.mesh.latents)
        values, bad = self.window.read({} if dead is None else {"dead": dead})
        if bad is not None:
            raise self._failed("nan", bad + 1)
        if not values:
            return
        if self.precision.overflows():
            raise self._failed("overflow")
        seconds = self.meter.training_seconds
        if seconds > self._seconds_at_log:
            values["tokens_per_second"] = self.window.tokens / (seconds - self._seconds_at_log)
        self._seconds_at_log = seconds
        values["lr"] = self.config.learning_rate * self.schedules.lr(self.step - 1)
        if self._has_penalty:
            weight = self.sae.penalty_weight(LossState(self._sparsity_scale(self.step - 1)))
            values["sparsity_coefficient"] = float(weight)
        if isinstance(self.sae, StandardSAE) and self.sae.cfg.p_end is not None:
            values["penalty_p"] = self.sae.p((self.step - 1) / self.steps)
        self.window.reset()
        self._record(values)
        if self.watch.blew_up(values.get("fvu", 0.0)):
            raise self._failed("blew_up", fvu=decimal(values["fvu"], 0))
        if started >= self.schedules.settled and self.watch.diverged(values["loss"], values.get("fvu", 0.0)):
            raise self._failed("diverged", loss=values["loss"], lowest=self.watch.lowest or 0.0)

    def measure(self, evaluate: Evaluate) -> None:
        self.flush()
        left = self.meter.enter("evaluating")
        try:
            values = dict(evaluate())
        finally:
            self.sae.train()
        # Text that is held out is short: a latent that fires seldom would pass for dead.
        values["val_dead"] = float(self.dead.unfired(min(self.tokens, self.dead.window), self.mesh.latents))
        self._evaluated_at = self.step
        self._record(values)
        self.meter.enter(left)

    def _evaluation_is_due(self) -> bool:
        return self.step % evaluation_interval(self.config) == 0 and self._evaluated_at != self.step

    def _record(self, values: Mapping[str, float]) -> None:
        self.latest.update(values)
        self.emit(Metrics(self.step, self.tokens, dict(values)))

    def _improved(self) -> bool:
        """Whether the newest metrics are the best so far. Warm-ups do not count: little sparsity is easy to fit."""
        metric = self.config.checkpoints.best_metric
        evaluated = self._evaluated_at == self.step
        value = self.latest.get(EVALUATED.get(metric, metric) if evaluated else metric)
        if value is None or self.step < self.schedules.settled or not is_better(metric, value, self.best):
            return False
        self.best = value
        return True

    def _best_kind(self, improved: bool) -> tuple[str, ...]:
        return ("best",) if improved or (self.evaluate is None and self._improved()) else ()

    def save(self, *kinds: str) -> Checkpoint:
        """Write a whole checkpoint of the finished step and delete the ones it replaces.

        Raises:
            TrainingError: the weights are not finite; nothing is written.
            StorageError: the disk is full or not writable; nothing is left behind.
        """
        self.flush()
        left = self.meter.enter(SAVING)
        weights, optimizer = {}, {}
        if self.saved is None:
            weights = self.mesh.whole(self.sae.state_dict(), on_first=True)
            kept = {**self.adam.tensors(), DEAD: self.dead.tokens_since_fired}
            optimizer = self.mesh.whole(kept, on_first=True)
        if not self.mesh.leads:
            self.saved = Checkpoint(self.folder, self._state(kinds))
            return self.saved
        if self.saved is not None:
            merged = tuple(dict.fromkeys([*self.saved.kinds, *kinds]))
            checkpoint = self.saved if merged == self.saved.kinds else update_state(self.saved, kinds=merged)
        else:
            if not health.all_finite(weights.values()):
                raise self._failed("nan")
            if self.scaler.whitening is not None:
                optimizer |= {f"{WHITENING}{name}": each for name, each in self.scaler.whitening.tensors().items()}
            checkpoint = write_checkpoint(self.folder, self.step, weights, optimizer, self._state(kinds))
            (self.folder.parent / MEASURED).unlink(missing_ok=True)  # the checkpoint has it
        self.saved = checkpoint
        removed = rotate(self.folder, self.config.checkpoints.keep_every)
        why: Any = checkpoint.kinds  # the literals, once they went through JSON
        gone = tuple(str(path.absolute()) for path in removed)
        path, size = str(checkpoint.path.absolute()), checkpoint.size_bytes
        self.emit(CheckpointSaved(self.step, self.tokens, path, why, size, dict(self.latest), gone))
        self.meter.enter(left)
        return checkpoint

    def save_end(self, *kinds: str) -> Checkpoint:
        """The checkpoint where the run ends, early or not; "best" too if what was measured there is the best."""
        improved = self._evaluated_at == self.step and self._improved()
        return self.save("latest", *kinds, *self._best_kind(improved))

    def load(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint of the same configuration; of several workers, from that of the first.

        Raises:
            FormatError: its tensors do not fit this SAE.
        """
        weights, optimizer, source = {}, {}, checkpoint.path
        if self.mesh.leads:
            weights, optimizer = checkpoint.weights(), checkpoint.optimizer(lambda name: not name.startswith(WHITENING))
        weights, optimizer = self.mesh.spread(weights), self.mesh.spread(optimizer)
        state = self.mesh.told(lambda: dict(checkpoint.state))
        try:
            self.sae.load_state_dict(weights)
            self.dead.load(optimizer.pop(DEAD), state.get("dead_counts", ()))
        except (RuntimeError, KeyError) as error:
            raise FormatError(f"The tensors do not fit this autoencoder ({error}).", where=str(source)) from error
        self.adam.load(optimizer, str(source / "optimizer.safetensors"))
        self.precision.load(dict(state["scaler"]))
        self.watch.load(state["watch"])
        self.targets.load(state.get("targets", {}))
        self.sparsity.load(state.get("sparsity", {}))
        self.step, self.best, self.latest = int(state["step"]), state["best"], dict(state["metrics"])
        self._evaluated_at = state["evaluated_at"]
        self.saved = checkpoint

    def _state(self, kinds: tuple[str, ...]) -> dict[str, Any]:
        return {
            "tokens": self.tokens,
            "kinds": list(kinds),
            "config": recorded(self.config),
            "d_in": self.sae.d_in,
            "d_out": self.sae.d_out,
            "scale": self.scaler.factor,
            "scale_out": self.scaler.factor_out,
            "whitened": self.scaler.whitening is not None,
            "scaler": self.precision.state(),
            "best": self.best,
            "watch": self.watch.state(),
            "targets": self.targets.state(),
            "sparsity": self.sparsity.state(),
            "metrics": {name: value for name, value in self.latest.items() if math.isfinite(value)},
            "evaluated_at": self._evaluated_at,
            "dead_counts": self.dead.counts(),
            "environment": self.environment,
        }

    def _failed(self, why: str, step: int | None = None, **values: float | str) -> TrainingError:
        """The error of `health`, once its step (None: the last one) is reported: progress goes out now and then only,
        and nothing comes after this."""
        step, batch = step or self.step, self.config.batch_size
        self.emit(Progress(step * batch, self.steps * batch, "tokens", None, None, "training", step))
        return health.stopped(why, step, self.config, list_checkpoints(self.folder), **values)
