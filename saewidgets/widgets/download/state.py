"""What a download widget shows: the downloads of the workspace, devices, the token.

What was found on the hub belongs to the page that asked and is not kept here, except the newest listings, whose rows
travel in pages.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from saewidgets.events import JobStatus
from saewidgets.records import JobRecord
from saewidgets.widgets.download.words import card_of
from saewidgets.widgets.messages.hub import HubState, VariantRow
from saewidgets.widgets.model import Devices, Model

if TYPE_CHECKING:
    from saewidgets.workspace import Workspace

RECENT = 24 * 3600.0  # seconds; what ended well before that is not listed: it is in the library
MOST = 100  # cards
LISTINGS = 8  # whose rows are kept, for several pages that show one widget


class DownloadModel(Model[HubState]):
    """The state of one download widget over one workspace.

    Args:
        repository: what the box for a repository starts with.
        can_open: somebody shows a downloaded SAE when asked.
        embedded: it stands inside another widget.
    """

    def __init__(
        self, workspace: Workspace, *, repository: str = "", can_open: bool = False, embedded: bool = False
    ) -> None:
        super().__init__(workspace, HubState(repository=repository, can_open=can_open, embedded=embedded))
        self.devices = Devices(workspace)
        self._token: str | None = None
        self._records: tuple[JobRecord, ...] = ()
        self._cleared: set[str] = set()
        self._listing = 0
        self._rows: dict[int, tuple[VariantRow, ...]] = {}
        self._known: int | None = None
        self._account: str | None = None
        self._account_asked = False

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

    def read(self) -> None:
        """Bring the downloads up to date."""
        records = tuple(self.workspace.hub.downloads())
        with self._lock:
            self._records = records

    def read_known(self) -> None:
        """Count the known repositories, once: the table ships with the package, but a second of imports precedes it."""
        if self._known is None:
            self._known = len(self.workspace.hub.known())

    @property
    def downloads(self) -> tuple[JobRecord, ...]:
        """What is listed, newest first."""
        with self._lock:
            records, cleared = self._records, set(self._cleared)
        old = time.time() - RECENT
        listed = [r for r in records if r.id not in cleared and not _is_over(r, old)]
        return tuple(sorted(listed, key=lambda record: record.created_at, reverse=True)[:MOST])

    def clear(self, job_ids: Iterable[str]) -> None:
        """Take ended downloads off the list of this widget."""
        with self._lock:
            self._cleared.update(job_ids)

    def list_again(self, job_id: str) -> None:
        """It goes on: show it again."""
        with self._lock:
            self._cleared.discard(job_id)

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

    def _shown(self) -> dict[str, Any]:
        return {
            "downloads": tuple(card_of(record) for record in self.downloads),
            "devices": self.devices.found,
            "known": self._known or 0,
            "has_token": self._token is not None,
            "account": self._account,
        }


def _is_over(record: JobRecord, before: float) -> bool:
    """It ended as somebody wanted, long ago."""
    ended = record.status in (JobStatus.COMPLETED, JobStatus.CANCELLED, JobStatus.STOPPED)
    return ended and (record.finished_at or record.created_at) < before
