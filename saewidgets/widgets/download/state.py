"""What a download widget shows: the downloads of the workspace, devices, whether there is a token.

What was found on the hub belongs to the page that asked and is not kept here, except the rows of the newest listings,
which travel in pages.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
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
    """The state of one download widget over one workspace; `fields` are those of its first state."""

    def __init__(self, workspace: Workspace, **fields: Any) -> None:
        super().__init__(workspace, HubState(**fields))
        self.devices = Devices(workspace)
        self.token: str | None = None  # that was typed in; None leaves it to the hub client's own rules
        self.downloads: tuple[JobRecord, ...] = ()  # what is listed, newest first
        self._cleared: set[str] = set()
        self._numbers = itertools.count(1)
        self._rows: dict[int, tuple[VariantRow, ...]] = {}

    def keep_token(self, token: str | None) -> None:
        """Hold `token` in memory, for this widget only; None or blank forgets it."""
        with self._lock:
            self.token = (token or "").strip() or None
            self._put({"has_token": self.token is not None, "account": None})

    def set_account(self, name: str | None, token: str | None) -> None:
        with self._lock:
            if token == self.token:
                self._put({"account": name})

    def _read(self) -> None:
        records, old = self.workspace.hub.downloads(), time.time() - RECENT
        with self._lock:
            listed = (r for r in records if r.id not in self._cleared and not _is_over(r, old))
            self.downloads = tuple(itertools.islice(listed, MOST))
            self._put({"downloads": tuple(map(card_of, self.downloads))})

    def read_known(self) -> None:
        """Count the known repositories, once: the table ships with the package, but a second of imports precedes it."""
        if not self.state().known:
            known = len(self.workspace.hub.known())
            with self._lock:
                self._put({"known": known})

    def clear(self, job_id: str) -> None:
        self._cleared.add(job_id)

    def list_again(self, job_id: str) -> None:
        self._cleared.discard(job_id)

    def keep_listing(self, rows: Sequence[VariantRow]) -> int:
        """Keep the rows of a new listing, and those of the few before it; its number."""
        with self._lock:
            number = next(self._numbers)
            self._rows[number] = tuple(rows)
            self._rows.pop(number - LISTINGS, None)
            return number

    def rows(self, listing: int) -> tuple[VariantRow, ...] | None:
        """The rows of a listing; None when newer ones took its place."""
        return self._rows.get(listing)

    def _shown(self) -> dict[str, Any]:
        return {"devices": self.devices.found}


def _is_over(record: JobRecord, before: float) -> bool:
    """It ended as somebody wanted, long ago."""
    ended = record.status in (JobStatus.COMPLETED, JobStatus.CANCELLED, JobStatus.STOPPED)
    return ended and (record.finished_at or record.created_at) < before
