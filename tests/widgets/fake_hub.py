"""A workspace with a hub in memory: repositories to look into, downloads that a test moves on by hand.

Only for the download widget's own tests and for looking at states that a real hub shows seldom.
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from saewidgets.errors import NotFoundError, SAEWidgetsError
from saewidgets.events import JobStatus, Progress
from saewidgets.hub.client import checked_token
from saewidgets.hub_records import HubWarning, KnownRepo, Preview, RepoInfo, Variant
from saewidgets.jobs.states import plan
from saewidgets.records import ErrorInfo, JobRecord, Records

SPARSIFY = "EleutherAI/sae-pythia-410m-65k"
GEMMA = "google/gemma-scope-2b-pt-res"
REVISION = "9ac1b27" + "0" * 33
HOSTILE = "<img src=x onerror=alert(1)>"

KNOWN = (
    KnownRepo(
        GEMMA, "Gemma Scope 2B, residual", "google/gemma-2-2b", ("resid_post",), "0–25", ("16k",), "gemma_scope", True
    ),
    KnownRepo(
        "google/gemma-scope-2b-pt-mlp", "Gemma Scope 2B, MLP", "google/gemma-2-2b", ("mlp_out",), "0–25", ("16k",),
        "gemma_scope", True,
    ),
    KnownRepo(
        "google/gemma-scope-9b-it-res", "Gemma Scope 9B", "google/gemma-2-9b-it", ("resid_post",), format="gemma_scope"
    ),
    KnownRepo(SPARSIFY, "Pythia 410M", "EleutherAI/pythia-410m", ("resid_post",), "0–23", ("65k",), "sparsify"),
    KnownRepo("jbloom/GPT2-Small-SAEs-Reformatted", "GPT-2 small", "gpt2", ("resid_pre",), "0–11", ("24k",), "saelens"),
)  # fmt: skip


def make_variant(path: str, repo_id: str = SPARSIFY, **changes: Any) -> Variant:
    values: dict[str, Any] = {
        "repo_id": repo_id, "revision": REVISION, "path": path, "format": "sparsify", "size_bytes": 537_000_000,
        "files": ("cfg.json", "sae.safetensors"), "d_sae": 65_536,
    }  # fmt: skip
    return Variant(**{**values, **changes})


def sparsify_variants() -> list[Variant]:
    return [
        make_variant("layers.6", site="resid_post", layer=6),
        make_variant("layers.12", site="resid_post", layer=12, cached=True),
        make_variant("layers.18", site="resid_post", layer=18),
        make_variant("layers.18.mlp", site="mlp_out", layer=18),
    ]


def gemma_variants(repo_id: str = GEMMA, site: str = "resid_post", layers: int = 3) -> list[Variant]:
    """Two widths of three L0 each per layer; the middle one of the narrow width is canonical."""
    return [
        make_variant(
            f"layer_{layer}/width_{width}/average_l0_{l0}", repo_id, format="gemma_scope", size_bytes=302_000_000,
            site=site, layer=layer, width=width, d_sae=d_sae, l0=float(l0), canonical=width == "16k" and l0 == 82,
            files=("params.npz",),
        )
        for layer in range(layers)
        for width, d_sae in (("16k", 16_384), ("65k", 65_536))
        for l0 in (22, 82, 176)
    ]  # fmt: skip


def make_preview(variant: Variant, **changes: Any) -> Preview:
    values: dict[str, Any] = {
        "repo_id": variant.repo_id, "revision": variant.revision, "path": variant.path, "format": variant.format,
        "architecture": "topk", "d_in": 1024, "d_sae": 65_536, "d_out": 1024, "dtype": "bfloat16",
        "model": "EleutherAI/pythia-410m", "hook_name": "blocks.6.hook_resid_post", "layer": variant.layer,
        "total_bytes": variant.size_bytes, "download_bytes": 0 if variant.cached else variant.size_bytes,
        "memory_bytes": 537_000_000, "gpu_bytes": 269_000_000, "cached": variant.cached, "gated_model": False,
        "config": {"k": 32, "expansion_factor": 64}, "settings": {"k": 32}, "requests": 2,
        "disk_free_bytes": 41_000_000_000,
    }  # fmt: skip
    return Preview(**{**values, **changes})


class FakeJob:
    """The handle of a download; every verb changes the record at once."""

    def __init__(self, hub: FakeHub, job_id: str) -> None:
        self._hub = hub
        self.id = job_id

    @property
    def record(self) -> JobRecord:
        return self._hub.record(self.id)

    @property
    def status(self) -> JobStatus:
        return self.record.status

    def _go(self, command: Any, to: JobStatus) -> None:
        self._hub.calls.append((command, self.id))
        if plan(command, self.status) is not None:
            self._hub.change(self.id, status=to)

    def pause(self) -> None:
        self._go("pause", JobStatus.PAUSED)

    def resume(self) -> None:
        self._go("resume", JobStatus.RUNNING)
        self._hub.change(self.id, error=None)

    def cancel(self) -> None:
        self._go("cancel", JobStatus.CANCELLED)


class FakeHub:
    """`variants_of`, `previews`: what is there; `errors`: what is raised instead, by repository."""

    def __init__(self, workspace: FakeHubWorkspace) -> None:
        self._workspace = workspace
        self._lock = threading.RLock()
        self._records: dict[str, JobRecord] = {}
        self._ids = itertools.count(1)
        self.variants_of: dict[str, list[Variant]] = {SPARSIFY: sparsify_variants(), GEMMA: gemma_variants()}
        self.previews: dict[str, Preview] = {}
        self.errors: dict[str, Exception] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.tokens: list[str | None] = []
        self.wait: dict[str, threading.Event] = {}  # repository → what its listing waits for
        self.known_repos: tuple[KnownRepo, ...] = KNOWN

    # ------------------------------------------------------------------------------------------- looking

    def _enter(self, kind: str, text: str, token: str | None) -> str:
        repo_id = text.partition("@")[0]
        repo_id = "/".join(repo_id.split("/")[:2])
        self.calls.append((kind, text))
        self.tokens.append(token)
        if repo_id in self.wait:
            self.wait[repo_id].wait(10)
        if repo_id in self.errors:
            raise self.errors[repo_id]
        if repo_id not in self.variants_of:
            raise NotFoundError(f"Repository not found: {repo_id}.", hint="It does not exist, or is private.")
        return repo_id

    def repo_info(self, text: str, token: str | None = None) -> RepoInfo:
        repo_id = self._enter("repo_info", text, token)
        return RepoInfo(
            repo_id, REVISION, license="mit", base_models=("EleutherAI/pythia-410m",), last_modified=1_742_000_000.0,
            url=f"https://huggingface.co/{repo_id}",
        )  # fmt: skip

    def variants(self, text: str, token: str | None = None) -> Records[Variant]:
        repo_id = self._enter("variants", text, token)
        found = self.variants_of[repo_id]
        below = text.partition(f"{repo_id}/")[2]
        return Records([one for one in found if one.path.startswith(below)], Variant)

    def preview(
        self, text: str, path: str = "", token: str | None = None, device: str | None = None
    ) -> Preview:
        repo_id = self._enter("preview", text, token)
        self.calls.append(("device", device))
        if path in self.previews:
            return self.previews[path]
        return make_preview(next(one for one in self.variants_of[repo_id] if one.path == path))

    def known(self) -> Records[KnownRepo]:
        return Records(self.known_repos, KnownRepo)

    def check_token(self, token: str | None) -> None:
        checked_token(token)

    def account(self, token: str | None = None) -> str | None:
        self.tokens.append(token)
        return "ada" if token else None

    def refresh(self, text: str | None = None) -> None:
        self.calls.append(("refresh", text))

    # ------------------------------------------------------------------------------------------- downloads

    def download(
        self, text: str, path: str = "", revision: str | None = None, token: str | None = None
    ) -> FakeJob:
        repo_id = self._enter("download", text, token)
        job_id = f"job_{next(self._ids):03d}"
        self.add(job_id, repo_id, path, revision=revision)
        return FakeJob(self, job_id)

    def add(
        self,
        job_id: str,
        repo_id: str,
        path: str,
        *,
        revision: str | None = REVISION,
        total: int = 537_000_000,
        **changes: Any,
    ) -> None:
        payload = {"repo_id": repo_id, "path": path, "revision": revision, "total_bytes": total, "name": path}
        values: dict[str, Any] = {
            "id": job_id, "kind": "download", "status": JobStatus.RUNNING, "lane": "test/downloads",
            "created_at": time.time(), "payload": payload,
        }  # fmt: skip
        with self._lock:
            self._records[job_id] = JobRecord(**{**values, **changes})
        self._workspace.tell()

    def resume(self, job_id: str, token: str | None = None) -> FakeJob:
        self.tokens.append(token)
        job = FakeJob(self, job_id)
        job.resume()
        return job

    def downloads(self) -> Records[JobRecord]:
        with self._lock:
            return Records(self._records.values(), JobRecord)

    def record(self, job_id: str) -> JobRecord:
        with self._lock:
            if job_id not in self._records:
                raise NotFoundError(f"There is no job {job_id!r}.", where=job_id)
            return self._records[job_id]

    def change(self, job_id: str, **changes: Any) -> None:
        with self._lock:
            self._records[job_id] = dataclasses.replace(self.record(job_id), **changes)
        self._workspace.tell()

    def arrive(self, job_id: str, done: int, rate: float = 41_200_000.0, phase: str = "downloading") -> None:
        """So many bytes are here."""
        total = int(self.record(job_id).payload["total_bytes"])
        progress = Progress(done, total, "bytes", rate, (total - done) / rate, phase)
        self.change(job_id, progress=progress)

    def finish(self, job_id: str, sae_id: str = "sae_1") -> None:
        self.change(job_id, status=JobStatus.COMPLETED, result=sae_id, finished_at=time.time())

    def fail(self, job_id: str, error: SAEWidgetsError) -> None:
        info = ErrorInfo(error.what, error.hint, error.where)
        self.change(job_id, status=JobStatus.FAILED, error=info, finished_at=time.time())


class FakeJobs:
    def __init__(self, hub: FakeHub) -> None:
        self._hub = hub

    def get(self, job_id: str) -> FakeJob:
        self._hub.record(job_id)
        return FakeJob(self._hub, job_id)


class FakeHubWorkspace:
    """As much of a workspace as the download widget sees."""

    def __init__(self, label: str = "test workspace") -> None:
        self.label = label
        self.notice: str | None = None
        self._subscribers: list[Callable[[], None]] = []
        self.hub = FakeHub(self)
        self.jobs = FakeJobs(self.hub)
        self.device_error: Exception | None = None

    def devices(self) -> list[Mapping[str, Any]]:
        if self.device_error is not None:
            raise self.device_error
        return [
            {"id": "cpu", "label": "cpu (2 cores)", "total_bytes": None, "free_bytes": 24_800_000_000},
            {"id": "cuda:0", "label": "cuda:0 (8.0 GB)", "total_bytes": 8_000_000_000, "free_bytes": 6_100_000_000},
        ]

    def subscribe_saes(self, callback: Callable[[], None]) -> Callable[[], None]:
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    def tell(self) -> None:
        for callback in list(self._subscribers):
            callback()


def gated_warning() -> HubWarning:
    return HubWarning(
        "gated_model", "google/gemma-2-2b is gated.", "The SAE files are open; extracting needs the base model."
    )

