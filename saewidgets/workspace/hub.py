"""`ws.hub`: browse the Hugging Face hub and download from it; and the jobs of downloads."""

from __future__ import annotations

import logging
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from saewidgets.config import arguments
from saewidgets.config.names import MAX_NAME, one_name
from saewidgets.durable import require_space
from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError
from saewidgets.events import JobStatus, LogLine, Progress
from saewidgets.hub.errors import GatedRepositoryError, InvalidTokenError, RepositoryNotFoundError
from saewidgets.hub.reference import HubReference, known_repos, parse_reference, trained_on
from saewidgets.hub_records import KnownRepo, Preview, RepoInfo, Variant
from saewidgets.jobs import Job, JobContext
from saewidgets.records import JobRecord, Records
from saewidgets.workspace.checked import checks_arguments
from saewidgets.workspace.folders import require_files
from saewidgets.workspace.library.sae_files import FileOrigin, take_in
from saewidgets.workspace.lookup import Ref
from saewidgets.workspace.tasks import Tasks
from saewidgets.workspace.user_models import UserModel

if TYPE_CHECKING:
    from saewidgets.hub.client import HubClient
    from saewidgets.hub.transfer import Downloaded
    from saewidgets.workspace.workspace import Workspace

KIND = "download"
LANE = "download"  # three wide, see `JobSettings.widths`
_ROOM = 64 * 1024**2  # left free on the disk of the workspace
_FACETS = ("site", "layer", "width", "l0")
_CLIENTS = 4  # with typed tokens, of which each keeps what it has listed
_UNFINISHED = frozenset(status for status in JobStatus if not status.is_final)
log = logging.getLogger(__name__)


