"""What the extraction viewer does with features: list them, open one, read text with the model, label, export."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError, StateError
from saewidgets.feature_records import ExtractionRecord, LogitsRecord
from saewidgets.widgets.base import BUFFER_LIMIT, Table
from saewidgets.widgets.extraction_viewer.feature_pages import (
    PIECE_LENGTH,
    effect_histogram,
    example_context,
    feature_page,
    notes_of,
    prompt_reading,
    related,
    row_of,
    text_reading,
)
from saewidgets.widgets.extraction_viewer.feature_source import Indices, check_index
from saewidgets.widgets.extraction_viewer.state import ViewerModel
from saewidgets.widgets.messages.effects import LossEffectData, ReadLossEffect
from saewidgets.widgets.messages.features import (
    EditFeature,
    ExpandExample,
    ExportFeatures,
    FeatureLogits,
    FeatureLogitsData,
    FeatureNotes,
    FeaturePlace,
    FeatureRelations,
    FeatureRelationsData,
    FeatureRows,
    ImportLabels,
    LabelFeatures,
    OpenFeature,
    QueryFeatures,
    ReadPrompt,
    RelatedFeature,
    SteerFeature,
    StepFeature,
    Suggestion,
    SuggestLabel,
    TestText,
    TokenLogit,
)
from saewidgets.widgets.messages.wire import Note
from saewidgets.widgets.page_words import in_page_words
from saewidgets.widgets.paths import path_from
from saewidgets.widgets.shown import code_of
from saewidgets.widgets.values import finite, shorten

DENSE = 0.01  # share of the tokens: as in `features/store/query.py`
NEAR = 16  # tokens on either side of an example whose activations are kept: as in `features/store/layout.py`


class FeatureCommands:
    """Handlers of one viewer; see `ViewerCommands`."""

    def __init__(self, model: ViewerModel, wake: Callable[[], None], steer: Callable[[str, int], object]) -> None:
        self._model = model
        self._source = model.source
        self._wake = wake
        self._steer = steer
        self._random = random.Random()  # its own: a person's seeds stay as they are

    # --------------------------------------------------------------------------------------------- the list

    def query(self, command: QueryFeatures) -> FeatureRows:
        record = self._source.readable(command.extraction_id)
        order = self._source.order(record, command.query)
        found = self._source.rows(record, order[command.offset : command.offset + command.limit])
        return FeatureRows(
            matching=len(order),
            offset=command.offset,
            max_density=finite(float(np.max(self._source.store(record).density, initial=0.0))) or 0.0,
            rows=tuple(map(row_of, found)),
        )

    def step(self, command: StepFeature) -> FeaturePlace:
        record = self._source.readable(command.extraction_id)
        check_index(record, command.index)
        order = self._source.order(record, command.query)
        at = np.flatnonzero(order == command.index)
        row = int(at[0]) if len(at) else None
        if command.step == "here":
            return FeaturePlace(index=command.index, row=row)
        if command.step in ("previous", "next"):
            return _place(order, _neighbour(order, row, command))
        live = np.flatnonzero(np.asarray(self._source.store(record).fired)[order] > 0)
        if command.step == "random":
            others = live[order[live] != command.index]
            return _place(order, int(self._random.choice(others)) if len(others) else None)
        after = live[live > (row if row is not None else -1)]
        if row is None and command.query.sort == "index":
            after = live[order[live] > command.index] if not command.query.descending else live[
                order[live] < command.index
            ]
        return _place(order, int(after[0]) if len(after) else None)

    # --------------------------------------------------------------------------------------------- one feature

    def open(self, command: OpenFeature) -> Table:
        return self.page(command.extraction_id, command.index)

    def page(self, extraction_id: str, index: int) -> Table:
        """A `FeaturePage` with its buffer."""
        record = self._source.readable(extraction_id)
        feature = self._source.feature(record, index)
        data = self._source.data(record, index)
        return feature_page(record, self._source.store(record).manifest, data, feature, self.link(record, index))

    def link(self, record: ExtractionRecord, index: int) -> str:
        """Code that shows this feature again."""
        code = code_of(self._model.workspace)
        where = f"{code}, " if code else ""
        view = {"extraction_id": record.id, "feature": index}
        return f"import saewidgets as sw\n\nsw.ExtractionViewer({where}view={view!r})"

    def logits(self, command: FeatureLogits) -> FeatureLogitsData:
        record = self._source.readable(command.extraction_id)
        try:
            found = self._source.logits(record, command.index)
        except ConfigError as error:
            if error.where == "index":
                raise
            # this SAE has none: said in their place, the page is good for the rest
            return FeatureLogitsData(index=command.index, problem=_note(error))
        except (NotFoundError, StateError) as error:  # the model is not here
            return FeatureLogitsData(index=command.index, problem=_note(error))
        return FeatureLogitsData(
            index=command.index, raises=_effects(found.raises), lowers=_effects(found.lowers),
            histogram=effect_histogram(found.counts, found.edges),
            problem=_noted(found),
        )  # fmt: skip

    def loss_effect(self, command: ReadLossEffect) -> LossEffectData:
        record = self._source.readable(command.extraction_id)
        token = {"position": command.position} if command.text is None else {
            "text": command.text, "token": command.token,
        }  # fmt: skip
        try:
            effect, loss = self._source.loss_effect(record, command.index, **token)
        except SAEWidgetsError as error:  # the model is not here, nothing follows the token: said on the card
            return LossEffectData(index=command.index, problem=_note(error))
        return LossEffectData(index=command.index, effect=finite(effect), loss=finite(loss))

    def relations(self, command: FeatureRelations) -> FeatureRelationsData:
        record = self._source.readable(command.extraction_id)
        together, sampled = self._source.coactive(record, command.index)
        problem: Note | None = None
        similar: tuple[RelatedFeature, ...] = ()
        try:
            similar = tuple(map(related, self._source.similar(record, command.index)))
        except SAEWidgetsError as error:  # its weights are not here: what the extraction knows is shown all the same
            problem = _note(error)
        note = f"of {sampled:,} sampled firing{'s' * (sampled != 1)}" if sampled else "No sampled token fired it."
        return FeatureRelationsData(
            index=command.index, similar=similar, coactive=tuple(map(related, together)), sampled=sampled, note=note,
            problem=problem,
        )  # fmt: skip

    # --------------------------------------------------------------------------------------------- text

    def expand(self, command: ExpandExample) -> Table:
        record = self._source.readable(command.extraction_id)
        found = self._source.context(record, command.index, command.position)
        peak, values = int(found.peak or 0), np.array(found.activations, dtype=np.float32)
        if not found.complete:
            far = np.abs(np.arange(len(values)) - peak) > NEAR
            values[far & (values == 0)] = np.nan  # not known, which is not the same as silent
        return example_context(
            command.position, peak, found.pieces, values, complete=bool(found.complete), note=shorten(found.note, 500)
        )

    def test_text(self, command: TestText) -> Table:
        record = self._source.readable(command.extraction_id)
        found = self._source.on_text(record, command.index, _some_text(command.text))
        return text_reading(
            command.index, found.pieces, found.activations, seconds=found.seconds, note=shorten(found.note, 500)
        )

    def read_prompt(self, command: ReadPrompt) -> Table:
        record = self._source.readable(command.extraction_id)
        found = self._source.run_on(record, _some_text(command.text))
        indices, values = np.asarray(found.indices), found.activations
        order = found.ranked(command.rank_by, command.token)
        keep = np.ones(len(indices), dtype=bool)
        if command.hide_dense and len(indices):
            keep = np.asarray(self._source.store(record).density)[indices] <= DENSE
        most = min(command.limit, BUFFER_LIMIT // (4 * max(1, len(found.pieces))))
        order = [int(at) for at in order if keep[at]][:most]
        rows = self._source.rows(record, indices[order]) if order else []
        return prompt_reading(
            found.pieces, [(row, values[at]) for row, at in zip(rows, order, strict=True)], firing=len(indices),
            hidden=int((~keep).sum()), note=shorten(found.note, 500),
        )  # fmt: skip

    # --------------------------------------------------------------------------------------------- what people say

    def edit(self, command: EditFeature) -> FeatureNotes:
        record = self._source.record(command.extraction_id)
        check_index(record, command.index)
        if command.label is not None or command.description is not None:
            self._label(record, command)
        if command.notes is not None:
            self._source.note(record, command.index, command.notes)
        if command.starred is not None:
            self._source.star(record, command.index, command.starred)
        self._said()
        return notes_of(self._source.feature(record, command.index))

    def _label(self, record: ExtractionRecord, command: EditFeature) -> None:
        labels = self._source.feature(record, command.index).labels
        own = next((label for label in labels if label.source == "user"), None)
        text = own.text if command.label is None and own is not None else (command.label or "")
        text = " ".join(text.split())
        if not text and command.label is None:
            raise ConfigError(
                "A description belongs to a label of your own.", where="label", hint="Write a label, then save both."
            )
        before = own.description if own is not None else ""
        self._source.label(record, command.index, text, before if command.description is None else command.description)

    def suggest(self, command: SuggestLabel) -> Suggestion:
        record = self._source.readable(command.extraction_id)
        found = self._source.suggest(record, command.index)
        return Suggestion(
            index=command.index, text=shorten(found.text, 1000), by=shorten(found.model, 200),
            note=shorten(found.description, 500),
        )  # fmt: skip

    def label_all(self, command: LabelFeatures) -> dict[str, int]:
        labelled, skipped = self._source.label_all(self._source.readable(command.extraction_id))
        self._said()
        return {"labelled": labelled, "skipped": skipped}

    def import_labels(self, command: ImportLabels) -> dict[str, int]:
        record = self._source.record(command.extraction_id)
        imported, skipped = self._source.import_labels(record, str(path_from(command.path)))
        self._said()
        return {"imported": imported, "skipped": skipped}

    def export(self, command: ExportFeatures) -> dict[str, Any]:
        record = self._source.readable(command.extraction_id)
        path = path_from(command.path)
        indices: list[int] | None = None
        if command.indices is not None:
            for index in command.indices:
                check_index(record, index)
            indices = list(command.indices)
        elif command.query is not None:
            indices = [int(i) for i in self._source.order(record, command.query)]
        if indices is not None and not indices:
            raise ConfigError("No feature matches: there is nothing to export.", hint="Clear the filters.")
        written = self._source.export(record, command.what, path, indices)
        return {"path": str(written), "size_bytes": _size_of(written)}

    def steer(self, command: SteerFeature) -> None:
        record = self._source.record(command.extraction_id)
        check_index(record, command.index)
        if record.sae_id is None:
            raise StateError(
                f"{record.name} is not in the library yet.", hint="Press Import to SAEs in the training panel first."
            )
        self._steer(record.sae_id, command.index)

    def _said(self) -> None:
        self._model.mark_changed()
        self._wake()


def _neighbour(order: Indices, row: int | None, command: StepFeature) -> int | None:
    """The row before or after; of a feature that is not in the list where it would stand, as far as that is known."""
    forward = command.step == "next"
    if row is None:
        if command.query.sort == "index":
            keys = -order if command.query.descending else order
            place = int(np.searchsorted(keys, -command.index if command.query.descending else command.index))
            found = place if forward else place - 1
        else:
            found = 0 if forward else len(order) - 1
    else:
        found = row + 1 if forward else row - 1
    return found if 0 <= found < len(order) else None


def _place(order: Indices, row: int | None) -> FeaturePlace:
    return FeaturePlace(index=None if row is None else int(order[row]), row=row)


def _some_text(text: str) -> str:
    if not text.strip():
        raise ConfigError("There is no text.", where="text", hint="Type or paste some.")
    return text


def _effects(pairs: Sequence[Any]) -> tuple[TokenLogit, ...]:
    return tuple(
        TokenLogit(token=shorten(str(text), PIECE_LENGTH), logit=finite(float(value)) or 0.0) for text, value in pairs
    )


def _noted(found: LogitsRecord) -> Note | None:
    if not found.note:
        return None
    hint = None if found.counts else "How all other tokens change needs the model."
    return Note(what=shorten(found.note, 500), hint=hint)


def _note(error: SAEWidgetsError) -> Note:
    error = in_page_words(error)
    return Note(what=error.what, where=error.where, hint=error.hint)


def _size_of(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
