"""Runs in every state: as plain records, and as rows of a real workspace, where nothing trains them."""

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from saewidgets.catalog.rows import next_queue_number, now
from saewidgets.catalog.tables import CheckpointRow, JobRow, TrainingRow
from saewidgets.config import BatchTopKConfig, JumpReLUConfig, TopKConfig, TrainingConfig
from saewidgets.events import JobStatus, Metrics, Progress
from saewidgets.jobs import JobContext, JobSettings
from saewidgets.records import ActivationStoreRecord, ErrorInfo, TrainingRecord
from saewidgets.workspace import Workspace
from saewidgets.workspace.capture.stored_corpus import settings_said

JOBS = JobSettings(poll=0.05, timeout=1e9)  # who owns the runs below never says that it lives
OF_JOB = ("status", "progress", "error", "started_at", "finished_at", "heartbeat_at", "seconds_running")
PROGRESS = Progress(6_200_000, 10_000_000, "tokens", 48_210.0, 79.0, "training")


def make_record(training_id: str, config: TrainingConfig, **changes: Any) -> TrainingRecord:
    values: dict[str, Any] = {
        "id": training_id, "name": config.name or config.default_name, "status": JobStatus.QUEUED,
        "config": config.to_data(), "model": config.model, "corpus": config.corpus.label,
        "hook_name": config.hook_name, "architecture": config.sae.architecture, "d_sae": config.sae.d_sae,
        "d_in": 256, "device": "cpu", "lane": "test/cpu", "tokens_total": config.tokens, "tokens_done": 0, "step": 0,
        "progress": None, "latest": {}, "error": None, "queue_position": None, "checkpoint_count": 0,
        "checkpoint_bytes": 0, "last_checkpoint_step": None, "last_checkpoint_tokens": None, "sae_id": None,
        "sae_path": None, "retry_of": None, "group_id": None, "host": "test", "folder": f"/workspace/{training_id}",
        "heartbeat_at": None, "created_at": time.time(), "started_at": None, "finished_at": None,
    }  # fmt: skip
    return TrainingRecord(**{**values, **changes})


def add_run(
    ws: Workspace, training_id: str, config: TrainingConfig, status: JobStatus, points: int = 0,
    checkpoint: int | None = None, **changes: Any,
) -> None:  # fmt: skip
    """A run with so many points of metrics and a checkpoint at a step; those of one `job_id` share a job."""
    record = make_record(training_id, config, **{"step": points * 10, **changes})

    def write(session: Any) -> None:
        job_id = record.job_id or f"job_{training_id}"
        job = session.get(JobRow, job_id)
        if job is None:
            alive = status is JobStatus.QUEUED or status.is_active
            mine = {name: _plain(getattr(record, name)) for name in OF_JOB} | {"status": status.value}
            payload = {"training_id": training_id} if record.group_id is None else {"group_name": record.group_name}
            job = JobRow(
                id=job_id, kind="training", lane=record.lane, payload=payload,
                owner="another kernel" if alive else None, created_at=record.created_at, updated_at=now(session),
                queue_number=next_queue_number(session), **mine,
            )  # fmt: skip
            session.add(job)
        if record.group_id is not None:
            job.payload = {**job.payload, "training_ids": [*job.payload.get("training_ids", []), training_id]}
        session.flush()
        columns = {name: getattr(record, name) for name in _names(TrainingRow) if name in _names(TrainingRecord)}
        session.add(TrainingRow(**{**columns, "folder": f"trainings/{training_id}", "job_id": job_id}))
        if checkpoint is not None:
            session.flush()
            session.add(
                CheckpointRow(
                    id=f"{training_id}-c", training_id=training_id, step=checkpoint, tokens=checkpoint * 4096, path="x",
                    kinds=["latest", "best"], size_bytes=302_000_000, metrics={"fvu": 0.119}, created_at=time.time(),
                )
            )

    ws.catalog.jobs._database.write(write)
    add_points(ws, training_id, points)
    change(ws, training_id, latest={**ws.trainings.get(training_id).record.latest, **record.latest})


def add_points(ws: Workspace, training_id: str, points: int) -> None:
    """The next points of a noisy decay that differs per run and is the same every time."""
    record = ws.catalog.trainings.get(training_id)
    kind = sum(record.name.encode()) % 5
    begins = (record.facts.get("continued_from") or {}).get("step", 10)  # the first point is that of the checkpoint
    first = len(ws.catalog.metrics.query(training_id, ["loss"]))
    events = []
    for index in range(first, first + points):
        noise = 1 + 0.04 * np.random.default_rng([index, kind]).standard_normal()
        decay = (math.exp(-index / (12 + 9 * kind)) + 0.06 + 0.03 * kind) * noise
        values = {"loss": 3 * decay, "l0": 32 + 60 * decay, "fvu": decay, "ce_loss_score": 0.957, "dead": 0.021}
        step = begins + index * 10
        events.append(Metrics(step, step * 4096, values, (record.started_at or record.created_at) + index * 0.1))
    ws.catalog.metrics.append(training_id, events)
    if events:
        change(ws, training_id, step=events[-1].step, tokens_done=events[-1].tokens)


def change(ws: Workspace, training_id: str, **changes: Any) -> None:
    """Another process writes into the rows of a run."""

    def write(session: Any) -> None:
        row = session.get(TrainingRow, training_id)
        job = session.get(JobRow, row.job_id)
        for name, value in changes.items():
            setattr(job if name in OF_JOB else row, name, _plain(value))
        job.updated_at = max(now(session), job.updated_at + 1e-3)

    ws.catalog.jobs._database.write(write)