@checks_arguments
class Hub:
    """The hub as a workspace sees it.

    `text` is everywhere what a person types: ``owner/name``, ``owner/name@revision``, ``owner/name/folder``, a link, or
    a SAELens release. A `token` is kept in the memory of this process only; None leaves it to huggingface_hub
    (``HF_TOKEN``, a saved login).
    """

    NAMED: ClassVar = {"wanted": ("download",)}

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._clients: OrderedDict[str | None, HubClient] = OrderedDict()
        self._lock = threading.Lock()
        self._downloads = _Downloads(workspace, self)
        self._tasks = Tasks(workspace, KIND, self._downloads.run, key=None, ended=self._downloads.ended, is_local=True)
        self.subscribe = self._tasks.subscribe

    def client(self, token: str | None = None) -> HubClient:
        """The client for a token: what one look has listed, the next one need not ask for again. Raises
        `InvalidTokenError` if that cannot be one."""
        from saewidgets.hub.client import HubClient  # the hub's client: a second to import

        token = token or None
        with self._lock:
            if token not in self._clients:
                self._clients[token] = HubClient(token)
            self._clients.move_to_end(token)
            while len(self._clients) > _CLIENTS:
                self._clients.popitem(last=False)
            return self._clients[token]

    def check_token(self, token: str | None) -> None:
        """Raise `InvalidTokenError`, which does not show it, if no access token looks like this. No request is made."""
        from saewidgets.hub.client import checked_token  # the hub's client: a second to import

        checked_token(token)

    def forget(self, token: str) -> None:
        """Let go of the client of a token, with what it has listed."""
        with self._lock:
            self._clients.pop(token, None)

    # ------------------------------------------------------------------------------------------------ look

    def repo_info(self, text: str, token: str | None = None) -> RepoInfo:
        """Facts about a repository: commit, licence, gate, base models, size. Raises `ConfigError` if `text` names
        none, and `HubError`: missing, private, gated, unreachable, …, each a class of its own with the next step."""
        from saewidgets.hub.repository import repo_info  # the hub's client: a second to import

        return repo_info(self._place(text), client=self.client(token))

    def variants(self, text: str, token: str | None = None) -> Records[Variant]:
        """The SAEs of a repository, or of a folder of it. Raises as `repo_info`, and `NoSAEError`, which says what is
        there instead."""
        from saewidgets.hub.browse import variants  # the hub's client: a second to import

        return Records(variants(self._place(text), client=self.client(token)), Variant)

    def facets(self, text: str, token: str | None = None, **chosen: Any) -> dict[str, dict[Any, int]]:
        """Counts of the SAEs of a repository: ``site layer width l0`` → value → how many, under the other choices
        (`chosen`, by the same names). Raises as `variants`."""
        if unknown := [name for name in chosen if name not in _FACETS]:
            raise ConfigError(
                f"SAEs of a repository have no facet {unknown[0]!r}.", where=unknown[0],
                hint=f"Use one of: {', '.join(_FACETS)}.",
            )
        from saewidgets.hub.browse import facets  # the hub's client: a second to import

        return facets(self.variants(text, token), **chosen)

    def preview(
        self,
        text: str,
        path: str = "",
        token: str | None = None,
        device: str | None = None,
        revision: str | None = None,
    ) -> Preview:
        """One SAE before it is downloaded: configuration, dimensions, sizes, warnings. No weights are read.

        Args:
            path: its folder in the repository (`Variant.path`); ``""``: the one that `text` names.
            device: where it is to be used; warns if its memory does not suffice.
            revision: branch, tag or commit, where `text` does not name it.

        Raises:
            ConfigError: several SAEs fit, the message lists them; or there is no such device.
            NoSAEError, HubError, FormatError: as `variants`, and a damaged or unknown configuration.
        """
        from saewidgets.hub.browse import preview  # the hub's client: a second to import

        self.check_device(device)
        return preview(self._place(text, path, revision), device=device, client=self.client(token))

    def check_device(self, device: str | None, *, where: str = "device") -> None:
        """Raise `ConfigError`, which lists this machine's devices, if `device` is not one of them. None means any.
        `where` is what the person calls the setting."""
        if device in (None, "cpu"):
            return
        known = [str(found["id"]) for found in self._workspace.devices()]
        if device not in known and not (device == "cuda" and "cuda:0" in known):
            raise ConfigError(
                f"This machine has no device {device!r}.", where=where, hint=f"Use one of: {', '.join(known)}."
            )

    def known(self) -> Records[KnownRepo]:
        """Public repositories with SAEs to start from, as they ship with this package."""
        return Records(known_repos(), KnownRepo)

    def account(self, token: str | None = None) -> str | None:
        """The name that the token (or the saved login) belongs to; None if there is none or the hub does not say."""
        return self.client(token).account()

    def refresh(self, text: str | None = None) -> None:
        """Forget all listings, so that the next look asks the hub again."""
        with self._lock:
            clients = list(self._clients.values())
        for client in clients:
            client.refresh()

    # ------------------------------------------------------------------------------------------------ download

    def download(
        self,
        text: str,
        path: str = "",
        revision: str | None = None,
        token: str | None = None,
        name: str | None = None,
        *,
        apply_b_dec_to_input: bool | None = None,
    ) -> Job:
        """Bring one SAE into the library, as a job; returns once it is known what will be fetched.

        Three downloads run at once, the rest queue. A paused, failed or interrupted one goes on where it stopped, in
        whichever process resumes it. The job's result is the id of the SAE; an SAE that is in the library already is
        the result at once. A download that has not ended is not started twice: its job is returned, resumed if it was
        paused or its process has ended. Such a one whose process has ended is left alone where `name` is another.

        Args:
            name: what to call the SAE; None makes a name of repository and folder.
            apply_b_dec_to_input: whether b_dec is subtracted from the input, where the files leave it open.

        Raises:
            ConfigError: several SAEs fit; the message lists them. Or `apply_b_dec_to_input` is what the files say.
            NoSAEError, HubError: as `variants`.
        """
        payload = {**self._plan(text, path, revision, token, name), "token_given": token is not None}
        if apply_b_dec_to_input is not None:
            from saewidgets.formats import registry  # torch: seconds to import

            payload |= registry.get(payload["format"]).answers(apply_b_dec_to_input)
        self._workspace.manager.sweep(fresh=True)  # one whose process was killed a moment ago still reads "running"
        running = self._begun(payload, name)
        if running is not None:
            if running.status in (JobStatus.PAUSED, JobStatus.INTERRUPTED):
                return self.resume(running.id, token)
            self._downloads.hold(running.id, token)
            return self._workspace.manager.handle(running.id)
        return self._tasks.start(payload, LANE, lambda job_id: self._downloads.hold(job_id, token))

    def resume(self, job_id: Ref, token: str | None = None) -> Job:
        """Go on with a download that was paused or failed, with a token if it needs one again. Raises `NotFoundError`,
        and `StateError` if it has completed."""
        record = self._workspace.manager.get(job_id)
        if record.kind != KIND:
            raise NotFoundError(f"{job_id!r} is not a download.", hint="List them with ws.hub.downloads().")
        self._downloads.hold(job_id, token, ended_before=record.finished_at)
        try:
            self._workspace.manager.resume(job_id)
        except BaseException:
            if record.status.is_final:
                self._downloads.drop(job_id)
            raise
        return self._workspace.manager.handle(job_id)

    def downloads(self, *, unfinished: bool = False) -> Records[JobRecord]:
        """Downloads of all processes, newest first; `payload` says of what (see `hub_records`)."""
        return self._workspace.manager.list(kind=KIND, status=_UNFINISHED if unfinished else None)

    def find_download(self, wanted: Ref) -> Job:
        """The download with this id, of this name, or whose id begins so: ``job_`` and at least four characters more.
        Raises `NotFoundError`, which lists those that fit where several do."""
        return self._workspace.manager.handle(wanted)

    # ------------------------------------------------------------------------------------------------ inside

    def _place(self, text: str, path: str = "", revision: str | None = None) -> Any:
        if revision is not None:
            arguments.whole_text(revision, "revision")
        place = parse_reference(text, "text")
        if path := path.strip("/"):  # this one, whether or not the release that `text` may name has it
            return HubReference(place.repo_id, revision or place.revision, path)
        return replace(place, revision=revision or place.revision)

    def _plan(
        self, text: str, path: str, revision: str | None, token: str | None, name: str | None
    ) -> Mapping[str, Any]:
        # The hub's client: a second to import.
        from saewidgets.hub.cache import to_rows
        from saewidgets.hub.transfer import plan_download

        wanted = None if name is None else arguments.name(name, "a name for the SAE")
        plan = plan_download(self._place(text, path, revision), client=self.client(token))
        variant, info = plan.variant, plan.listing.info
        model = trained_on(plan.repo_id, info.base_models)
        return {
            "repo_id": plan.repo_id, "revision": plan.revision, "path": plan.path, "format": plan.format,
            "name": wanted or default_name(plan.repo_id, plan.path, variant),
            "total_bytes": plan.total_bytes, "partials": list(plan.partials), "asked": plan.listing.branch,
            "files": to_rows(plan.files),
            "model": one_name(model) if model else model,
            "layer": variant.layer if variant else None, "license": info.license,
            "facts": _facts(variant),
        }  # fmt: skip

    def _begun(self, payload: Mapping[str, Any], name: str | None) -> JobRecord | None:
        """The job that brings the same already, or was about to when its process ended: the newest that has not."""
        keys = ("repo_id", "revision", "path")
        begun = self._workspace.manager.list(kind=KIND, status=_UNFINISHED | {JobStatus.INTERRUPTED})
        same = [job for job in begun if all(job.payload.get(key) == payload[key] for key in keys)]
        going = [job for job in same if job.status is not JobStatus.INTERRUPTED]
        named = [job for job in same if name is None or job.payload.get("name") == payload["name"]]
        return next(iter(going + named), None)


