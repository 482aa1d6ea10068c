"""Defines `DownloadCommands`, the commands of the download widget: each is one call of the workspace."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr

from saewidgets.errors import NotFoundError, SAEWidgetsError, StateError
from saewidgets.events import JobStatus
from saewidgets.hub_records import Preview, RepoInfo, Variant
from saewidgets.widgets.commands import HubCommands, command, with_token
from saewidgets.widgets.download import state
from saewidgets.widgets.messages import hub as messages

JobIds = dict[Literal["job_ids"], list[str]]


class DownloadCommands(HubCommands):
    """See `Commands`."""

    _model: state.DownloadModel

    def __init__(self, widget: Any) -> None:
        super().__init__(widget)
        self._hub = self._workspace.hub
        self._account_asked = False  # since the token changed

    def _with_token(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a method of the hub with the access token."""
        return with_token(self._model.token, call, *args, **kwargs)

    @command
    def hub_token(self, token: SecretStr | None = None) -> None:
        """Keep an access token in memory, or forget it; what cannot be one is refused, and the one kept stays."""
        text = token.get_secret_value() if token is not None else None
        self._hub.check_token(text)
        self._account_asked = False
        self._model.keep_token(text)
        self._wake()

    @command
    def hub_known(self) -> messages.HubKnownData:
        known = self._hub.known()
        return messages.HubKnownData(repositories=tuple(known), releases=state.releases_of(known))

    @command
    def hub_list(
        self,
        text: Annotated[str, Field(max_length=2000)] = "",
        release: Annotated[str, Field(max_length=200)] = "",
        again: bool = False,
    ) -> Future[messages.HubListing]:
        """What is in a repository or a release; `again`: ask the hub, also where the answer is known from before."""
        if not self._account_asked:
            self._account_asked = True
            self._ask(self._account)  # its answer shows in the state
        if release:
            found = next((r for r in state.releases_of(self._hub.known()) if r.id == release), None)
            if found is None:
                raise NotFoundError(f"There is no Gemma Scope release {release!r}.")
            return self._ask(lambda: self._list_release(found, again))
        name = text.strip()
        if not name:
            raise SAEWidgetsError(
                "No repository is named.", hint="Enter owner/name, or choose one of the known repositories."
            )
        return self._ask(lambda: self._list_repository(name, again))

    def _account(self) -> None:
        token = self._model.token
        self._model.set_account(self._with_token(self._hub.account), token)
        self._wake()

    def _list_repository(self, text: str, again: bool) -> messages.HubListing:
        try:
            if again:
                self._hub.refresh(text)
            info = self._with_token(self._hub.repo_info, text)
            variants = self._with_token(self._hub.variants, text)
        except SAEWidgetsError as error:
            return self._listing([], [], [state.problem_of(error, text, self._hub.known())])
        problems = [] if variants else [state.nothing_found(text, info.repo_id, self._hub.known())]
        return self._listing([info], variants, problems, path=state.asked_path(text, variants))

    def _list_release(self, release: messages.Release, again: bool) -> messages.HubListing:
        """All repositories of a release at once; what cannot be listed is named, the others are shown."""
        if again:
            self._hub.refresh()
        variants: list[Variant] = []
        problems: list[messages.Problem] = []
        with ThreadPoolExecutor(len(release.repo_ids), thread_name_prefix="saewidgets-release") as pool:
            asked = [(repo, pool.submit(self._with_token, self._hub.variants, repo)) for repo in release.repo_ids]
            for repo_id, future in asked:
                try:
                    variants.extend(future.result())
                except SAEWidgetsError as error:
                    problems.append(state.problem_of(error, repo_id, ()))
        return self._listing([], variants, problems, base_models=(release.model,) if release.model else ())

    def _listing(
        self,
        repos: Sequence[RepoInfo],
        variants: Sequence[Variant],
        problems: Sequence[messages.Problem],
        path: str = "",
        base_models: tuple[str, ...] = (),
    ) -> messages.HubListing:
        """A listing; repositories of `variants` that are not in `repos` are added, with `base_models`."""
        place = {(repo.repo_id, repo.revision): at for at, repo in enumerate(repos)}
        for each in variants:
            place.setdefault((each.repo_id, each.revision), len(place))
        added = [RepoInfo(repo_id=r, revision=v, base_models=base_models) for r, v in list(place)[len(repos) :]]
        rows = tuple(messages.VariantRow.of(each, repo=place[(each.repo_id, each.revision)]) for each in variants)
        return messages.HubListing(
            listing=self._model.keep_listing(rows),
            repositories=(*repos, *added),
            total=len(rows),
            rows=rows[:messages.PAGE],
            path=path,
            problems=(*([state.CACHED_ONLY] if any(one.from_cache for one in variants) else []), *problems),
        )

    @command
    def hub_rows(
        self,
        listing: int,
        offset: Annotated[int, Field(ge=0)],
        limit: Annotated[int, Field(ge=1, le=messages.PAGE)] = messages.PAGE,
    ) -> tuple[messages.VariantRow, ...]:
        rows = self._model.rows(listing)
        if rows is None:
            raise StateError("Other repositories were listed since.", hint="Press Preview again.")
        return rows[offset : offset + limit]

    @command
    def hub_preview(
        self, sae: messages.ListedSae, device: Annotated[str, Field(max_length=40)] = "", again: bool = False
    ) -> Future[Preview]:
        """One SAE without its weights, as it would be loaded on `device`; "" leaves that open."""
        return self._ask(lambda: self._preview(sae, device, again))

    def _preview(self, sae: messages.ListedSae, device: str, again: bool) -> Preview:
        text = f"{sae.repo_id}@{sae.revision}"
        if again:
            self._hub.refresh(text)
        return state.shown_preview(self._with_token(self._hub.preview, text, sae.path, device=device or None))

    @command
    def hub_download(
        self,
        saes: Annotated[tuple[messages.ListedSae, ...], Field(min_length=1, max_length=500)],
        apply_b_dec_to_input: bool | None = None,
    ) -> Future[JobIds]:
        """Start downloads. `apply_b_dec_to_input` counts where the files leave it open."""
        return self._ask(lambda: self._download(saes, apply_b_dec_to_input))

    def _download(self, saes: Sequence[messages.ListedSae], answer: bool | None) -> JobIds:
        started: list[str] = []
        given: Any = {} if answer is None else {"apply_b_dec_to_input": answer}
        for sae in saes:
            try:
                job = self._with_token(self._hub.download, sae.repo_id, sae.path, revision=sae.revision, **given)
            except SAEWidgetsError as error:
                self._changed()
                if not started:
                    raise
                raise SAEWidgetsError(
                    f"{state.download_name(sae.repo_id, sae.path)} was not started: {error.what}",
                    where=error.where,
                    hint=f"{len(started)} of {len(saes)} downloads were started. {error.hint or ''}".strip(),
                ) from error
            started.append(job.id)
        self._changed()
        return {"job_ids": started}

    @command
    def hub_action(
        self, action: messages.DownloadAction, job_ids: Annotated[tuple[str, ...], Field(min_length=1)]
    ) -> JobIds:
        """Do something to downloads; `clear` takes ended ones off the list."""
        for job_id in job_ids:
            self._act(action, job_id)
        self._changed()
        return {"job_ids": list(job_ids)}

    def _act(self, action: str, job_id: str) -> None:
        job = self._model.workspace.jobs.get(job_id)
        if action == "clear" or (action == "cancel" and job.status is JobStatus.FAILED):
            if not job.status.is_final or job.status is JobStatus.INTERRUPTED:
                raise StateError("It has not ended yet.", where=job_id, hint="Cancel it first.")
            self._model.cleared.add(job_id)
        elif action in ("resume", "retry"):
            self._model.cleared.discard(job_id)
            self._with_token(self._hub.resume, job_id)
        else:
            {"pause": job.pause, "cancel": job.cancel}[action]()

    @command
    def hub_open(self, sae_id: str) -> None:
        if self._widget.on_open is None:
            raise StateError("Nothing here shows an SAE.", hint="Open it with sw.SAEBrowser(ws).")
        self._widget.on_open(sae_id)
