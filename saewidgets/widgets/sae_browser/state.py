"""What an SAE browser shows: one page of the library, the filters, the selection. No widgets, no threads.

Methods may be called from any thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from saewidgets.errors import NotFoundError
from saewidgets.records import SAERecord
from saewidgets.render.labels import FORMATS, WRITTEN_FORMATS, name_of
from saewidgets.widgets.messages.saes import BrowseSaes, Choice, SaeBrowserState, SaeQuery, SelectedSae
from saewidgets.widgets.messages.wire import Note
from saewidgets.widgets.sae_browser.cards import card_of, facets_of, selected_of

Below = Literal["download", "extractions", "steering"]
"""A widget that stands below the header, in place of the list."""

PAGE = 50  # cards; a page of them is some 30 kB of state
_FILTERS = ("source", "model", "layer", "architecture", "format", "search")
_REST = 40  # a read that nobody asked for waits this many times as long as the last one took


class Library(Protocol):
    """What the browser asks of `Workspace.saes`."""

    def list(self, **query: Any) -> Sequence[SAERecord]: ...
    def count(self, **filters: Any) -> tuple[int, int]: ...
    def facets(self, **filters: Any) -> Mapping[str, Mapping[Any, int]]: ...
    def get(self, sae_id: str) -> SAERecord: ...
    def config(self, sae_id: str) -> Mapping[str, Any]: ...
    def folder_of(self, record: SAERecord) -> Path: ...
    def statistics(self, sae_id: str) -> Mapping[str, Any]: ...
    def load_code(self, sae_id: str) -> Mapping[str, str]: ...
    def update(self, sae_id: str, **changes: Any) -> SAERecord: ...
    def add_local(self, path: str, **about: Any) -> SAERecord: ...
    def add_upload(self, files: Mapping[str, Any], **about: Any) -> SAERecord: ...
    def export(self, sae_id: str, dest: Any, format: str) -> Path: ...
    def compare(self, a: str, b: str, top: int) -> Any: ...
    def locate(self, sae_id: str, path: str) -> SAERecord: ...
    def delete(self, sae_id: str) -> Any: ...


class SaeWorkspace(Protocol):
    """What the browser asks of a `Workspace`."""

    @property
    def label(self) -> str: ...
    @property
    def notice(self) -> str | None: ...
    @property
    def folder(self) -> Path: ...
    @property
    def saes(self) -> Library: ...
    @property
    def trainings(self) -> Any: ...
    @property
    def extractions(self) -> Any: ...
    def subscribe_saes(self, callback: Callable[..., None]) -> Callable[[], None]: ...


class BrowserModel:
    """The state of one browser over one workspace."""

    def __init__(self, workspace: SaeWorkspace) -> None:
        self.workspace = workspace
        self._lock = threading.RLock()
        self._reading = threading.Lock()
        self._query = SaeQuery()
        self._selected: dict[str, SelectedSae] = {}
        self._shown: Below | None = None
        self._revealed: str | None = None
        self._notice: Note | None = None
        self._changed = True
        self._read_at, self._cost = float("-inf"), 0.0
        formats = tuple(Choice(value=name, label=name_of(FORMATS, name)) for name in WRITTEN_FORMATS)
        self._state = SaeBrowserState(workspace=workspace.label, page_size=PAGE, export_formats=formats)

    # --------------------------------------------------------------------------------------------- input

    def mark_changed(self) -> None:
        """The library may be another one. Nothing is read yet."""
        with self._lock:
            self._changed = True

    def browse(self, command: BrowseSaes) -> None:
        """Show other SAEs: the fields that the page sent change, the others stay."""
        changes = {name: getattr(command, name) for name in command.model_fields_set if name in SaeQuery.model_fields}
        if set(changes) - {"offset"}:
            changes.setdefault("offset", 0)
        with self._lock:
            self._query = self._query.model_copy(update=changes)
            self._revealed = None
            self._changed = True

    @property
    def selected(self) -> tuple[str, ...]:
        """Ids of the checked SAEs, in the order in which they were checked."""
        with self._lock:
            return tuple(self._selected)

    def select(self, sae_ids: Iterable[str]) -> None:
        """Check exactly these; what does not exist (any more) is left out."""
        with self._lock:
            known = dict(self._selected)
        found = {}
        for sae_id in dict.fromkeys(sae_ids):
            chosen = known.get(sae_id) or self._look_up(sae_id)
            if chosen is not None:
                found[sae_id] = chosen
        with self._lock:
            self._selected = found

    def _look_up(self, sae_id: str) -> SelectedSae | None:
        try:
            return selected_of(self.workspace.saes.get(sae_id))
        except NotFoundError:
            return None

    def reveal(self, sae_id: str) -> None:
        """Show an SAE that was just added: without filters and newest first, unless it can be seen as it is."""
        self.mark_changed()
        self.read()
        with self._lock:
            if any(card.id == sae_id for card in self._state.cards):
                return
        offset = self._page_of(sae_id)
        with self._lock:
            self._query = SaeQuery(offset=offset)
            self._changed = True

    def _page_of(self, sae_id: str) -> int:
        """Where the page begins on which an SAE is when nothing is filtered; 0 if it is gone."""
        offset = 0
        while page := self.workspace.saes.list(sort=SaeQuery().sort, limit=PAGE, offset=offset):
            if any(record.id == sae_id for record in page):
                return offset
            offset += PAGE
        return 0

    def show(self, sae_id: str) -> None:
        """Check it alone, bring it into view and open its details, in place of whatever is below the list."""
        self.select([sae_id])
        with self._lock:
            self._shown = None
            self._revealed = sae_id
        self.reveal(sae_id)

    def show_below(self, what: Below, shown: bool) -> None:
        """Open or close one of the widgets below the list; opening one closes the others."""
        with self._lock:
            if shown:
                self._shown = what
            elif self._shown == what:
                self._shown = None

    @property
    def shown_below(self) -> Below | None:
        with self._lock:
            return self._shown

    def set_notice(self, notice: Note | None) -> None:
        with self._lock:
            self._notice = notice

    # --------------------------------------------------------------------------------------------- reading

    @property
    def may_look_again(self) -> bool:
        """A look that nobody asked for would cost little: the last one is long enough ago for what it took."""
        with self._lock:
            return time.monotonic() - self._read_at >= max(1.0, _REST * self._cost)

    def read(self) -> None:
        """Bring the page of cards up to date, if anything may have changed."""
        with self._reading:
            with self._lock:
                if not self._changed:
                    return
                self._changed = False
                query = self._query
            started = time.monotonic()
            try:
                self._read(query)
            except BaseException:
                self.mark_changed()  # nothing is known of what failed: read again next time
                raise
            with self._lock:
                self._read_at, self._cost = time.monotonic(), time.monotonic() - started

    def _read(self, query: SaeQuery) -> None:
        saes = self.workspace.saes
        filters = {name: value for name in _FILTERS if (value := getattr(query, name)) not in (None, "")}
        facets = saes.facets(**filters)
        matching, matching_bytes = saes.count(**filters)
        total = saes.count()[0] if filters else matching
        offset = min(query.offset, (max(0, matching - 1) // PAGE) * PAGE)
        records = saes.list(**filters, sort=query.sort, limit=PAGE, offset=offset)
        found = self._still_there(records)
        with self._lock:
            if self._query is query and offset != query.offset:  # the last page became empty
                self._query = query.model_copy(update={"offset": offset})
            now = {i: found.get(i, chosen) for i, chosen in self._selected.items()}
            self._selected = {i: chosen for i, chosen in now.items() if chosen is not None}
            cards = tuple(card_of(record) for record in records)
            self._put(
                {
                    "cards": cards,
                    "matching": matching,
                    "matching_bytes": matching_bytes,
                    "total": total,
                    "facets": facets_of(facets, query),
                }
            )

    def _still_there(self, records: Sequence[SAERecord]) -> dict[str, SelectedSae | None]:
        """The checked SAEs as they are now; None for those that are gone."""
        shown = {record.id: record for record in records}
        with self._lock:
            checked = list(self._selected)
        return {i: selected_of(shown[i]) if i in shown else self._look_up(i) for i in checked}

    # --------------------------------------------------------------------------------------------- output

    def state(self) -> SaeBrowserState:
        """The newest state; `revision` is higher than before exactly when something is different."""
        with self._lock:
            return self._put({})

    def _put(self, changes: dict[str, Any]) -> SaeBrowserState:
        new = self._state.model_copy(
            update={
                "workspace": self.workspace.label,
                "query": self._query,
                "selected": tuple(self._selected.values()),
                "download_shown": self._shown == "download",
                "extractions_shown": self._shown == "extractions",
                "steering_shown": self._shown == "steering",
                "revealed": self._revealed,
                "notice": self._notice,
                **changes,
            }
        )
        if new != self._state:
            self._state = new.model_copy(update={"revision": self._state.revision + 1, "updated_at": time.time()})
        return self._state