def give_sae(ws: Workspace, training_id: str) -> None:
    """Let a run have left an SAE, a small one."""
    import saewidgets as sw  # torch: seconds to import

    folder = ws.folder / "trainings" / training_id / "sae"
    sw.save_sae(sw.create_sae("topk", d_in=8, d_sae=16, k=2), folder)
    ws.catalog.trainings.update(training_id, sae_path=str(folder))


def make_store(store_id: str, **changes: Any) -> ActivationStoreRecord:
    values: dict[str, Any] = {
        "id": store_id, "name": "gpt2 demo", "source": "captured", "model": "gpt2", "corpus": "demo",
        "hook_names": ("blocks.6.hook_resid_post",), "dtype": "bfloat16", "context_size": 128,
        "config": {"model": "gpt2", "context_size": 128, "prepend_bos": True}, "status": JobStatus.COMPLETED,
        "progress": None, "error": None, "queue_position": None, "tokens_total": 2_000_000, "n_tokens": 2_000_000,
        "size_bytes": 3_072_000_000, "fingerprint": "f", "host": "test", "folder": "/workspace", "job_id": None,
        "created_at": 0.0, "started_at": None, "finished_at": None, "seconds_running": 0.0,
    }  # fmt: skip
    return ActivationStoreRecord(**{**values, **changes})


def show_stores(ws: Workspace, *records: ActivationStoreRecord) -> None:
    """Let a workspace have just these stores of activations."""
    known: dict[str, Any] = {record.id: record for record in records}
    stores: Any = ws.activations
    stores.list = lambda: list(records)
    stores.training_settings = lambda store_id: settings_said(known[store_id])


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) else getattr(value, "value", value)


def _names(of: Any) -> set[str]:
    return set(of.__table__.columns.keys()) if hasattr(of, "__table__") else {field.name for field in fields(of)}


def train_nothing(ws: Workspace) -> Workspace:
    """Let jobs of this process, and that of train_0, stay where they are until they are asked to pause or stop."""

    def work(context: JobContext, ids: Sequence[str], held: object) -> None:
        context.emitter(ids[0])(PROGRESS)
        while True:
            context.control.check()
            time.sleep(0.02)

    ws.trainings._tasks._work = work
    change(ws, "train_0", status=JobStatus.PAUSED)
    ws.trainings.get("train_0").resume()
    return ws


def full_workspace(folder: Path | None = None) -> Workspace:
    """One run in every state, with metrics: what the pictures of the specification show."""
    ws = Workspace(folder or tempfile.mkdtemp(), jobs=JOBS)
    config = TrainingConfig(model="gpt2", hook_name="blocks.6.hook_resid_post", sae=TopKConfig(d_sae=16_384, k=32))
    nan = ErrorInfo(
        "Loss became NaN at step 449 (1.84M tokens).",
        "Last good checkpoint: step 400, FVU 0.164. Lower Learning rate (now 1e-3), or set Gradient clip to 1.0.",
        kind="nan", step=449, traceback="Traceback …",
    )  # fmt: skip
    lost = ErrorInfo("The kernel that ran it ended.", "Resume continues from step 1,780.", kind="interrupted")
    moment = time.time()
    runs: list[tuple[str, JobStatus, int, int | None, dict[str, Any]]] = [
        ("gpt2-l6-topk-k32", JobStatus.RUNNING, 150, 1000, {"progress": PROGRESS, "heartbeat_at": moment}),
        ("gpt2-l6-jumprelu", JobStatus.PAUSED, 100, 1000, {}),
        ("gpt2-l6-topk-k48", JobStatus.QUEUED, 0, None, {"heartbeat_at": moment}),
        ("demo-l2-topk-k24", JobStatus.COMPLETED, 244, 2440, {"finished_at": moment - 100}),
        ("pythia-70m-l3-standard", JobStatus.FAILED, 45, 400, {"error": nan}),
        ("gpt2-l8-topk-k64", JobStatus.INTERRUPTED, 178, 1780, {"error": lost, "heartbeat_at": moment - 300}),
        ("gpt2-l6-gated-try", JobStatus.STOPPED, 22, 220, {"finished_at": moment - 50}),
    ]
    for index, (name, status, points, checkpoint, others) in enumerate(runs):
        times = {"created_at": moment - index, "started_at": moment - 600}
        add_run(
            ws, f"train_{index}", config, status, points, checkpoint, name=name, tokens_total=10_000_000,
            **times, **others,
        )  # fmt: skip
    return ws


def compared_workspace(folder: Path | None = None) -> Workspace:
    """Runs to compare: a sweep, another architecture, one job of three layers; and two templates."""
    ws = full_workspace(folder)
    moment, hook = time.time(), "blocks.6.hook_resid_post"

    def add(
        training_id: str, sae: Any, l0: float, fvu: float, ce: float, hook_name: str = hook, **others: Any
    ) -> None:
        config = TrainingConfig(model="gpt2", hook_name=hook_name, sae=sae)
        latest = {"loss": 2 * fvu, "l0": l0, "val_l0": l0, "val_fvu": fvu, "ce_loss_score": ce, "dead": 0.012}
        add_run(
            ws, training_id, config, JobStatus.COMPLETED, 60, 600, created_at=moment - 100, started_at=moment - 400,
            finished_at=moment - 98, seconds_running=302.0, tokens_total=10_000_000, **others,
        )  # fmt: skip
        change(ws, training_id, latest=latest, step=2441, tokens_done=10_000_000)

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