@dataclass(frozen=True, slots=True)
class _JobToken:
    """An access token, and when its job had ended before it was given."""

    token: str = field(repr=False)
    ended_before: float | None = None


class _Downloads:
    """Does the jobs of downloads. Access tokens are kept in the memory of this process and nowhere else, while a job is
    queued, runs or is paused; one that has ended, well or not, needs it again when it is tried again."""

    def __init__(self, workspace: Workspace, hub: Hub) -> None:
        self._workspace, self._hub = workspace, hub
        self._held: dict[str, _JobToken] = {}
        self._lock = threading.Lock()
        self._partials: dict[str, tuple[str, ...]] = {}  # job id → unfinished files on this machine

    def hold(self, job_id: str, token: str | None, *, ended_before: float | None = None) -> None:
        """Keep the token of a job until it ends, but for news of its former end, which may still be under way."""
        if token is not None:
            with self._lock:
                self._held[job_id] = _JobToken(token, ended_before)

    def drop(self, job_id: str) -> None:
        """Forget the token of a job, and the client that was made for it unless another job has the same one."""
        with self._lock:
            held = self._held.pop(job_id, None)
            shared = held is not None and any(other.token == held.token for other in self._held.values())
        if held is not None and not shared:
            self._hub.forget(held.token)

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
        from saewidgets.hub.transfer import discard  # the hub's client: a second to import

        try:
            if self._workspace.catalog.jobs.get(job.id).status is JobStatus.CANCELLED:  # not resumed since
                discard(self._unneeded(job))
        except SAEWidgetsError as error:
            log.warning("The partial files of a cancelled download could not be removed: %s", error)

    # ------------------------------------------------------------------------------------------------ inside

    def _unneeded(self, job: JobRecord) -> set[str]:
        found = set(self._partials.get(job.id, ())) or set(job.payload.get("partials") or ())
        for other in self._workspace.catalog.jobs.list(kind=KIND, status=_UNFINISHED | {JobStatus.INTERRUPTED}):
            if other.id != job.id and found:
                found -= {*self._partials.get(other.id, ()), *(other.payload.get("partials") or ())}
        return found

    def run(self, context: JobContext, ids: Sequence[str], held: UserModel | None) -> str:
        payload = context.payload
        context.control.check()
        where = payload["repo_id"], payload["revision"], payload["path"]
        existing = self._workspace.catalog.saes.by_download(*where)
        if existing is not None and existing.state == "ok":
            context.emit(LogLine(f"{existing.name} is in the library already."))
            return existing.id
        if existing is not None:
            require_files(self._workspace, existing)
        context.emit(Progress(0, int(payload.get("total_bytes") or 0), "bytes", phase="looking"))
        found = self._download(context)
        total, origin = found.total_bytes, _origin_of(payload, found.format)
        context.emit(Progress(total, total, "bytes", phase="converting"))
        # One whose files were lost gets them back and keeps its name, notes and tags.
        record = take_in(self._workspace, found.location, origin, instead=existing, check=context.control.check)
        if reason := record.metadata.get("origin", {}).get("kept"):
            context.emit(LogLine(f"Kept in its own format, {record.format}: {reason}"))
        context.emit(Progress(total, total, "bytes", phase="done"))
        return record.id

    def _download(self, context: JobContext) -> Downloaded:
        # The hub's client: a second to import.
        from saewidgets.hub.cache import from_rows
        from saewidgets.hub.transfer import download

        job_id, payload = context.job_id, context.payload
        place = HubReference(payload["repo_id"], payload["revision"], payload["path"])
        listing = from_rows(place.repo_id, payload["revision"], place.path, payload.get("files"))
        with self._lock:
            token = held.token if (held := self._held.get(job_id)) is not None else None
        client = self._hub.client(token)

        def planned(plan: Any) -> None:
            self._partials[job_id] = tuple(plan.partials)
            # The library's copy; on the disk of the cache, beside what is fetched.
            folder, cache = self._workspace.folder, client.cache_dir
            shared = cache.exists() and folder.exists() and cache.stat().st_dev == folder.stat().st_dev
            need = plan.total_bytes + (plan.missing_bytes if shared else 0) + _ROOM
            require_space(folder, need, "the library", "Free some space, or choose a narrower width.")

        try:
            return download(
                place, client=client, emit_progress=context.emit, check=context.control.check, on_plan=planned,
                branch=payload.get("asked"), listing=listing, format=str(payload.get("format") or ""),
            )  # fmt: skip
        except (GatedRepositoryError, InvalidTokenError, RepositoryNotFoundError) as error:
            if token is None and payload.get("token_given"):
                error.hint = (
                    "It was started with an access token, which is never stored. Start the download again with the "
                    "token, or sign in with `hf auth login` and resume it."
                )
            raise


