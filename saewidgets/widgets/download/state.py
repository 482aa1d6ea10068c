"""What a download widget shows: the downloads of the workspace, devices, the token. No widgets, no threads.

What was found on the hub belongs to the page that asked and is not kept here, except the newest listings, whose rows
travel in pages. Methods may be called from any thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from saewidgets.events import JobStatus
from saewidgets.hub_records import KnownRepo, Preview, RepoInfo, Variant
from saewidgets.records import JobRecord
from saewidgets.widgets.devices import DeviceReader
from saewidgets.widgets.download.words import card_of
from saewidgets.widgets.messages.hub import HubState, VariantRow
from saewidgets.widgets.messages.wire import Note

RECENT = 24 * 3600.0  # seconds; what ended well before that is not listed: it is in the library
MOST = 100  # cards
LISTINGS = 8  # whose rows are kept, for several pages that show one widget


class Hub(Protocol):
    """What the widget asks of `Workspace.hub`."""

    def repo_info(self, text: str, token: str | None = None) -> RepoInfo: ...
    def variants(self, text: str, token: str | None = None) -> Sequence[Variant]: ...
    def preview(
        self, text: str, path: str = "", token: str | None = None, device: str | None = None
    ) -> Preview: ...
    def download(
        self, text: str, path: str = "", revision: str | None = None, token: str | None = None
    ) -> Any: ...
    def resume(self, job_id: str, token: str | None = None) -> Any: ...
    def downloads(self) -> Sequence[JobRecord]: ...
    def known(self) -> Sequence[KnownRepo]: ...
    def check_token(self, token: str | None) -> None: ...
    def account(self, token: str | None = None) -> str | None: ...
    def refresh(self, text: str | None = None) -> None: ...


class Jobs(Protocol):
    """What the widget asks of `Workspace.jobs`."""

    def get(self, job_id: str) -> Any: ...


class WorkspaceLike(Protocol):
    """What the widget asks of a `Workspace`."""

    @property
    def label(self) -> str: ...
    @property
    def notice(self) -> str | None: ...
    @property
    def hub(self) -> Hub: ...
    @property
    def jobs(self) -> Jobs: ...
    def devices(self) -> Sequence[Mapping[str, Any]]: ...
    def subscribe_saes(self, callback: Callable[..., None]) -> Callable[[], None]: ...


class DownloadModel(DeviceReader):
    """The state of one download widget over one workspace.

    Args:
        repository: what the box for a repository starts with.
        can_open: somebody shows a downloaded SAE when asked.
        embedded: it stands inside another widget.
    """

    def __init__(
        self, workspace: WorkspaceLike, *, repository: str = "", can_open: bool = False, embedded: bool = False
    ) -> None:
        super().__init__(workspace)
        self.workspace = workspace
        self._token: str | None = None
        self._records: tuple[JobRecord, ...] = ()
        self._cleared: set[str] = set()
        self._notice: Note | None = None
        self._listing = 0
        self._rows: dict[int, tuple[VariantRow, ...]] = {}
        self._state = HubState(
            workspace=workspace.label, repository=repository, can_open=can_open, embedded=embedded
        )
        self._known: int | None = None
        self._account: str | None = None
        self._account_asked = False

    # --------------------------------------------------------------------------------------------- the token

    @property
    def token(self) -> str | None:
        """The access token that was typed in; None leaves it to the hub client's own rules."""
        with self._lock:
            return self._token

    def keep_token(self, token: str | None) -> None:
        """Hold `token` in memory, for this widget only; None or blank forgets it."""
        with self._lock:
            self._token = token.strip() or None if token else None
            self._account, self._account_asked = None, False

    @property
    def account_asked(self) -> bool:
        """Whose account it is was asked since the token changed."""
        with self._lock:
            return self._account_asked

    def read_account(self) -> None:
        """Ask the hub, once per token, whose account it is. None where there is none, or the hub does not say."""
        with self._lock:
            token, asked, self._account_asked = self._token, self._account_asked, True
        if asked:
            return
        name = self.workspace.hub.account(token)
        with self._lock:
            if token == self._token:
                self._account = name

    # --------------------------------------------------------------------------------------------- reading

    def read(self) -> None:
        """Bring the downloads up to date."""
        records = tuple(self.workspace.hub.downloads())
        with self._lock:
            self._records = records

    def read_known(self) -> None:
        """Count the known repositories, once: the table ships with the package, but a second of imports precedes it."""
        if self._known is None:
            self._known = len(self.workspace.hub.known())

    def devices_failed(self) -> None:
        """They could not be listed: there is nothing to choose from, until they can be."""
        self._keep_devices(())

    def set_notice(self, notice: Note | None) -> None:
        with self._lock:
            self._notice = notice

    # --------------------------------------------------------------------------------------------- downloads

    @property
    def downloads(self) -> tuple[JobRecord, ...]:
        """What is listed, newest first."""
        with self._lock:
            records, cleared = self._records, set(self._cleared)
        old = time.time() - RECENT
        listed = [r for r in records if r.id not in cleared and not _is_over(r, old)]
        return tuple(sorted(listed, key=lambda record: record.created_at, reverse=True)[:MOST])

    def record(self, job_id: str) -> JobRecord | None:
        """The record as last read."""
        with self._lock:
            return next((record for record in self._records if record.id == job_id), None)

    def clear(self, job_ids: Iterable[str]) -> None:
        """Take ended downloads off the list of this widget."""
        with self._lock:
            self._cleared.update(job_ids)

    def list_again(self, job_id: str) -> None:
        """It goes on: show it again."""
        with self._lock:
            self._cleared.discard(job_id)

    # --------------------------------------------------------------------------------------------- listings

    def keep_listing(self, rows: tuple[VariantRow, ...]) -> int:
        """Keep the rows of a new listing, and those of the few before it; its number."""
        with self._lock:
            self._listing += 1
            self._rows[self._listing] = rows
            self._rows.pop(self._listing - LISTINGS, None)
            return self._listing

    def rows(self, listing: int) -> tuple[VariantRow, ...] | None:
        """The rows of a listing; None when newer ones took its place."""
        with self._lock:
            return self._rows.get(listing)

    # --------------------------------------------------------------------------------------------- output

    def state(self) -> HubState:
        """The newest state; `revision` is higher than before exactly when something is different."""
        cards = tuple(card_of(record) for record in self.downloads)
        with self._lock:
            new = self._state.model_copy(
                update={
                    "workspace": self.workspace.label,
                    "downloads": cards,
                    "devices": self.devices,
                    "known": self._known or 0,
                    "has_token": self._token is not None,
                    "account": self._account,
                    "notice": self._notice,
                }
            )
            if new != self._state:
                self._state = new.model_copy(update={"revision": self._state.revision + 1, "updated_at": time.time()})
            return self._state


def _is_over(record: JobRecord, before: float) -> bool:
    """It ended as somebody wanted, long ago."""
    ended = record.status in (JobStatus.COMPLETED, JobStatus.CANCELLED, JobStatus.STOPPED)
    return ended and (record.finished_at or record.created_at) < before
