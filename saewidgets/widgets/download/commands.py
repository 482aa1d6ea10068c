"""What the page of the download widget can ask for: each command is one call of the workspace."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr

from saewidgets.errors import NotFoundError, SAEWidgetsError, StateError
from saewidgets.events import JobStatus
from saewidgets.hub_records import Variant
from saewidgets.widgets.commands import Commands, command
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
    Chosen,
    DownloadAction,
    HubKnownData,
    HubListing,
    HubPreviewData,
    HubRowsData,
    Problem,
    Release,
    RepoData,
)

ENDED = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELLED})
Asker = Annotated[str, Field(max_length=60)]  # one place of one page
JobIds = dict[Literal["job_ids"], list[str]]


class DownloadCommands(Commands):
    """What waits for the hub does so on threads of its own.

    Args:
        model: the widget's state.
        wake: asks the publisher thread to show what changed.
        lookups: where listings and previews run.
        opener: shows an SAE of the library; None if nobody does.
    """

    _model: DownloadModel

    def __init__(
        self,
        model: DownloadModel,
        wake: Callable[[], None],
        lookups: Lookups,
        opener: Callable[[str], object] | None = None,
    ) -> None:
        super().__init__(model, wake)
        self._hub = model.workspace.hub
        self._lookups = lookups
        self._opener = opener
        self._presses = itertools.count()

    def run(self, kind: str, arguments: dict[str, Any]) -> Any:
        """Do a command. Its errors, which are logged and sent to the page, never show the access token."""
        return self._masked(lambda: super(DownloadCommands, self).run(kind, arguments))

    def _masked(self, do: Callable[[], Any]) -> Any:
        token = self._model.token
        try:
            return do()
        except Exception as error:
            clean = scrubbed(error, token)
            if clean is error:
                raise
        raise clean  # outside of the handler: the error it replaces is not part of it

    def _ask(self, kind: str, do: Callable[[], Any]) -> Future[Any]:
        return self._lookups.ask(kind, lambda: self._masked(do))

    @command
    def hub_token(self, token: SecretStr | None = None) -> None:
        """Keep an access token in memory for this widget, or forget it (None).

        What cannot be a token is refused here, not at the next look; the one that is kept stays.
        """
        text = token.get_secret_value() if token is not None else None
        self._hub.check_token(text)
        self._model.keep_token(text)
        self._wake()

    @command
    def hub_known(self) -> HubKnownData:
        """Where to start."""
        known = list(self._hub.known())
        return HubKnownData(repositories=tuple(known_row(repo) for repo in known), releases=releases_of(known))

    # --------------------------------------------------------------------------------------------- looking

    @command
    def hub_list(
        self,
        text: Annotated[str, Field(max_length=2000)] = "",
        release: Annotated[str, Field(max_length=200)] = "",
        again: bool = False,
        asker: Asker = "",
    ) -> Future[HubListing]:
        """What is in a repository, or (`release`) in all repositories of a Gemma Scope release.

        A newer call of the same asker ends an older one with a failure. `again`: ask the hub, also where the answer is
        known from before.
        """
        if not self._model.account_asked:
            self._ask("account", self._account)  # its answer shows in the state
        if release:
            found = next((r for r in releases_of(self._hub.known()) if r.id == release), None)
            if found is None:
                raise NotFoundError(f"There is no Gemma Scope release {release!r}.")
            return self._ask(f"list {asker}", lambda: self._list_release(found, again))
        name = text.strip()
        if not name:
            raise SAEWidgetsError(
                "No repository is named.", hint="Enter owner/name, or choose one of the known repositories."
            )
        return self._ask(f"list {asker}", lambda: self._list_repository(name, again))

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

    @command
    def hub_rows(
        self,
        listing: int,
        offset: Annotated[int, Field(ge=0)],
        limit: Annotated[int, Field(ge=1, le=PAGE)] = PAGE,
    ) -> HubRowsData:
        """More rows of a recent listing."""
        rows = self._model.rows(listing)
        if rows is None:
            raise StateError("Other repositories were listed since.", hint="Press Preview again.")
        return HubRowsData(listing=listing, offset=offset, rows=rows[offset : offset + limit])

    @command
    def hub_preview(
        self, sae: Chosen, device: Annotated[str, Field(max_length=40)] = "", again: bool = False, asker: Asker = ""
    ) -> Future[HubPreviewData]:
        """One SAE without its weights, as it would be loaded on `device`; "" leaves that open.

        `again` and `asker` as in `hub_list`.
        """
        return self._ask(f"preview {asker}", lambda: self._preview(sae, device, again))

    def _preview(self, sae: Chosen, device: str, again: bool) -> HubPreviewData:
        text = f"{sae.repo_id}@{sae.revision}"
        if again:
            self._hub.refresh(text)
        found = self._hub.preview(text, sae.path, token=self._model.token, device=device or None)
        return preview_data(sae, device, found)

    # --------------------------------------------------------------------------------------------- downloading

    @command
    def hub_download(
        self,
        saes: Annotated[tuple[Chosen, ...], Field(min_length=1, max_length=500)],
        apply_b_dec_to_input: bool | None = None,
    ) -> Future[JobIds]:
        """Start downloads. `apply_b_dec_to_input` counts where the files leave it open."""
        # Not "download": a newer press starts other downloads, it does not replace these.
        return self._ask(f"download {next(self._presses)}", lambda: self._download(saes, apply_b_dec_to_input))

    def _download(self, saes: Sequence[Chosen], answer: bool | None) -> JobIds:
        started: list[str] = []
        given: Any = {} if answer is None else {"apply_b_dec_to_input": answer}
        for sae in saes:
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
                    hint=f"{len(started)} of {len(saes)} downloads were started. {error.hint or ''}".strip(),
                ) from error
            started.append(job.id)
        self._wake()
        return {"job_ids": started}

    @command
    def hub_action(
        self, action: DownloadAction, job_ids: Annotated[tuple[str, ...], Field(min_length=1)]
    ) -> JobIds:
        """Do something to downloads; `clear` takes ended ones off the list."""
        for job_id in job_ids:
            self._act(action, job_id)
        self._model.read()
        self._wake()
        return {"job_ids": list(job_ids)}

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

    @command
    def hub_open(self, sae_id: str) -> None:
        """Show a downloaded SAE in the SAE browser."""
        if self._opener is None:
            raise StateError("Nothing here shows an SAE.", hint="Open it with sw.SAEBrowser(ws).")
        self._opener(sae_id)


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
