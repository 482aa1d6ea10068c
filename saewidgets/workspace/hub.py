"""`ws.hub`: the Hugging Face hub, looked at and downloaded from."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from saewidgets.config import arguments
from saewidgets.config.names import MAX_NAME, one_name
from saewidgets.errors import ConfigError, NotFoundError
from saewidgets.events import JobStatus
from saewidgets.hub_records import KnownRepo, Preview, RepoInfo, Variant
from saewidgets.jobs import Job
from saewidgets.records import JobRecord, Records
from saewidgets.workspace.download_job import KIND, LANE, DownloadRunners
from saewidgets.workspace.handle import Names
from saewidgets.workspace.tasks import Tasks

if TYPE_CHECKING:
    from saewidgets.hub import HubClient
    from saewidgets.workspace.workspace import Workspace

_FACETS = ("site", "layer", "width", "l0")
_CLIENTS = 4  # with typed tokens, of which each keeps what it has listed
_UNFINISHED = frozenset(status for status in JobStatus if not status.is_final)


class _Named:
    """Downloads as rows with a name, for `Names`."""

    def __init__(self, records: Records[JobRecord]) -> None:
        self._rows = [SimpleNamespace(id=record.id, name=record.payload.get("name")) for record in records]

    def get(self, job_id: str) -> SimpleNamespace:
        for row in self._rows:
            if row.id == job_id:
                return row
        raise NotFoundError(f"There is no download {job_id!r}.")

    def list(self) -> list[SimpleNamespace]:
        return self._rows


class Hub:
    """The hub as a workspace sees it.

    `text` is everywhere what a person types: ``owner/name``, ``owner/name@revision``, ``owner/name/folder``, a link, or
    a SAELens release. A `token` is kept in the memory of this process only; None leaves it to huggingface_hub
    (``HF_TOKEN``, a saved login).
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._clients: OrderedDict[str | None, HubClient] = OrderedDict()
        self._lock = threading.Lock()
        self._runners = DownloadRunners(workspace, self)
        self._tasks = Tasks(workspace, KIND, self._runners.run, key=None, ended=self._runners.ended)
        self.subscribe = self._tasks.subscribe

    def client(self, token: str | None = None) -> HubClient:
        """The client for a token: what one look has listed, the next one need not ask for again.

        Raises:
            InvalidTokenError: the token cannot be one.
            ConfigError: it is no text.
        """
        from saewidgets.hub import HubClient  # the hub's client: a second to import

        token = arguments.optional_text(token, "token", "an access token", secret=True) or None
        with self._lock:
            if token not in self._clients:
                self._clients[token] = HubClient(token)
            self._clients.move_to_end(token)
            while len(self._clients) > _CLIENTS:
                self._clients.popitem(last=False)
            return self._clients[token]

    def check_token(self, token: str | None) -> None:
        """Raise `InvalidTokenError`, which does not show it, if no access token looks like this. Nobody is asked."""
        from saewidgets.hub.client import checked_token  # the hub's client: a second to import

        checked_token(arguments.optional_text(token, "token", "an access token", secret=True))

    def forget(self, token: str) -> None:
        """Let go of the client of a token, with what it has listed."""
        arguments.text(token, "token", "an access token", hint="Give the token that was used.", secret=True)
        with self._lock:
            self._clients.pop(token, None)

    # ------------------------------------------------------------------------------------------------ look

    def repo_info(self, text: str, token: str | None = None) -> RepoInfo:
        """What a repository is: commit, licence, gate, base models, size.

        Raises:
            ConfigError: `text` names no repository.
            HubError: missing, private, gated, unreachable, …: each a class of its own with the next step.
        """
        from saewidgets.hub import repo_info  # the hub's client: a second to import

        return repo_info(self._place(text), client=self.client(token))

    def variants(self, text: str, token: str | None = None) -> Records[Variant]:
        """The SAEs of a repository, or of a folder of it.

        Raises:
            NoSAEError: there is none; the message says what is there instead.
            ConfigError, HubError: as `repo_info`.
        """
        from saewidgets.hub import variants  # the hub's client: a second to import

        return Records(variants(self._place(text), client=self.client(token)), Variant)

    def facets(self, text: str, token: str | None = None, **chosen: Any) -> dict[str, dict[Any, int]]:
        """Of the SAEs of a repository: ``site layer width l0`` → value → how many, each under the other choices.

        Args:
            text, token: as in `variants`.
            chosen: ``site``, ``layer``, ``width``, ``l0``.

        Raises:
            ConfigError: there is no such facet.
            NoSAEError, HubError: as `variants`.
        """
        if unknown := [name for name in chosen if name not in _FACETS]:
            raise ConfigError(
                f"SAEs of a repository have no facet {unknown[0]!r}.", where=unknown[0],
                hint=f"Use one of: {', '.join(_FACETS)}.",
            )
        from saewidgets.hub import facets  # the hub's client: a second to import

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
            text, token: as in `variants`.
            path: its folder in the repository (`Variant.path`); ``""``: the one that `text` names.
            device: where it is to be used; warns if its memory does not suffice.
            revision: branch, tag or commit, where `text` does not name it.

        Raises:
            ConfigError: several SAEs fit, the message lists them; or there is no such device.
            NoSAEError, HubError, FormatError: as `variants`, and a damaged or unknown configuration.
        """
        from saewidgets.hub import preview  # the hub's client: a second to import

        self.check_device(device)
        return preview(self._place(text, path, revision), device=device, client=self.client(token))

    def check_device(self, device: str | None, *, where: str = "device") -> None:
        """Raise `ConfigError`, which lists this machine's devices, if `device` is none of them. None stands for any.

        Args:
            where: what the person calls the setting.
        """
        where = arguments.text(where, "where", "what to call the setting")
        if arguments.optional_text(device, where, "a device") in (None, "cpu"):
            return
        known = [str(found["id"]) for found in self._workspace.devices()]
        if device not in known and not (device == "cuda" and "cuda:0" in known):
            raise ConfigError(
                f"This machine has no device {device!r}.", where=where, hint=f"Use one of: {', '.join(known)}."
            )

    def known(self) -> Records[KnownRepo]:
        """Public repositories with SAEs to start from, as they ship with this package."""
        from saewidgets.hub import known_repos  # the hub's client: a second to import

        return Records(known_repos(), KnownRepo)

    def account(self, token: str | None = None) -> str | None:
        """The name that the token (or the saved login) belongs to; None if there is none or the hub does not say."""
        return self.client(token).account()

    def refresh(self, text: str | None = None) -> None:
        """Forget what was listed, so that the next look asks the hub again."""
        arguments.optional_text(text, "text", "a repository of the hub")
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
            text, path, revision, token: as in `preview`.
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
            self._runners.hold(running.id, token)
            return self._workspace.manager.handle(running.id)
        return self._tasks.start(payload, LANE, lambda job_id: self._runners.hold(job_id, token))

    def resume(self, job_id: str, token: str | None = None) -> Job:
        """Go on with a download that was paused or failed, with a token if it needs one again.

        Raises:
            NotFoundError: there is no such download.
            StateError: it has completed.
        """
        record = self._workspace.manager.get(arguments.text(job_id, "job_id", "the id of a download"))
        if record.kind != KIND:
            raise NotFoundError(f"{job_id!r} is no download.", hint="List them with ws.hub.downloads().")
        self._runners.hold(job_id, token, ended_before=record.finished_at)
        try:
            self._workspace.manager.resume(job_id)
        except BaseException:
            if record.status.is_final:
                self._runners.drop(job_id)
            raise
        return self._workspace.manager.handle(job_id)

    def downloads(self, *, unfinished: bool = False) -> Records[JobRecord]:
        """Downloads of all processes, newest first; `payload` says of what (see `hub_records`)."""
        arguments.truth(unfinished, "unfinished", "whether ended downloads are left out")
        return self._workspace.manager.list(kind=KIND, status=_UNFINISHED if unfinished else None)

    def find_download(self, wanted: str) -> Job:
        """The download with this id, of this name, or whose id begins so: ``job_`` and at least four characters more.

        Raises:
            NotFoundError: there is none, or several fit; the message lists them.
            ConfigError: `wanted` is empty.
        """
        listed = "ws.hub.downloads() or `saewidgets hub downloads`"
        names = Names(_Named(self.downloads()), "a download", "downloads", listed, "wanted", "job_")
        return self._workspace.manager.handle(names.find(wanted))

    # ------------------------------------------------------------------------------------------------ inside

    def _place(self, text: str, path: str = "", revision: str | None = None) -> Any:
        from saewidgets.hub import HubReference, parse_reference  # the hub's client: a second to import

        path = arguments.text(path, "path", "the folder of an SAE in its repository")
        revision = arguments.optional_text(revision, "revision", "a branch, tag or commit")
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
        from saewidgets.hub import plan_download
        from saewidgets.hub.cache import to_rows
        from saewidgets.hub.known import trained_on

        wanted = None if name is None else arguments.name(name, "what to call the SAE")
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
        for job in same:
            if job.status is not JobStatus.INTERRUPTED:
                return job
        return next((job for job in same if name is None or job.payload.get("name") == payload["name"]), None)


def default_name(repo_id: str, path: str, variant: Variant | None = None) -> str:
    """``gemma-scope-2b-pt-res-l12-16k-l0-82``; else the repository's name and the folder's."""
    repo = repo_id.partition("/")[2]
    if variant is not None and variant.layer is not None and variant.width and variant.l0 is not None:
        return f"{repo}-l{variant.layer}-{variant.width}-l0-{variant.l0:g}"[:MAX_NAME]
    folder = re.sub(r"\.(pt|pth|npz|safetensors)$", "", path).replace("/", "-")
    return (f"{repo}-{folder}" if folder else repo)[:MAX_NAME]


def _facts(variant: Variant | None) -> dict[str, Any]:
    """What the repository says of the SAE beyond its files."""
    if variant is None:
        return {}
    found = {"site": variant.site, "width": variant.width, "l0": variant.l0, "canonical": variant.canonical or None}
    return {key: value for key, value in found.items() if value is not None}