def _origin_of(payload: Any, format: str) -> FileOrigin:
    repo_id, path = str(payload["repo_id"]), str(payload["path"])
    scope = repo_id.startswith("google/gemma-scope") or format in ("gemma_scope", "gemma_scope_2")
    place = f"{repo_id}@{payload['revision']}" + (f"/{path}" if path else "")
    return FileOrigin(
        source="gemma_scope" if scope else "huggingface", where=place, name=str(payload["name"]),
        card_model=payload.get("model"), layer=payload.get("layer"), repo_id=repo_id,
        revision=str(payload["revision"]), repo_path=path, facts=payload.get("facts") or {},
        license=payload.get("license"), apply_b_dec_to_input=payload.get("apply_b_dec_to_input"),
    )  # fmt: skip


def default_name(repo_id: str, path: str, variant: Variant | None = None) -> str:
    """``gemma-scope-2b-pt-res-l12-16k-l0-82``; else the repository's name and the folder's."""
    repo = repo_id.partition("/")[2]
    if variant is not None and variant.layer is not None and variant.width and variant.l0 is not None:
        return f"{repo}-l{variant.layer}-{variant.width}-l0-{variant.l0:g}"[:MAX_NAME]
    folder = re.sub(r"\.(pt|pth|npz|safetensors)$", "", path).replace("/", "-")
    return (f"{repo}-{folder}" if folder else repo)[:MAX_NAME]


def _facts(variant: Variant | None) -> dict[str, Any]:
    if variant is None:
        return {}
    found = {"site": variant.site, "width": variant.width, "l0": variant.l0, "canonical": variant.canonical or None}
    return {key: value for key, value in found.items() if value is not None}
