"""A workspace in memory with the shape of the real one: runs advance in a thread and obey pause, resume and stop.

Only for the widgets' own tests and for looking at states that a real run takes hours to reach.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from saewidgets.config import TopKConfig, TrainingConfig, validate
from saewidgets.errors import NotFoundError, StateError
from saewidgets.events import JobStatus, Progress
from saewidgets.records import CheckpointRecord, ErrorInfo, Records, TrainingRecord


def make_record(training_id: str, config: TrainingConfig, **changes: Any) -> TrainingRecord:
    values: dict[str, Any] = {
        "id": training_id,
        "name": config.name or config.default_name,
        "status": JobStatus.QUEUED,
        "config": config.to_data(),
        "model": config.model,
        "corpus": config.corpus.label,
        "hook_name": config.hook_name,
        "architecture": config.sae.architecture,
        "d_sae": config.sae.d_sae,
        "d_in": 256,
        "device": "cpu",
        "lane": "test/cpu",
        "tokens_total": config.tokens,
        "tokens_done": 0,
        "step": 0,
        "progress": None,
        "latest": {},
        "error": None,
        "queue_position": None,
        "checkpoint_count": 0,
        "checkpoint_bytes": 0,
        "last_checkpoint_step": None,
        "last_checkpoint_tokens": None,
        "sae_id": None,
        "sae_path": None,
        "retry_of": None,
        "group_id": None,
        "host": "test",
        "folder": f"/workspace/{training_id}",
        "heartbeat_at": None,
        "created_at": time.time(),
        "started_at": None,
        "finished_at": None,
    }
    return TrainingRecord(**{**values, **changes})


class FakeRun:
    """A run handle; every verb changes the record at once."""

    def __init__(self, trainings: FakeTrainings, training_id: str) -> None:
        self._trainings = trainings
        self.id = training_id

    @property
    def record(self) -> TrainingRecord:
        return self._trainings.record(self.id)

    @property
    def status(self) -> JobStatus:
        return self.record.status

    def _go(self, allowed: Sequence[JobStatus], to: JobStatus, **changes: Any) -> None:
        if self.status not in allowed:
            raise StateError(f"{self.record.name} is {self.status}.", where=self.id)
        self._trainings.change(self.id, status=to, **changes)

    def pause(self) -> None:
        self._trainings.calls.append(("pause", self.id))
        step, tokens = self.record.step, self.record.tokens_done
        self._go([JobStatus.RUNNING], JobStatus.PAUSED, last_checkpoint_step=step, last_checkpoint_tokens=tokens)

    def resume(self) -> None:
        self._trainings.calls.append(("resume", self.id))
        self._go(
            [JobStatus.PAUSED, JobStatus.STOPPED, JobStatus.INTERRUPTED, JobStatus.FAILED],
            JobStatus.RUNNING,
            error=None,
        )

    def stop(self, save: bool = True) -> None:
        self._trainings.calls.append(("stop", self.id, save))
        self._go([JobStatus.RUNNING, JobStatus.PAUSED, JobStatus.QUEUED], JobStatus.STOPPED, finished_at=time.time())

    def retry(self) -> FakeRun:
        self._trainings.calls.append(("retry", self.id))
        config = TrainingConfig.from_data(self.record.config).replace(name=f"{self.record.name}-retry")
        return self._trainings.create(config, retry_of=self.id)

    def checkpoints(self) -> Records[CheckpointRecord]:
        record = self.record
        if record.last_checkpoint_step is None:
            return Records([], CheckpointRecord)
        row = CheckpointRecord(
            f"{self.id}-c",
            self.id,
            record.last_checkpoint_step,
            record.last_checkpoint_tokens or 0,
            "x",
            ("latest", "best"),
            302_000_000,
            {"fvu": 0.119},
            time.time(),
        )
        return Records([row], CheckpointRecord)

    def log(self, n: int) -> list[str]:
        return [f"step {i} loss 0.28" for i in range(30)][-n:]

    def import_to_saes(self) -> Any:
        self._trainings.change(self.id, sae_id=f"sae_{self.id}")

    def rename(self, name: str) -> None:
        self._trainings.change(self.id, name=name)

    def checkpoint_now(self) -> None:
        self._trainings.calls.append(("checkpoint", self.id))


class FakeTrainings:
    def __init__(self, workspace: FakeWorkspace) -> None:
        self._workspace = workspace
        self._lock = threading.RLock()
        self._records: dict[str, TrainingRecord] = {}
        self._metrics: dict[str, list[tuple[float, ...]]] = {}
        self._ids = itertools.count(1)
        self.calls: list[tuple[Any, ...]] = []
        self.reads: list[tuple[str, int | None]] = []

    def add(self, record: TrainingRecord, points: int = 0) -> None:
        with self._lock:
            self._records[record.id] = record
            self._metrics[record.id] = [metric_row(i, record) for i in range(points)]
            if points:
                latest = dict(zip(("loss", "l0", "fvu"), self._metrics[record.id][-1][3:], strict=True))
                record = dataclasses.replace(
                    record, latest={**latest, "ce_loss_score": 0.957, "dead": 0.021, **record.latest}
                )
                self._records[record.id] = record
        self._workspace.tell(record.id)

    def record(self, training_id: str) -> TrainingRecord:
        with self._lock:
            if training_id not in self._records:
                raise NotFoundError(f"There is no training {training_id!r}.", where=training_id)
            return self._records[training_id]

    def change(self, training_id: str, **changes: Any) -> None:
        with self._lock:
            self._records[training_id] = dataclasses.replace(self.record(training_id), **changes)
        self._workspace.tell(training_id)

    def list(self) -> Records[TrainingRecord]:
        with self._lock:
            return Records(self._records.values(), TrainingRecord)

    def get(self, training_id: str) -> FakeRun:
        self.record(training_id)
        return FakeRun(self, training_id)

    def create(self, config: TrainingConfig, **changes: Any) -> FakeRun:
        training_id = f"train_{next(self._ids):03d}"
        self.calls.append(("create", training_id))
        now = time.time()
        self.add(make_record(training_id, config, status=JobStatus.RUNNING, started_at=now, **changes))
        return FakeRun(self, training_id)

    def delete(self, training_id: str) -> None:
        self.calls.append(("delete", training_id))
        self.record(training_id)
        with self._lock:
            del self._records[training_id]
        self._workspace.tell(training_id)

    def validate(self, data: Mapping[str, Any]) -> dict[str, Any]:
        config, fields = validate(data)
        estimate = {
            "device": "cpu",
            "memory": [{"label": "Model", "bytes": 20_000_000}, {"label": "SAE", "bytes": 60_000_000}],
            "memory_total_bytes": 80_000_000,
            "device_total_bytes": 8_000_000_000,
            "device_free_bytes": 6_000_000_000,
            "seconds": 120.0,
            "tokens_per_second": 40_000.0,
            "basis": "measured on this device",
            "disk_bytes": 60_000_000,
            "disk_free_bytes": 41_000_000_000,
            "queue": 0,
            "warnings": [],
        }
        return {
            "fields": fields,
            "hints": {"model": "4 layers, d_model 256"},
            "name": config.default_name if config else "",
            "model": {"parameters": 5_000_000, "layers": 4, "d_model": 256, "context": 256, "d_in": 256},
            "estimate": estimate if config else None,
        }

    def demo_config(self) -> TrainingConfig:
        return TrainingConfig(sae=TopKConfig(d_sae=2048, k=32), tokens=2_000_000)

    def metric_columns(
        self,
        training_id: str,
        names: Sequence[str],
        min_step: int | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> dict[str, Any]:
        self.reads.append((training_id, min_step))
        with self._lock:
            rows = [row for row in self._metrics[training_id] if min_step is None or row[0] >= min_step]
        table = np.array(rows, dtype=np.float64).reshape(len(rows), 6)[offset:][:limit]
        columns = dict(zip(("step", "tokens", "time", "loss", "l0", "fvu"), table.T, strict=True))
        return {name: columns[name] for name in ("step", "tokens", "time", *names)}

    def advance(self) -> None:
        """One step of every running run."""
        with self._lock:
            running = [record for record in self._records.values() if record.status is JobStatus.RUNNING]
        for record in running:
            row = metric_row(len(self._metrics[record.id]), record)
            with self._lock:
                self._metrics[record.id].append(row)
            done = int(row[1])
            rate = 40_000.0
            progress = Progress(
                done, record.tokens_total, "tokens", rate, (record.tokens_total - done) / rate, "training"
            )
            ended = done >= record.tokens_total
            self.change(
                record.id,
                step=int(row[0]),
                tokens_done=min(done, record.tokens_total),
                progress=progress,
                latest={"loss": row[3], "l0": row[4], "fvu": row[5], "ce_loss_score": 0.957, "dead": 0.021},
                status=JobStatus.COMPLETED if ended else JobStatus.RUNNING,
                **({"finished_at": time.time()} if ended else {}),
            )


def metric_row(index: int, record: TrainingRecord) -> tuple[float, ...]:
    """Step, tokens, time, loss, l0, fvu: a noisy decay that differs per run and is the same every time."""
    rng = np.random.default_rng([index, *record.name.encode()])
    kind = sum(record.name.encode()) % 5
    decay = math.exp(-index / (12 + 9 * kind)) + 0.06 + 0.03 * kind
    noise = 1 + 0.04 * rng.standard_normal()
    step = (index + 1) * 10
    start = record.started_at or record.created_at
    return (step, step * 4096, start + index * 0.1, 3 * decay * noise, 32 + 60 * decay * noise, decay * noise)


class FakeWorkspace:
    """`advance_every`: seconds between steps of running runs; None leaves them as they are."""

    def __init__(self, label: str = "test workspace", advance_every: float | None = None) -> None:
        self.label = label
        self.folder = "/workspace"
        self.notice: str | None = None
        self.trainings = FakeTrainings(self)
        self._subscribers: list[Callable[[str | None], None]] = []
        self._stop = threading.Event()
        if advance_every is not None:
            threading.Thread(target=self._run, args=(advance_every,), daemon=True).start()

    def _run(self, interval: float) -> None:
        while not self._stop.wait(interval):
            self.trainings.advance()

    def devices(self) -> list[dict[str, Any]]:
        return [{"id": "cpu", "label": "cpu (8.0 GB)", "total_bytes": 8_000_000_000, "free_bytes": 6_100_000_000}]

    def suggestions(self) -> dict[str, tuple[str, ...]]:
        return {"model": ("demo",), "corpus": ("demo",)}

    def subscribe(self, callback: Callable[[str | None], None]) -> Callable[[], None]:
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    def tell(self, training_id: str | None) -> None:
        for callback in list(self._subscribers):
            callback(training_id)

    def close(self) -> None:
        self._stop.set()


def full_workspace(**options: Any) -> FakeWorkspace:
    """One run in every state, with metrics: what the pictures of the specification show."""
    ws = FakeWorkspace("default workspace", **options)
    now = time.time()
    config = TrainingConfig(model="gpt2", hook_name="blocks.6.hook_resid_post", sae=TopKConfig(d_sae=16_384, k=32))

    def add(index: int, name: str, status: JobStatus, points: int, **changes: Any) -> None:
        record = make_record(
            f"train_{index}",
            config,
            name=name,
            status=status,
            created_at=now - index,
            started_at=now - 600,
            tokens_total=10_000_000,
            tokens_done=points * 40_960,
            step=points * 10,
            **changes,
        )
        ws.trainings.add(record, points)

    progress = Progress(6_200_000, 10_000_000, "tokens", 48_210.0, 79.0, "training")
    add(0, "gpt2-l6-topk-k32", JobStatus.RUNNING, 150, progress=progress, heartbeat_at=now, last_checkpoint_step=1000)
    add(1, "gpt2-l6-jumprelu", JobStatus.PAUSED, 100, last_checkpoint_step=1001, checkpoint_count=2)
    add(2, "gpt2-l6-topk-k48", JobStatus.QUEUED, 0, queue_position=1)
    add(
        3,
        "demo-l2-topk-k24",
        JobStatus.COMPLETED,
        244,
        finished_at=now - 100,
        checkpoint_count=3,
        checkpoint_bytes=604_000_000,
    )
    error = ErrorInfo(
        "Loss became NaN at step 449 (1.84M tokens).",
        "Last good checkpoint: step 400, FVU 0.164. Lower Learning rate (now 1e-3), or set Gradient clip to 1.0.",
        kind="nan",
        step=449,
        traceback="Traceback …",
    )
    add(
        4,
        "pythia-70m-l3-standard",
        JobStatus.FAILED,
        45,
        error=error,
        latest={"loss": math.nan},
        last_checkpoint_step=400,
    )
    lost = ErrorInfo("The kernel that ran it ended.", "Resume continues from step 1,780.", kind="interrupted")
    add(
        5, "gpt2-l8-topk-k64", JobStatus.INTERRUPTED, 178, error=lost, heartbeat_at=now - 300, last_checkpoint_step=1780
    )
    add(
        6,
        "gpt2-l6-gated-try",
        JobStatus.STOPPED,
        22,
        finished_at=now - 50,
        checkpoint_count=2,
        checkpoint_bytes=604_000_000,
    )
    return ws
