"""What an SAE browser shows: one page of the library, the filters, the selection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from saewidgets.errors import NotFoundError
from saewidgets.render.labels import FORMATS, WRITTEN_FORMATS, name_of
from saewidgets.widgets.messages.saes import Choice, SaeBrowserState, SaeChanges, SaeQuery, SelectedSae
from saewidgets.widgets.model import Model
from saewidgets.widgets.sae_browser.cards import card_of, facets_of, selected_of

if TYPE_CHECKING:
    from saewidgets.workspace import Workspace

PAGE = 50  # cards; a page of them is some 30 kB of state
_FILTERS = ("source", "model", "layer", "architecture", "format", "search")


class BrowserModel(Model[SaeBrowserState]):
    """The state of one browser over one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        formats = tuple(Choice(value=name, label=name_of(FORMATS, name)) for name in WRITTEN_FORMATS)
        super().__init__(workspace, SaeBrowserState(page_size=PAGE, export_formats=formats))

    # --------------------------------------------------------------------------------------------- input

    def browse(self, changes: SaeChanges) -> None:
        """Show other SAEs. Any change but one of `offset` goes back to the first page."""
        first = {"offset": 0} if set(changes) - {"offset"} else {}
        with self._lock:
            self._ask(self._state.query.model_copy(update={**first, **changes}))
            self._put({"revealed": None})

    def _ask(self, query: SaeQuery) -> None:
        self._put({"query": query})
        self._changed = True

    @property
    def selected(self) -> tuple[str, ...]:
        return tuple(sae.id for sae in self._state.selected)

    def select(self, sae_ids: Iterable[str]) -> None:
        """Check exactly these; what does not exist (any more) is left out."""
        known = {sae.id: sae for sae in self._state.selected}
        found = (known.get(sae_id) or self._look_up(sae_id) for sae_id in dict.fromkeys(sae_ids))
        chosen = tuple(sae for sae in found if sae is not None)
        with self._lock:
            self._put({"selected": chosen})

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
            self._ask(SaeQuery(offset=offset))

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
            self.below = ""
            self._put({"revealed": sae_id})
        self.reveal(sae_id)

    def _read(self) -> None:
        query = self._state.query
        saes = self.workspace.saes
        filters = {name: value for name in _FILTERS if (value := getattr(query, name)) not in (None, "")}
        facets = saes.facets(**filters)
        matching, matching_bytes = saes.count(**filters)
        total = saes.count()[0] if filters else matching
        offset = min(query.offset, (max(0, matching - 1) // PAGE) * PAGE)
        records = saes.list(**filters, sort=query.sort, limit=PAGE, offset=offset)
        shown = {record.id: record for record in records}
        now = {i: selected_of(shown[i]) if i in shown else self._look_up(i) for i in self.selected}
        with self._lock:
            if self._state.query is query and offset != query.offset:  # the last page became empty
                self._put({"query": query.model_copy(update={"offset": offset})})
            checked = (now.get(sae.id, sae) for sae in self._state.selected)
            self._put(
                {
                    "selected": tuple(sae for sae in checked if sae is not None), "cards": tuple(map(card_of, records)),
                    "matching": matching, "matching_bytes": matching_bytes, "total": total,
                    "facets": facets_of(facets, query),
                }
            )  # fmt: skip

    def _shown(self) -> dict[str, Any]:
        return {"below": self.below}
