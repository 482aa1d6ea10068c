"""`DownloadRunners`: the jobs of downloads, from their rows. Used by `ws.hub`."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.durable import require_space
from saewidgets.errors import SAEWidgetsError
from saewidgets.events import JobStatus, LogLine, Progress
from saewidgets.jobs import JobContext
from saewidgets.records import JobRecord, SAERecord
from saewidgets.workspace.held import Held
from saewidgets.workspace.library.intake import Origin, replace_files, take_in

if TYPE_CHECKING:
    from saewidgets.hub.download import Downloaded
    from saewidgets.workspace.hub import Hub
    from saewidgets.workspace.workspace import Workspace

KIND = "download"
LANE = "download"  # three wide, see `JobSettings.widths`
_ROOM = 64 * 1024**2  # left free on the disk of the workspace
_GOES_ON = frozenset({JobStatus.INTERRUPTED, *(status for status in JobStatus if not status.is_final)})
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Held:
    """An access token, and when its job had ended before it was given."""

    token: str = field(repr=False)
    ended_before: float | None = None


class DownloadRunners:
    """Does the jobs of downloads.

    Access tokens are kept in the memory of this process and nowhere else: while a job is queued, runs or is paused. One
    that has ended, well or not, needs it again when it is tried again.
    """

    def __init__(self, workspace: Workspace, hub: Hub) -> None:
        self._workspace = workspace
        self._hub = hub
        self._held: dict[str, _Held] = {}
        self._lock = threading.Lock()
        self._partials: dict[str, tuple[str, ...]] = {}  # job id → unfinished files on this machine

    def hold(self, job_id: str, token: str | None, *, ended_before: float | None = None) -> None:
        """Keep the token of a job until it ends.

        Args:
            ended_before: when the job ended the last time, if it is about to go on: news of that may still be under
                way, and must not take the new token.
        """
        if token is not None:
            with self._lock:
                self._held[job_id] = _Held(token, ended_before)

    def drop(self, job_id: str) -> None:
        """Forget the token of a job, and the client that was made for it unless another job has the same one."""
        with self._lock:
            held = self._held.pop(job_id, None)
            shared = held is not None and any(other.token == held.token for other in self._held.values())
        if held is not None and not shared:
            self._hub.forget(held.token)

    def _token(self, job_id: str) -> str | None:
        with self._lock:
            return held.token if (held := self._held.get(job_id)) is not None else None

    def ended(self, job: JobRecord) -> None:
        """Forget the token; after a cancel remove what has arrived of unfinished files."""
        with self._lock:
            held = self._held.get(job.id)
        # An interrupted one may only have been asleep with this process, and goes on by itself.
        if held is not None and job.status is not JobStatus.INTERRUPTED and job.finished_at != held.ended_before:
            self.drop(job.id)
        if job.status is JobStatus.COMPLETED:
            self._workspace.saes.changes.tell(str(job.result))
        if job.status is not JobStatus.CANCELLED:
            return
        from saewidgets.hub import discard  # the hub's client: a second to import

        try:
            if self._workspace.catalog.jobs.get(job.id).status is JobStatus.CANCELLED:  # not resumed since
                discard(self._unneeded(job))
        except SAEWidgetsError as error:
            log.warning("What had arrived of a cancelled download could not be removed: %s", error)

    # ------------------------------------------------------------------------------------------------ inside

    def _unneeded(self, job: JobRecord) -> set[str]:
        """Unfinished files of a cancelled download that no other one goes on with."""
        found = set(self._partials.get(job.id, ())) or set(job.payload.get("partials") or ())
        for other in self._workspace.catalog.jobs.list(kind=KIND, status=_GOES_ON):
            if other.id != job.id and found:
                found -= {*self._partials.get(other.id, ()), *(other.payload.get("partials") or ())}
        return found

    def run(self, context: JobContext, ids: Sequence[str], held: Held | None) -> str:
        """Do the job of a download; returns the id of the SAE."""
        job_id, payload = context.job_id, context.payload
        context.control.check()
        existing = self._existing(payload)
        if existing is not None and existing.state == "ok":
            context.emit(LogLine(f"{existing.name} is in the library already."))
            return existing.id

        last = Progress(0, int(payload.get("total_bytes") or 0), "bytes", phase="looking")

        def emit(progress: Progress) -> None:
            nonlocal last
            last = progress
            context.emit(progress)

        emit(last)
        found = self._download(job_id, payload, emit, context.control.check)
        context.emit(Progress(last.total, last.total, "bytes", phase="converting"))
        record = self._take(payload, found, existing, context.control.check)
        if reason := record.metadata.get("origin", {}).get("kept"):
            context.emit(LogLine(f"Kept in its own format, {record.format}: {reason}"))
        context.emit(Progress(last.total, last.total, "bytes", phase="done"))
        return record.id

    def _download(
        self, job_id: str, payload: Any, emit: Callable[[Progress], None], check: Callable[[], None]
    ) -> Downloaded:
        # The hub's client: a second to import.
        from saewidgets.hub import HubReference, download
        from saewidgets.hub.cache import from_rows
        from saewidgets.hub.errors import GatedRepositoryError, InvalidTokenError, RepositoryNotFoundError

        place = HubReference(payload["repo_id"], payload["revision"], payload["path"])
        listing = from_rows(place.repo_id, payload["revision"], place.path, payload.get("files"))
        token = self._token(job_id)
        client = self._hub.client(token)

        def planned(plan: Any) -> None:
            self._partials[job_id] = tuple(plan.partials)
            self._require_room(plan.total_bytes, plan.missing_bytes, client.cache_dir)

        try:
            return download(
                place, client=client, emit_progress=emit, check=check, on_plan=planned, branch=payload.get("asked"),
                listing=listing, format=str(payload.get("format") or ""),
            )  # fmt: skip
        except (GatedRepositoryError, InvalidTokenError, RepositoryNotFoundError) as error:
            if token is None and payload.get("token_given"):
                error.hint = (
                    "It was started with an access token, which is never stored. Start the download again with the "
                    "token, or sign in with `hf auth login` and resume it."
                )
            raise

    def _existing(self, payload: Any) -> SAERecord | None:
        return self._workspace.catalog.saes.by_download(payload["repo_id"], payload["revision"], payload["path"])

    def _take(
        self, payload: Any, found: Downloaded, existing: SAERecord | None, check: Callable[[], None]
    ) -> SAERecord:
        """The SAE in the library; one whose files were lost gets them back and keeps its name, notes and tags."""
        from saewidgets.formats import describe  # torch: seconds to import

        answer = payload.get("apply_b_dec_to_input")
        named = describe(found.location, apply_b_dec_to_input=answer).model or payload.get("model")
        origin = origin_of(payload, found.format, named)
        if existing is None:
            return take_in(self._workspace, found.location, origin, check=check)
        return replace_files(self._workspace, existing, found.location, origin, check=check)

    def _require_room(self, size: int, missing: int, cache: Path) -> None:
        """Raise `StorageError` if the library's copy does not fit; on the disk of the cache, beside what is fetched."""
        folder = self._workspace.folder
        shared = cache.exists() and folder.exists() and cache.stat().st_dev == folder.stat().st_dev
        need = size + (missing if shared else 0) + _ROOM
        require_space(folder, need, "the library", "Free some space, or choose a narrower width.")


def origin_of(payload: Any, format: str, model: str | None) -> Origin:
    """Where the SAE of a download comes from, from the job's payload."""
    repo_id, path = str(payload["repo_id"]), str(payload["path"])
    scope = repo_id.startswith("google/gemma-scope") or format in ("gemma_scope", "gemma_scope_2")
    place = f"{repo_id}@{payload['revision']}" + (f"/{path}" if path else "")
    return Origin(
        source="gemma_scope" if scope else "huggingface", where=place, name=str(payload["name"]),
        model=model, layer=payload.get("layer"), repo_id=repo_id,
        revision=str(payload["revision"]), repo_path=path, facts=payload.get("facts") or {},
        license=payload.get("license"), apply_b_dec_to_input=payload.get("apply_b_dec_to_input"),
    )  # fmt: skip
