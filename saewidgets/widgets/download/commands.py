"""What the download widget does when a button is pressed: each command is one call of the workspace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from saewidgets.errors import NotFoundError, SAEWidgetsError, StateError
from saewidgets.events import JobStatus
from saewidgets.hub_records import Variant
from saewidgets.widgets.base import Handler
from saewidgets.widgets.download.lookups import Lookups
from saewidgets.widgets.download.state import DownloadModel
from saewidgets.widgets.download.words import (
    asked_path,
    cached_only,
    download_name,
    known_row,
    nothing_found,
    preview_data,
    problem_of,
    releases_of,
    repo_data,
    scrubbed,
    variant_rows,
)
from saewidgets.widgets.messages.hub import (
    PAGE,
    HubAction,
    HubDownload,
    HubKnown,
    HubKnownData,
    HubList,
    HubListing,
    HubOpen,
    HubPreview,
    HubPreviewData,
    HubRows,
    HubRowsData,
    HubState,
    HubToken,
    Problem,
    Release,
    RepoData,
)
from saewidgets.widgets.messages.wire import Command, Refresh

ENDED = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELLED})


class DownloadCommands:
    """Handlers of one widget. They run on worker threads and write no trait; what waits for the hub does so elsewhere.

    Args:
        model: the widget's state.
        lookups: where listings and previews run.
        wake: asks the publisher thread to show what changed.
        opener: shows an SAE of the library; None if nobody does.
    """

    def __init__(
        self,
        model: DownloadModel,
        lookups: Lookups,
        wake: Callable[[], None],
        opener: Callable[[str], object] | None = None,
    ) -> None:
        self._model = model
        self._hub = model.workspace.hub
        self._lookups = lookups
        self._wake = wake
        self._opener = opener

    def table(self) -> dict[type[Command], Handler]:
        """Message class → handler."""
        handlers: dict[type[Command], Handler] = {
            Refresh: self.refresh,
            HubKnown: self.known,
            HubToken: self.keep_token,
            HubList: self.list,
            HubRows: self.rows,
            HubPreview: self.preview,
            HubDownload: self.download,
            HubAction: self.act,
            HubOpen: self.open,
        }
        return {message: self._masked(do) for message, do in handlers.items()}

    def _masked(self, do: Callable[..., Any]) -> Callable[..., Any]:
        """`do`, whose errors never show the access token: they are logged and sent to the page."""

        def masked(*arguments: Any) -> Any:
            token = self._model.token
            try:
                return do(*arguments)
            except Exception as error:
                clean = scrubbed(error, token)
                if clean is error:
                    raise
            raise clean  # outside of the handler: the error it replaces is not part of it

        return masked

    def _ask(self, kind: str, do: Callable[[], Any]) -> Future[Any]:
        return self._lookups.ask(kind, self._masked(do))

    # --------------------------------------------------------------------------------------------- state

    def refresh(self, command: Refresh) -> HubState | None:
        """The page pulls: downloads of other processes and pages that miss updates are covered by this."""
        self._model.read()
        state = self._model.state()
        self._wake()
        return state if state.revision > command.revision else None

    def keep_token(self, command: HubToken) -> None:
        """What cannot be a token is refused here, not at the next look; the one that is kept stays."""
        token = command.token.get_secret_value() if command.token is not None else None
        self._hub.check_token(token)
        self._model.keep_token(token)
        self._wake()

    def known(self, command: HubKnown) -> HubKnownData:
        known = list(self._hub.known())
        return HubKnownData(repositories=tuple(known_row(repo) for repo in known), releases=releases_of(known))

    # --------------------------------------------------------------------------------------------- looking

    def list(self, command: HubList) -> Future[HubListing]:
        if not self._model.account_asked:
            self._ask("account", self._account)  # its answer shows in the state
        if command.release:
            release = next((r for r in releases_of(self._hub.known()) if r.id == command.release), None)
            if release is None:
                raise NotFoundError(f"There is no Gemma Scope release {command.release!r}.")
            found = release
            return self._ask(f"list {command.asker}", lambda: self._list_release(found, command.again))
        text = command.text.strip()
        if not text:
            raise SAEWidgetsError(
                "No repository is named.", hint="Enter owner/name, or choose one of the known repositories."
            )
        return self._ask(f"list {command.asker}", lambda: self._list_repository(text, command.again))

    def _account(self) -> None:
        self._model.read_account()
        self._wake()

    def _list_repository(self, text: str, again: bool) -> HubListing:
        token = self._model.token
        try:
            if again:
                self._hub.refresh(text)
            info = self._hub.repo_info(text, token=token)
            variants = list(self._hub.variants(text, token=token))
        except SAEWidgetsError as error:
            problem = problem_of(_clean(error, token), text, self._hub.known())
            return self._listing(text, "", [], [], [problem])
        repo = repo_data(info)
        if not variants:
            return self._listing(text, "", [repo], [], [nothing_found(text, repo.repo_id, self._hub.known())])
        return self._listing(text, "", [repo], variants, [])

    def _list_release(self, release: Release, again: bool) -> HubListing:
        """All repositories of a release at once; what cannot be listed is named, the others are shown."""
        token = self._model.token
        if again:
            self._hub.refresh()
        repos: list[RepoData] = []
        variants: list[Variant] = []
        problems: list[Problem] = []
        with ThreadPoolExecutor(len(release.repo_ids), thread_name_prefix="saewidgets-release") as pool:
            asked = [(repo, pool.submit(self._hub.variants, repo, token=token)) for repo in release.repo_ids]
            for repo_id, future in asked:
                try:
                    found = list(future.result())
                except SAEWidgetsError as error:
                    problems.append(problem_of(_clean(error, token), repo_id, ()))
                    continue
                variants.extend(found)
                base = (release.model,) if release.model else ()
                repos.extend(RepoData(repo_id=r, revision=v, base_models=base) for r, v in _revisions(found))
        return self._listing("", release.id, repos, variants, problems)

    def _listing(
        self,
        text: str,
        release: str,
        repos: Sequence[RepoData],
        variants: Sequence[Variant],
        problems: Sequence[Problem],
    ) -> HubListing:
        repos = [*repos, *_repos_not_in(repos, variants)]
        rows = variant_rows(variants, repos)
        return HubListing(
            listing=self._model.keep_listing(rows),
            text=text,
            release=release,
            repositories=tuple(repos),
            total=len(rows),
            rows=rows[:PAGE],
            path=asked_path(text, variants) if text else "",
            problems=(*([cached_only()] if any(one.from_cache for one in variants) else []), *problems),
        )

    def rows(self, command: HubRows) -> HubRowsData:
        rows = self._model.rows(command.listing)
        if rows is None:
            raise StateError("Other repositories were listed since.", hint="Press Preview again.")
        page = rows[command.offset : command.offset + command.limit]
        return HubRowsData(listing=command.listing, offset=command.offset, rows=page)

    def preview(self, command: HubPreview) -> Future[HubPreviewData]:
        return self._ask(f"preview {command.asker}", lambda: self._preview(command))

    def _preview(self, command: HubPreview) -> HubPreviewData:
        sae, device = command.sae, command.device
        text = f"{sae.repo_id}@{sae.revision}"
        if command.again:
            self._hub.refresh(text)
        found = self._hub.preview(text, sae.path, token=self._model.token, device=device or None)
        return preview_data(sae, device, found)

    # --------------------------------------------------------------------------------------------- downloading

    def download(self, command: HubDownload) -> Future[dict[str, Sequence[str]]]:
        # A kind of its own: a newer press starts other downloads, it does not replace these.
        return self._ask(f"download {command.id}", lambda: self._download(command))

    def _download(self, command: HubDownload) -> dict[str, Sequence[str]]:
        started: list[str] = []
        answer = command.apply_b_dec_to_input
        given = {} if answer is None else {"apply_b_dec_to_input": answer}
        for sae in command.saes:
            try:
                job = self._hub.download(
                    sae.repo_id, sae.path, revision=sae.revision, token=self._model.token, **given
                )
            except SAEWidgetsError as error:
                self._wake()
                if not started:
                    raise
                raise SAEWidgetsError(
                    f"{download_name(sae.repo_id, sae.path)} was not started: {error.what}",
                    where=error.where,
                    hint=f"{len(started)} of {len(command.saes)} downloads were started. {error.hint or ''}".strip(),
                ) from error
            started.append(job.id)
        self._wake()
        return {"job_ids": started}

    def act(self, command: HubAction) -> dict[str, Sequence[str]]:
        for job_id in command.job_ids:
            self._act(command.action, job_id)
        self._model.read()
        self._wake()
        return {"job_ids": list(command.job_ids)}

    def _act(self, action: str, job_id: str) -> None:
        job = self._model.workspace.jobs.get(job_id)
        if action == "clear" or (action == "cancel" and job.status is JobStatus.FAILED):
            if job.status not in ENDED:
                raise StateError("It has not ended yet.", where=job_id, hint="Cancel it first.")
            self._model.clear([job_id])
            return
        if action in ("resume", "retry"):
            self._model.list_again(job_id)
            self._hub.resume(job_id, self._model.token)
            return
        {"pause": job.pause, "cancel": job.cancel}[action]()

    def open(self, command: HubOpen) -> None:
        if self._opener is None:
            raise StateError("Nothing here shows an SAE.", hint="Open it with sw.SAEBrowser(ws).")
        self._opener(command.sae_id)


def _clean(error: SAEWidgetsError, token: str | None) -> SAEWidgetsError:
    clean = scrubbed(error, token)
    return clean if isinstance(clean, SAEWidgetsError) else error


def _revisions(variants: Iterable[Variant]) -> list[tuple[str, str]]:
    """Repositories and revisions in the order in which they occur."""
    return list(dict.fromkeys((variant.repo_id, variant.revision) for variant in variants))


def _repos_not_in(repos: Iterable[RepoData], variants: Iterable[Variant]) -> list[RepoData]:
    """Those that variants come from without being in `repos` (the branch moved between two questions)."""
    there = {(repo.repo_id, repo.revision) for repo in repos}
    return [RepoData(repo_id=r, revision=v) for r, v in _revisions(variants) if (r, v) not in there]
