"""What an extraction viewer shows: the list of extractions, the one that is open, the view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from saewidgets.errors import ConfigError, SAEWidgetsError, StateError
from saewidgets.feature_records import ExtractionRecord
from saewidgets.widgets.extraction_viewer.cards import card_of, is_active, open_of
from saewidgets.widgets.messages.features import OpenExtraction, ViewerState, ViewerView
from saewidgets.widgets.messages.wire import Note
from saewidgets.widgets.model import Model, error_note, name_of_workspace

if TYPE_CHECKING:
    from saewidgets.workspace import Workspace

CARDS = 100  # extractions in the state; a card is some 600 bytes


class ViewerModel(Model[ViewerState]):
    """The state of one viewer over one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace, ViewerState(code=name_of_workspace(workspace)))
        self._problem: Note | None = None
        self._said = 0  # changes of labels, stars and notes of what is open
        self._revision: tuple[str, float] | None = None  # of the workspace, when it was read last
        self._opened: tuple[Any, OpenExtraction | None, Note | None] = (None, None, None)  # its key first
        self._was_empty = False  # there was no extraction at the last look

    # --------------------------------------------------------------------------------------------- input

    def record(self, extraction_id: str) -> ExtractionRecord:
        return self.workspace.extractions.get(extraction_id).record

    def readable(self, extraction_id: str) -> ExtractionRecord:
        record = self.record(extraction_id)
        if not record.has_data:
            if record.status.is_final:
                raise StateError(
                    f"The extraction of {record.name} is {record.status.value}: nothing was read.",
                    hint="Start it again.",
                )
            raise StateError(
                f"The extraction of {record.name} is {record.status.value}: there is nothing to read yet.",
                hint="Wait until it has completed.",
            )
        return record

    @property
    def view(self) -> ViewerView:
        return self._state.view

    def show(self, view: ViewerView) -> None:
        """Show something else, if there is such an extraction, feature and SAE."""
        if view.extraction_id is not None:
            record = self.readable(view.extraction_id)
            if view.feature is not None:
                check_index(record, view.feature)
        elif view.feature is not None:
            raise ConfigError(
                "No extraction is open.", where="extraction_id", hint="Name the extraction whose feature it is."
            )
        if view.dialog_sae is not None:
            self.workspace.saes.get(view.dialog_sae)
        with self._lock:
            self._put({"view": view})
            self._changed = True

    def change(self, **changes: Any) -> None:
        """Show the same but for some fields of `ViewerView`; raises as `show`."""
        self.show(self.view.model_copy(update=changes))

    def open_newest(self, sae_id: str | None = None) -> bool:
        """Open the newest extraction that can be read, of this SAE or of any; False if there is none."""
        for record in self.workspace.extractions.list():
            if record.has_data and sae_id in (None, record.sae_id, record.training_id):
                self.change(extraction_id=record.id, feature=None)
                return True
        return False

    def read_list(self) -> None:
        """Bring the list up to date, and nothing else: what is open takes torch, which is seconds to import."""
        with self._reading:
            self._read_list()

    def _read(self) -> None:
        was_empty = self._was_empty
        records = self._read_list()
        wanted = self.view.extraction_id
        record = next((r for r in records if r.id == wanted), None)
        if wanted is None and was_empty:  # what came can perhaps be read at once: the demo, which a script asked for
            record = next((r for r in records if r.has_data), None)
        with self._lock:
            if record is not None and self.view.extraction_id is None:
                self._put({"view": self.view.model_copy(update={"extraction_id": record.id})})
            elif record is None and wanted is not None and self.view.extraction_id == wanted:  # it was deleted
                self._put({"view": self.view.model_copy(update={"extraction_id": None, "feature": None})})
        opened, problem = (None, None) if record is None else self._open(record, records)
        with self._lock:
            self._problem = problem
            self._put({"open": opened})

    def _read_list(self) -> Sequence[ExtractionRecord]:
        extractions = self.workspace.extractions
        records = extractions.list()
        shown = records[:CARDS]
        jobs = extractions.logit_jobs()
        cards = tuple(
            card_of(each, jobs.get(each.id), has_logits=each.has_data and extractions.has_logits(each))
            for each in shown
        )
        n_saes = sum(self.workspace.saes.facets().get("source", {}).values())
        with self._lock:
            self._was_empty = not records
            self._put(
                {
                    "cards": cards,
                    "total": len(records),
                    "active": sum(is_active(record) for record in records),
                    "n_saes": n_saes,
                }
            )
        return records

    def _open(
        self, record: ExtractionRecord, records: Sequence[ExtractionRecord]
    ) -> tuple[OpenExtraction | None, Note | None]:
        """What is open, described again only when something about it is different; or why it cannot be read."""
        features = self.workspace.features
        before, self._revision = self._revision, (record.id, features.revision(record.id))
        if before is not None and before[0] == record.id and before != self._revision:
            self._said += 1  # the page asks again for lists and pages
        versions = tuple(r for r in records if r.has_data and owner_of(r) == owner_of(record))
        key = (record.id, record.n_tokens, record.name, [(r.id, r.other_weights) for r in versions], self._said)
        if self._opened[0] != key:
            try:
                labelled, starred = features.counts(record.id)
                store = self.workspace.extractions.open(record.id)
                note = features.can_read(record.id)
                opened = open_of(record, store.manifest, versions, labelled=labelled, starred=starred, live_note=note)
                self._opened = key, opened, None
            except SAEWidgetsError as error:  # its files are gone or damaged: the list is shown all the same
                self._opened = key, None, error_note(error)
        return self._opened[1], self._opened[2]

    def _shown(self) -> dict[str, Any]:
        return {"below": self.below, "features_revision": self._said, "notice": self._problem or self._notice}


def owner_of(record: ExtractionRecord) -> str:
    """The SAE, or the training that is not in the library."""
    return record.sae_id or record.training_id or ""


def check_index(record: ExtractionRecord, index: int) -> None:
    """Raise `ConfigError` where the SAE has no feature `index`."""
    if not 0 <= index < record.d_sae:
        raise ConfigError(
            f"There is no feature {index}: {record.name} has {record.d_sae:,}.", where="index",
            hint=f"Enter 0 to {record.d_sae - 1}.",
        )


def view_from(data: Any) -> ViewerView:
    """A view from the plain value that `viewer.view` gave. Raises `ConfigError` naming what is wrong."""
    if isinstance(data, ViewerView):
        return data
    if not isinstance(data, Mapping):
        raise ConfigError(
            f"A view is a dictionary, not a {type(data).__name__}.", where="view", hint="Use what `viewer.view` gave."
        )
    try:
        return ViewerView.model_validate(dict(data))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(["view", *(str(part) for part in first["loc"])])
        raise ConfigError(
            f"It does not fit: {first['msg']}.", where=place, hint="Use what `viewer.view` gave."
        ) from None
