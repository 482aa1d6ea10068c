"""Extractions and features in memory with the shape of the real ones.

Only for the viewer's own tests and for looking at states that are hard to reach.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from saewidgets.config.extraction import ExtractionConfig
from saewidgets.errors import ConfigError, NotFoundError, StateError
from saewidgets.events import JobStatus, Progress
from saewidgets.feature_records import (
    ExtractionEstimate,
    ExtractionRecord,
    FeatureRecord,
    LabelRecord,
    LogitsRecord,
    RelatedRecord,
)
from saewidgets.features.store.feature_data import FeatureData, Group, StoredExample
from saewidgets.records import JobRecord, Records
from tests.widgets.fake_library import FakeSaeWorkspace, full_library

D = 40
PIECES = (" the", " ship", " sailed", " <b>on</b>", "\n")
HOSTILE = "<script>alert(1)</script>\x1b[31m"


def make_extraction(extraction_id: str, sae_id: str = "sae_gpt2", **changes: Any) -> ExtractionRecord:
    done = changes.get("status", JobStatus.COMPLETED) is JobStatus.COMPLETED
    values: dict[str, Any] = {
        "id": extraction_id, "source_type": "sae", "training_id": None, "sae_id": sae_id, "name": "gpt2-l6-topk-k32",
        "source": "trained", "model": "gpt2", "hook_name": "blocks.6.hook_resid_post", "layer": 6, "d_sae": D,
        "config": ExtractionConfig(corpus="demo").to_data(), "status": JobStatus.COMPLETED, "progress": None,
        "error": None, "note": None, "queue_position": None, "tokens_total": 1000, "n_tokens": 990 if done else None,
        "seen": D - 2 if done else None, "dead": 2 if done else None, "dense": 1 if done else None,
        "size_bytes": 318_000 if done else None, "host": "test", "folder": f"/workspace/{extraction_id}",
        "job_id": f"job_{extraction_id}", "created_at": 1_790_000_000.0, "started_at": None, "finished_at": None,
        "seconds_running": 3.0,
    }  # fmt: skip
    return ExtractionRecord(**{**values, **changes})


class FakeStore:
    """Feature i fires on i of 990 tokens (0 and 13 never, 39 on a third), with largest activation i / 2."""

    def __init__(self) -> None:
        self.fired = np.arange(D)
        self.fired[13], self.fired[39] = 0, 330
        self.density = self.fired / 990
        self.max = np.where(self.fired > 0, np.arange(D) / 2, 0.0).astype(np.float32)
        self.manifest = SimpleNamespace(
            d_sae=D, n_tokens=990, n_contexts=10, n_documents=7, context_size=100, n_excluded_special=10,
            n_excluded_norm=0,
        )

    def data(self, index: int) -> FeatureData:
        fired, largest = int(self.fired[index]), float(self.max[index])
        groups = []
        if fired:
            top = [self._example(40 + i, largest - i) for i in range(2)]
            groups = [
                Group("top", 0.0, largest, fired, 1.0, fired / 990, top),
                Group(
                    "interval", largest / 2, largest, 1, 0.5, 0.001,
                    [self._example(40, largest), self._example(7, 1.0)],
                ),
                Group("interval", 0.0, largest / 2, 1, 0.5, 0.001, []),
            ]
        counts, edges = (np.array([3, fired]), np.array([0.0, 1.0, 2.0])) if fired else (np.array([]), np.array([0.0]))
        return FeatureData(
            index=index, fired=fired, density=fired / 990, max=largest, mean=largest / 2, n_documents=3, n_contexts=4,
            counts=counts, edges=edges, groups=groups,
        )

    def _example(self, position: int, value: float) -> StoredExample:
        return StoredExample(
            position=position, value=value, row=0, offset=position, context=5, tokens=np.arange(len(PIECES)),
            pieces=list(PIECES), activations=np.array([0, value, 0.5, np.nan, 0], np.float32), peak=1, before=True,
            after=False,
        )


class FakeHandle:
    """`ws.extractions.get(…)`."""

    def __init__(self, extractions: FakeExtractions, extraction_id: str) -> None:
        self._all, self.id = extractions, extraction_id

    @property
    def record(self) -> ExtractionRecord:
        return self._all.records[self.id]

    def pause(self) -> None:
        self._all.act("pause", self.id, JobStatus.PAUSED)

    def resume(self) -> None:
        if self.record.status is JobStatus.COMPLETED:
            raise StateError("It has completed and cannot be resumed.", where=self.id)
        self._all.act("resume", self.id, JobStatus.RUNNING)

    def cancel(self) -> None:
        self._all.act("cancel", self.id, JobStatus.CANCELLED)


class FakeExtractions:
    def __init__(self, workspace: FakeFeatureWorkspace) -> None:
        self.workspace = workspace
        self.records: dict[str, ExtractionRecord] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.stores: dict[str, FakeStore] = {}
        self.broken: Exception | None = None  # raised by `list`
        self.gone: set[str] = set()  # whose files are not there
        self.estimate_error: Exception | None = None
        self.logits: dict[str, JobRecord] = {}
        self.with_logits: set[str] = set()
        self._ids = itertools.count(1)
        self._subscribers: list[Callable[..., None]] = []

    def subscribe(self, callback: Callable[..., None]) -> Callable[[], None]:
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    @property
    def subscribers(self) -> int:
        return len(self._subscribers)

    def put(self, record: ExtractionRecord) -> ExtractionRecord:
        self.records[record.id] = record
        for callback in list(self._subscribers):
            callback(record.id)
        return record

    def act(self, what: str, extraction_id: str, status: JobStatus) -> None:
        self.calls.append((what, extraction_id))
        self.put(dataclasses.replace(self.records[extraction_id], status=status))

    def list(self, **query: Any) -> Records[ExtractionRecord]:
        if self.broken is not None:
            raise self.broken
        return Records(sorted(self.records.values(), key=lambda r: -r.created_at), ExtractionRecord)

    def get(self, extraction_id: str) -> FakeHandle:
        if extraction_id not in self.records:
            raise NotFoundError(f"There is no extraction {extraction_id!r}.")
        return FakeHandle(self, extraction_id)

    def defaults(self, *, sae_id: str) -> ExtractionConfig:
        sae = self.workspace.saes.get(sae_id)
        return ExtractionConfig(context_size=128, model=sae.model)

    def create(self, *, sae_id: str, config: ExtractionConfig) -> FakeHandle:
        self.calls.append(("create", sae_id, config))
        record = make_extraction(
            f"ext_new{next(self._ids)}", sae_id, status=JobStatus.RUNNING, created_at=time.time(),
            progress=Progress(done=410, total=1000, rate=9020.0, eta_seconds=65.0), seen=11, tokens_total=config.tokens,
        )
        self.put(record)
        return FakeHandle(self, record.id)

    def estimate(self, *, sae_id: str, config: ExtractionConfig) -> ExtractionEstimate:
        self.calls.append(("estimate", sae_id, config))
        if self.estimate_error is not None:
            raise self.estimate_error
        return ExtractionEstimate(
            seconds=110.0, tokens_per_second=9000.0, basis="measured", disk_bytes=58, disk_free=41, memory_bytes=14,
            memory_free=None, device="cuda:0", warnings=("Latents that fire rarely are hardly seen.",),
        )

    def open(self, extraction_id: str) -> FakeStore:
        if extraction_id in self.gone:
            raise NotFoundError("The files of the extraction are not here.", where="/gone")
        return self.stores.setdefault(extraction_id, FakeStore())

    def delete(self, extraction_id: str) -> int:
        self.calls.append(("delete", extraction_id))
        record = self.get(extraction_id).record
        if record.status is JobStatus.RUNNING:
            raise StateError("The extraction is running.", where=record.id, hint="Cancel it, then delete it.")
        del self.records[extraction_id]
        for callback in list(self._subscribers):
            callback(extraction_id)
        return 1

    def logit_jobs(self) -> dict[str, JobRecord]:
        return self.logits

    def logits_job(self, extraction_id: str) -> Any:
        if extraction_id not in self.logits:
            return None
        return SimpleNamespace(
            pause=lambda: self._logits("pause", extraction_id, JobStatus.PAUSED),
            cancel=lambda: self._logits("cancel", extraction_id, JobStatus.CANCELLED),
        )

    def compute_logits(self, extraction_id: str) -> None:
        self._logits("compute", extraction_id, JobStatus.RUNNING)

    def _logits(self, what: str, extraction_id: str, status: JobStatus) -> None:
        self.calls.append((f"{what}_logits", extraction_id))
        self.logits[extraction_id] = JobRecord(
            id="job_logits", kind="logits", status=status, lane="test/cpu",
            progress=Progress(done=10, total=40, unit="features", eta_seconds=3.0, phase="computing"),
        )
        self.put(self.records[extraction_id])

    def has_logits(self, record: ExtractionRecord) -> bool:
        return record.id in self.with_logits

    def demo(self) -> FakeHandle:
        self.put(make_extraction("ext_demo", "sae_gemma", name="demo"))
        return FakeHandle(self, "ext_demo")


class FakePrompt:
    """What `run_on` finds."""

    def __init__(self, pieces: Sequence[str]) -> None:
        self.pieces = tuple(pieces)
        self.indices = np.array([5, 7, 39])
        self.activations = np.zeros((3, len(pieces)), np.float32)
        self.activations[0], self.activations[1, 0], self.activations[2, -1] = 1.0, 2.0, 3.0
        self.note = "BOS is left out."

    def ranked(self, by: str, token: int | None) -> Any:
        if by == "token":
            if token is None or not 0 <= token < len(self.pieces):
                raise ConfigError(f"The text has no token {token}.", where="token", hint="Choose one of its tokens.")
            keys = self.activations[:, token]
            order = np.argsort(-keys, kind="stable")
            return order[keys[order] > 0]
        return np.argsort(-(self.activations.max(1) if by == "max" else self.activations.sum(1)), kind="stable")


class FakeFeatures:
    """Labels of the features of every SAE; reading needs no model. `wanted` is the id of an extraction."""

    def __init__(self, extractions: FakeExtractions) -> None:
        self._extractions = extractions
        self.said: dict[str, FeatureRecord] = {}
        self.changes = 0
        self.calls: list[tuple[Any, ...]] = []
        self.problem: Exception | None = None  # raised by what needs the model or the weights
        self._subscribers: list[Callable[..., None]] = []

    def subscribe(self, callback: Callable[..., None]) -> Callable[[], None]:
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    @property
    def subscribers(self) -> int:
        return len(self._subscribers)

    def _owner(self, wanted: str) -> str:
        return str(self._extractions.get(wanted).record.sae_id)

    def _record(self, owner: str, index: int) -> FeatureRecord:
        key = f"feat_{owner}_{index}"
        return self.said.get(key) or FeatureRecord(id=key, index=index, sae_id=owner, training_id=None)

    def _of_id(self, feature_id: str) -> FeatureRecord:
        owner, _, index = feature_id.removeprefix("feat_").rpartition("_")
        return self._record(owner, int(index))

    def put(self, record: FeatureRecord, *, tell: bool = True) -> None:
        self.said[record.id] = record
        self.changes += 1
        for callback in list(self._subscribers) if tell else ():
            callback(record.sae_id)

    def _with_numbers(self, record: FeatureRecord, extraction_id: str) -> FeatureRecord:
        store, i = self._extractions.open(extraction_id), record.index
        return dataclasses.replace(
            record, extraction_id=extraction_id, density=float(store.density[i]), fired=int(store.fired[i]),
            max=float(store.max[i]), top_tokens=(" ship", HOSTILE),
        )

    def counts(self, wanted: str) -> tuple[int, int]:
        found = [r for r in self.said.values() if r.sae_id == self._owner(wanted)]
        return sum(bool(r.label) for r in found), sum(r.starred for r in found)

    def revision(self, wanted: str) -> float:
        return float(self.changes)

    def can_read(self, wanted: str) -> str:
        sae = self._extractions.workspace.saes.get(self._owner(wanted))
        return "The files of the SAE are not here." if sae.state == "missing" else ""

    def indices(self, wanted: str, *, search: str, show: str, sort: str, descending: bool) -> Any:
        store, owner = self._extractions.open(wanted), self._owner(wanted)
        records = [self._record(owner, i) for i in range(D)]
        keep = [i for i in range(D) if search.lower() in records[i].label.lower()]
        rules: dict[str, Callable[[int], bool]] = {
            "labelled": lambda i: bool(records[i].label), "starred": lambda i: records[i].starred,
            "dead": lambda i: not store.fired[i], "live": lambda i: bool(store.fired[i]),
        }
        keep = [i for i in keep if rules.get(show, lambda i: True)(i)]
        keys = {"density": store.density, "max": store.max}.get(sort, np.arange(D))
        return np.asarray(sorted(keep, key=lambda i: keys[i], reverse=descending), dtype=np.int64)

    def records(self, wanted: str, indices: Sequence[int]) -> Records[FeatureRecord]:
        owner = self._owner(wanted)
        return Records([self._with_numbers(self._record(owner, i), wanted) for i in indices], FeatureRecord)

    def list(self, *, extraction_id: str, **query: Any) -> Records[FeatureRecord]:
        return self.records(extraction_id, self.indices(extraction_id, **query).tolist())

    def feature(self, wanted: str, index: int) -> FeatureRecord:
        return self.records(wanted, [index])[0]

    def data(self, extraction_id: str, index: int) -> FeatureData:
        return self._extractions.open(extraction_id).data(index)

    # ------------------------------------------------------------------------------------------- the model

    def _needs_model(self) -> None:
        if self.problem is not None:
            raise self.problem

    def logits(self, wanted: str, index: int) -> LogitsRecord:
        self._needs_model()
        raises = ((" ship", 1.94), (HOSTILE, 1.0))
        return LogitsRecord(index, raises, ((" he", -0.52),), (1, 3, 2), (-1.0, 0.0, 1.0, 2.0))

    def loss_effect(self, wanted: str, index: int, **token: Any) -> Any:
        self._needs_model()
        self.calls.append(("loss_effect", wanted, index, token))
        return SimpleNamespace(effect=-0.184, loss=2.31)

    def similar(self, wanted: str, index: int) -> Sequence[RelatedRecord]:
        self._needs_model()
        two, three = self.records(wanted, [2, 3])
        return [RelatedRecord(two, 0.61), RelatedRecord(three, 0.4)]

    def coactive(self, wanted: str, index: int) -> tuple[Sequence[RelatedRecord], int]:
        return [RelatedRecord(self.feature(wanted, 3), 0.71)], 2048

    def context(self, wanted: str, index: int, position: int) -> Any:
        if position != 40:
            raise ConfigError(f"There is no position {position} in the text.", where="position")
        values = np.zeros(60, np.float32)
        values[[1, 50]] = 19.5, 2.0
        return SimpleNamespace(pieces=PIECES * 12, activations=values, peak=1, complete=False, note="near")

    def on_feature(self, wanted: str, index: int, text: str) -> Any:
        self._needs_model()
        words = text.split(" ")
        values = np.array([len(word) for word in words], np.float32)
        return SimpleNamespace(pieces=words, activations=values, note="BOS is left out.", seconds=0.04)

    def run_on(self, wanted: str, text: str) -> FakePrompt:
        self._needs_model()
        return FakePrompt(text.split(" "))

    # ------------------------------------------------------------------------------------------- what people say

    def label(self, feature_id: str, name: str, description: str = "", *, extraction_id: str | None = None) -> None:
        self.calls.append(("label", feature_id, name, description))
        record = self._of_id(feature_id)
        labels = tuple(one for one in record.labels if one.source != "user")
        if name:
            labels = (LabelRecord(record.index, name, description, created_at=1.0), *labels)
        first = labels[0] if labels else LabelRecord(record.index, "", source="user")
        self.put(
            dataclasses.replace(record, labels=labels, label=first.text, label_source=first.source if labels else "")
        )

    def star(self, feature_id: str, starred: bool) -> None:
        self.put(dataclasses.replace(self._of_id(feature_id), starred=starred))

    def notes(self, feature_id: str, text: str) -> None:
        self.put(dataclasses.replace(self._of_id(feature_id), notes=text))

    def suggest(self, wanted: str, index: int) -> LabelRecord:
        if index == 13:
            raise StateError("It did not fire: there is nothing to go by.")
        return LabelRecord(index, "‘ship’", "Holds for 90% of 20 examples.", source="auto", model="offline heuristic")

    def auto_label(self, wanted: str) -> Any:
        owner = self._owner(wanted)
        labels = [LabelRecord(i, "auto <i>", source="auto", by="offline heuristic") for i in (5, 6)]
        for label in labels:
            record = self._record(owner, label.index)
            self.put(dataclasses.replace(record, label=label.text, label_source="auto", labels=(label,), score=0.5))
        return SimpleNamespace(labels=labels, failures=[1], same=[], dead=[0, 13], left=[2, 3])

    def import_labels(self, wanted: str, path: str) -> Any:
        if not Path(path).exists():
            raise NotFoundError("There is no such file.", where=path, hint="Check the path.")
        self.calls.append(("import_labels", wanted, path))
        return SimpleNamespace(labels=[1, 2, 3], problems=["line 4"])

    def export_labels(self, wanted: str, path: Path, *, indices: Sequence[int] | None) -> Path:
        return self.export(wanted, "labels", path, indices=indices)

    def interpretations(self, wanted: str, path: Path, *, indices: Sequence[int] | None) -> dict[str, int]:
        self.export(wanted, "interpretations", path, indices=indices)
        return {"active": 1, "dead": 2}

    def export(self, wanted: str, what: str, path: Path, *, indices: Sequence[int] | None) -> Path:
        self.calls.append(("export", wanted, what, indices))
        if path.exists():
            raise ConfigError("There is a file of that name.", where="path", hint="Choose another name.")
        path.write_bytes(b"12345")
        return path


class FakeFeatureWorkspace(FakeSaeWorkspace):
    """A workspace whose library, extractions and features are in memory."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.is_default = True
        self.extractions: FakeExtractions = FakeExtractions(self)
        self.features = FakeFeatures(self.extractions)
        self.downloads: list[Any] = []
        self.hub = SimpleNamespace(downloads=lambda: self.downloads)


def full_features(folder: Path) -> FakeFeatureWorkspace:
    """Two extractions of one SAE that can be read, one that runs, one that failed."""
    ws = FakeFeatureWorkspace(folder)
    ws.saes = full_library(folder).saes
    ws.subscribe_saes = ws.saes.subscribe
    ws.extractions.put(make_extraction("ext_old", created_at=1_780_000_000.0, n_tokens=200_000))
    ws.extractions.put(make_extraction("ext_new"))
    ws.extractions.put(
        make_extraction(
            "ext_run", "sae_pythia", name="pythia", status=JobStatus.RUNNING, seen=13_434, d_sae=32_768,
            progress=Progress(done=410, total=1000, rate=9020.0, eta_seconds=65.0, phase="reading"),
            created_at=1_700_000_000.0,
        )
    )
    ws.features.label("feat_sae_gpt2_7", "ships", description="of all kinds")
    ws.features.star("feat_sae_gpt2_9", True)
    ws.features.calls.clear()
    return ws
