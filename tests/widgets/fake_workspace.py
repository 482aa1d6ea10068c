"""A workspace in memory with the shape of the real one: runs advance in a thread and obey pause, resume and stop.

Only for the widgets' own tests and for looking at states that a real run takes hours to reach.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from saewidgets.activation_records import ActivationStoreRecord
from saewidgets.config import BatchTopKConfig, JumpReLUConfig, TopKConfig, TrainingConfig, validate
from saewidgets.errors import NotFoundError, StateError
from saewidgets.events import JobStatus, Progress
from saewidgets.records import CheckpointRecord, ErrorInfo, Records, TemplateRecord, TrainingRecord
from saewidgets.workspace.capture.using import settings_said
from saewidgets.workspace.listeners import Listeners
from saewidgets.workspace.training.advice import HISTORY, Advice, advise


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
        going = [JobStatus.RUNNING, JobStatus.QUEUED]
        self._go(going, JobStatus.PAUSED, last_checkpoint_step=step, last_checkpoint_tokens=tokens)

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

    def advice(self) -> list[Advice]:
        columns = self._trainings.metric_columns(self.id, HISTORY)
        return advise(self.record, columns)

    def continue_from(self, checkpoint_id: str | None = None, *, tokens: int | None = None) -> FakeRun:
        self._trainings.calls.append(("continue", self.id, checkpoint_id, tokens))
        suffix = "longer" if tokens else "from-checkpoint"
        config = TrainingConfig.from_data(self.record.config).replace(name=f"{self.record.name}-{suffix}")
        record = self.record
        step, done = record.last_checkpoint_step or record.step, record.last_checkpoint_tokens or record.step * 4096
        origin = {"training_id": self.id, "step": step, "tokens": done}
        return self._trainings.create(
            config, retry_of=self.id, step=step, tokens_done=done, tokens_total=tokens or record.tokens_total,
            facts={"continued_from": origin},
        )  # fmt: skip

    def train_longer(self, tokens: int | None = None) -> FakeRun:
        return self.continue_from(tokens=tokens)

    def import_checkpoint(self, checkpoint_id: str | None = None) -> Any:
        self._trainings.calls.append(("import_checkpoint", self.id, checkpoint_id))
        return SimpleNamespace(id=f"sae_{checkpoint_id}", name=f"{self.record.name}-step-{self.record.step}")

    def delete_checkpoint(self, checkpoint_id: str) -> int:
        self._trainings.calls.append(("delete_checkpoint", self.id, checkpoint_id))
        self._trainings.change(self.id, last_checkpoint_step=None)
        return 302_000_000

    @property
    def config(self) -> TrainingConfig:
        return TrainingConfig.from_data(self.record.config)

    def template_config(self) -> TrainingConfig:
        return self.config

    def log(self, n: int) -> list[str]:
        return [f"step {i} loss 0.28" for i in range(30)][-n:]

    def import_to_saes(self) -> Any:
        self._trainings.import_one(self.record)

    def delete(self) -> None:
        self._trainings.delete(self.id)

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

    def import_one(self, record: TrainingRecord) -> None:
        from tests.widgets.fake_library import make_sae  # it stands on this module

        sae_id = f"sae_{record.id}"
        self.change(record.id, sae_id=sae_id)
        sae = make_sae(sae_id, record.name, source="trained", training_id=record.id, training_name=record.name)
        self._workspace.saes.add(sae)

    def record(self, training_id: str) -> TrainingRecord:
        with self._lock:
            if training_id not in self._records:
                raise NotFoundError(f"There is no training {training_id!r}.", where=training_id)
            return self._records[training_id]

    def change(self, training_id: str, **changes: Any) -> None:
        with self._lock:
            self._records[training_id] = dataclasses.replace(self.record(training_id), **changes)
        self._workspace.tell(training_id)

    def follow(self, callback: Callable[[str | None, Sequence[Any]], None]) -> Callable[[], None]:
        return self._workspace.subscribe(lambda training_id: callback(training_id, [None]))

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

    def retry(self, training_id: str, config: TrainingConfig) -> FakeRun:
        return self.create(config, retry_of=self.record(training_id).id)

    def retry_name(self, training_id: str) -> str:
        return f"{self.record(training_id).name}-2"

    def delete(self, training_id: str) -> None:
        self.calls.append(("delete", training_id))
        self.record(training_id)
        with self._lock:
            del self._records[training_id]
        self._workspace.tell(training_id)

    def group(self, group_id: str) -> FakeGroup:
        if not any(record.group_id == group_id for record in self.list()):
            raise NotFoundError(f"There is no group {group_id!r}.")
        return FakeGroup(self, group_id)

    def export(self, training_id: str, folder: Path) -> Path:
        self.calls.append(("export", training_id, str(folder)))
        self.record(training_id)
        return folder

    def validate(self, data: Mapping[str, Any], over: Mapping[str, Any] | None = None) -> dict[str, Any]:
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
        names: Sequence[str] | None = None,
        min_step: int | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> dict[str, Any]:
        self.reads.append((training_id, min_step))
        with self._lock:
            rows = [row for row in self._metrics[training_id] if min_step is None or row[0] >= min_step]
        table = np.array(rows, dtype=np.float64).reshape(len(rows), 6)[offset:][:limit]
        columns = dict(zip(("step", "tokens", "time", "loss", "l0", "fvu"), table.T, strict=True))
        nothing = np.full(len(table), np.nan)  # never measured here
        return {
            name: columns.get(name, nothing)
            for name in ("step", "tokens", "time", *(("fvu", "l0", "loss") if names is None else names))
        }

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
    begins = (record.facts.get("continued_from") or {}).get("step", 10)  # the first point is that of the checkpoint
    step = begins + index * 10
    start = record.started_at or record.created_at
    return (step, step * 4096, start + index * 0.1, 3 * decay * noise, 32 + 60 * decay * noise, decay * noise)


class FakeGroup:
    """Runs of one job: the verbs concern all of them."""

    def __init__(self, trainings: FakeTrainings, group_id: str) -> None:
        self._trainings = trainings
        self.id = group_id

    def _each(self, verb: str, *arguments: Any) -> None:
        self._trainings.calls.append((f"group.{verb}", self.id, *arguments))
        for record in self._trainings.list():
            if record.group_id == self.id:
                run = self._trainings.get(record.id)
                self._trainings.delete(record.id) if verb == "delete" else getattr(run, verb)(*arguments)

    def pause(self) -> None:
        self._each("pause")

    def resume(self) -> None:
        self._each("resume")

    def stop(self, save: bool = True) -> None:
        self._each("stop", save)

    def delete(self) -> None:
        self._each("delete")

    def rename(self, name: str) -> None:
        for record in self._trainings.list():
            if record.group_id == self.id:
                self._trainings.change(record.id, group_name=name)

    def retry(self) -> FakeGroup:
        self._each("retry")
        return FakeGroup(self._trainings, "group_2")


class FakeTemplates:
    """`ws.templates` in memory, with the errors of the real one that the panel cares about."""

    def __init__(self) -> None:
        self._records: dict[str, TemplateRecord] = {}
        self._ids = itertools.count(1)
        self.changes = Listeners()

    def list(self, *, favorites_first: bool = True, search: str | None = None) -> list[TemplateRecord]:
        found = [r for r in self._records.values() if (search or "").lower() in f"{r.name} {r.model}".lower()]
        return sorted(found, key=lambda record: (not record.favorite, record.name.casefold()))

    def get(self, wanted: str) -> TemplateRecord:
        if wanted not in self._records:
            raise NotFoundError(f"There is no template {wanted!r}.", where="template")
        return self._records[wanted]

    def load(self, wanted: str) -> TrainingConfig:
        return TrainingConfig.from_data(self.get(wanted).config)

    def save(self, name: str, config: Any, *, favorite: bool = False, replace: bool = False) -> TemplateRecord:
        config = config if isinstance(config, TrainingConfig) else TrainingConfig.from_data(config)
        old = next((record for record in self._records.values() if record.name == name), None)
        if old is not None and not replace:
            raise StateError(f"There is a template {name!r}.", where="name", hint="replace=True")
        record = TemplateRecord(
            old.id if old else f"tmpl_{next(self._ids)}", name, "", old.favorite if old else favorite, config.model,
            config.corpus.label, config.hook_name, config.sae.architecture, config.sae.d_sae, config.to_data(),
            time.time(), time.time(),
        )  # fmt: skip
        self._records[record.id] = record
        self.changes.tell(record.id)
        return record

    def rename(self, wanted: str, name: str) -> None:
        self._records[wanted] = dataclasses.replace(self.get(wanted), name=name)

    def favorite(self, wanted: str, on: bool = True) -> None:
        self._records[wanted] = dataclasses.replace(self.get(wanted), favorite=on)

    def delete(self, wanted: str) -> None:
        del self._records[self.get(wanted).id]

    def to_json(self, ids: Sequence[str] | None = None) -> str:
        return json.dumps([self.get(one).name for one in ids or self._records])

    def import_text(self, raw: bytes, name: str) -> list[TemplateRecord]:
        return [self.save(f"{one} (2)", TrainingConfig()) for one in json.loads(raw)]


class FakeActivations:
    """`ws.activations` in memory: what the form asks of it."""

    def __init__(self) -> None:
        self.records: dict[str, ActivationStoreRecord] = {}

    def add(self, store_id: str, name: str, **changes: Any) -> None:
        values: dict[str, Any] = {
            "id": store_id, "name": name, "source": "captured", "model": "gpt2", "corpus": "demo",
            "hook_names": ("blocks.6.hook_resid_post",), "dtype": "bfloat16", "context_size": 128,
            "config": {"model": "gpt2", "context_size": 128, "prepend_bos": True}, "status": JobStatus.COMPLETED,
            "progress": None, "error": None, "queue_position": None, "tokens_total": 2_000_000, "n_tokens": 2_000_000,
            "size_bytes": 3_072_000_000, "fingerprint": "f", "host": "test", "folder": "/workspace", "job_id": None,
            "created_at": time.time(), "started_at": None, "finished_at": None, "seconds_running": 0.0,
        }  # fmt: skip
        self.records[store_id] = ActivationStoreRecord(**{**values, **changes})

    def list(self) -> list[ActivationStoreRecord]:
        return sorted(self.records.values(), key=lambda record: -record.created_at)

    def training_settings(self, store_id: str) -> dict[str, Any]:
        return settings_said(self.records[store_id])


class FakeWorkspace:
    """`advance_every`: seconds between steps of running runs; None leaves them as they are."""

    def __init__(self, label: str = "test workspace", advance_every: float | None = None) -> None:
        self.label = label
        self.folder = Path("/workspace")
        self.notice: str | None = None
        self.trainings = FakeTrainings(self)
        self.templates = FakeTemplates()
        from tests.widgets.fake_library import FakeLibrary  # it stands on this module

        self.saes = FakeLibrary()
        self.activations = FakeActivations()
        self.extractions: Any = SimpleNamespace(subscribe=lambda callback: lambda: None)
        self.subscribe_saes = self.saes.subscribe
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


def compared_workspace() -> FakeWorkspace:
    """Runs to compare: a sweep, another architecture, one job of three layers; and two templates."""
    ws = full_workspace()
    now = time.time()
    hook = "blocks.6.hook_resid_post"

    def add(
        training_id: str, sae: Any, l0: float, fvu: float, ce: float, hook_name: str = hook, **changes: Any
    ) -> None:
        config = TrainingConfig(model="gpt2", hook_name=hook_name, sae=sae)
        latest = {"loss": 2 * fvu, "l0": l0, "val_l0": l0, "val_fvu": fvu, "ce_loss_score": ce, "dead": 0.012}
        record = make_record(
            training_id, config, status=JobStatus.COMPLETED, created_at=now - 100, started_at=now - 400,
            finished_at=now - 98, seconds_running=302.0, tokens_total=10_000_000, tokens_done=10_000_000, step=2441,
            checkpoint_count=1, checkpoint_bytes=302_000_000, last_checkpoint_step=2441, **changes,
        )  # fmt: skip
        ws.trainings.add(record, 60)
        ws.trainings.change(training_id, latest=latest)

    for k, fvu, ce in ((16, 0.171, 0.93), (24, 0.139, 0.945), (64, 0.079, 0.974), (128, 0.051, 0.985)):
        add(f"sweep_{k}", TopKConfig(d_sae=16_384, k=k), k, fvu, ce, name=f"gpt2-l6-topk-k{k}")
    for weight, l0, fvu, ce in ((4.0, 31.0, 0.158, 0.936), (1.5, 58.4, 0.131, 0.948), (0.5, 112.0, 0.071, 0.976)):
        sae = JumpReLUConfig(d_sae=16_384, l0_coefficient=weight)
        add(f"jump_{weight:g}", sae, l0, fvu, ce, name=f"gpt2-l6-jumprelu-{weight:g}")
    for layer, fvu, ce in ((4, 0.091, 0.968), (6, 0.107, 0.961), (8, 0.129, 0.951)):
        add(
            f"layer_{layer}", BatchTopKConfig(d_sae=16_384, k=48), 48.1, fvu, ce, f"blocks.{layer}.hook_resid_post",
            name=f"gpt2-l{layer}-batchtopk-k48", group_id="group_1", group_name="three-layers", job_id="job_1",
        )  # fmt: skip
    ws.templates.save("GPT-2 small, TopK", TrainingConfig(model="gpt2", hook_name=hook), favorite=True)
    ws.templates.save("Pythia-70M, JumpReLU", TrainingConfig(model="EleutherAI/pythia-70m", sae=JumpReLUConfig()))
    return ws
