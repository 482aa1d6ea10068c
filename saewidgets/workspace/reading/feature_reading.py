"""Defines `View`, an SAE or extraction found by its id, and `FeatureAccess`, the part of `ws.features` that reads:
lists, records, examples, live readings, logit effects and similar features."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.catalog import Origin, split_feature_id
from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError, StateError
from saewidgets.feature_records import (
    ExampleRecord,
    ExtractionRecord,
    FeatureRecord,
    LabelRecord,
    LogitsRecord,
    RelatedRecord,
    check_index,
)
from saewidgets.features.store.query import LatentNote, LatentNotes, find
from saewidgets.jobs import Listeners
from saewidgets.records import Records
from saewidgets.workspace.live import LiveCache, LiveSAE
from saewidgets.workspace.lookup import Ref
from saewidgets.workspace.subjects import KnownSAE, find_subject

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from saewidgets.features.logit_effects import Effects
    from saewidgets.features.store.feature_data import FeatureData
    from saewidgets.features.store.read import FeatureStore
    from saewidgets.steering.steer import LossEffect
    from saewidgets.workspace.reading.token_reading import PromptReading, TextReading
    from saewidgets.workspace.workspace import Workspace

_REMEMBERED = 4  # orders of lists, and labels arranged for them
_OLD = "The SAE has other weights now than those the extraction was made with."


@dataclass(frozen=True, slots=True)
class View:
    """The features of one SAE: whose they are, and the extraction that numbers are taken from, if there is one."""

    origin: Origin
    d_sae: int
    extraction: ExtractionRecord | None
    store: FeatureStore | None

    @property
    def read(self) -> FeatureStore:
        """The store of the extraction. Raises `StateError` if there is none to read."""
        if self.store is None:
            raise StateError(
                "Its features were not extracted yet.", where=self.origin.id,
                hint="Start an extraction: ws.extractions.create(sae_id=…).",
            )
        return self.store

    def note(self, note: str = "") -> str:
        """`note` of a reading, which says where the weights are others than those of the numbers beside it."""
        return f"{note} {_OLD}".strip() if self.extraction is not None and self.extraction.other_weights else note


class FeatureAccess:
    """What of `ws.features` reads."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.rows = workspace.catalog.features
        self.live = LiveCache(workspace)
        self.changes = Listeners()
        self._newest: Any = lru_cache(_REMEMBERED)(lambda origin, d_sae: [(0.0, {}, None)])  # see `_noted`
        self._order = lru_cache(_REMEMBERED)(find)

    def view(self, wanted: Ref | None, *, open_store: bool = True) -> View:
        """The view of an extraction, an SAE or a training. Raises `NotFoundError`, and
        `ConfigError` if nothing was named."""
        if not wanted:
            raise ConfigError("No SAE is named.", where="sae_id", hint="Give sae_id or extraction_id.")
        catalog, extractions = self._workspace.catalog, self._workspace.extractions
        if wanted.startswith("ext_"):
            record = catalog.extractions.get(wanted)
            origin = Origin(record.sae_id, record.training_id)
            return View(origin, record.d_sae, record, extractions.open(record.id) if open_store else None)
        origin = self.rows.origin(wanted)
        latest = extractions.latest(wanted)
        here = latest is not None and open_store and (
            Path(latest.folder).is_dir() or self._workspace.storage.has(latest.folder)
        )
        owner = catalog.saes.get(origin.sae_id) if origin.sae_id else catalog.trainings.get(origin.training_id or "")
        return View(origin, owner.d_sae, latest, extractions.open(latest.id) if latest and here else None)

    def list(
        self,
        *,
        sae_id: Ref | None = None,
        extraction_id: Ref | None = None,
        search: str = "",
        show: str = "all",
        sort: str = "index",
        descending: bool = False,
        offset: int = 0,
        limit: int | None = None,
    ) -> Records[FeatureRecord]:
        """Features that match, in order, as records with ``.to_df()``. Their `labels` are left out: see `get`.

        Args:
            sae_id: an SAE, or a training.
            extraction_id: one of its extractions, instead of the newest.
            search: words in the label, or in one of the top tokens; a number finds the feature of that number, too.
            show: ``all labelled unlabelled starred dead live dense`` (dense: on more than 1 % of the tokens).
            sort: ``index density max label score``; features without a label or score come last.
            descending: the largest first.
        """
        view = self.view(extraction_id or sae_id)
        found = self._find(view, search, show, sort, descending)
        page = found[offset : None if limit is None else offset + limit].tolist()
        return Records(self._records(view, page), FeatureRecord)

    def indices(
        self, wanted: Ref, *, search: str = "", show: str = "all", sort: str = "index", descending: bool = False
    ) -> npt.NDArray[np.int64]:
        """The numbers of all features that match, in order; arguments as of `list`. The last few are remembered."""
        return self._find(self.view(wanted), search, show, sort, descending)

    def records(self, wanted: Ref, indices: Iterable[int]) -> Records[FeatureRecord]:
        """These features, in the order given, without their `labels`. Raises `ConfigError` if the SAE has no such
        feature."""
        view = self.view(wanted)
        return Records(self._records(view, [check_index(index, view.d_sae) for index in indices]), FeatureRecord)

    def get(self, feature_id: Ref, *, extraction_id: Ref | None = None) -> FeatureRecord:
        """One feature with all its labels; numbers are those of the newest extraction, or of the one that is named.
        Raises `NotFoundError`."""
        view, index = self._place(feature_id, extraction_id)
        return self.whole(view, index)

    def feature(self, wanted: Ref, index: int) -> FeatureRecord:
        """The same, by the id of the SAE, training or extraction and the number of the latent."""
        return self.whole(self._latent(wanted, index), index)

    def data(self, extraction_id: Ref, index: int) -> FeatureData:
        """All that an extraction knows of a latent: histogram, examples by intervals, counts. Raises `ConfigError` if
        there is no such latent, and `NotFoundError` if the text that was read is gone."""
        from saewidgets.features.store.feature_data import feature_data  # torch: seconds to import

        return feature_data(self._workspace.extractions.open(extraction_id), index)

    def examples(
        self, feature_id: Ref, *, extraction_id: Ref | None = None, limit: int | None = None
    ) -> Records[ExampleRecord]:
        """Text on which a feature fires: its top examples, then those sampled from intervals of its activations. Raises
        `NotFoundError` if there is no such feature, or it was not extracted."""
        from saewidgets.features.store.feature_data import feature_data  # torch: seconds to import

        view, index = self._place(feature_id, extraction_id)
        found = [
            ExampleRecord(
                tuple(one.pieces), tuple(one.activations.tolist()), one.peak, one.value, kind=group.kind,
                position=one.position, row=one.row, offset=one.offset,
            )
            for group in feature_data(view.read, index).groups for one in group.examples
        ]  # fmt: skip
        return Records(found[:limit], ExampleRecord)

    def evidence(self, label: LabelRecord) -> Records[ExampleRecord]:
        """The few examples that a label was made from; they stay when the extraction is deleted."""
        return Records(self.rows.evidence(label.id), ExampleRecord)

    def counts(self, wanted: Ref) -> tuple[int, int]:
        """How many features have a label, and how many a star."""
        return self.rows.count(self.view(wanted, open_store=False).origin)

    def revision(self, wanted: Ref) -> float:
        """Grows when a label, star or note of the SAE changes, in whichever process."""
        return self.rows.revision(self.view(wanted, open_store=False).origin)

    def whole(self, view: View, index: int) -> FeatureRecord:
        (record,) = self._records(view, [index])
        return replace(record, labels=tuple(self.rows.labels(view.origin, [index])))

    def forget(self, wanted: str) -> None:
        """An SAE, training or extraction was deleted: nothing of it stays in memory."""
        self.live.forget(wanted)
        self._newest.cache_clear()
        self._order.cache_clear()

    def run_on(self, sae_id: Ref, text: str, *, model: Any = None, tokenizer: Any = None) -> PromptReading:
        """Which features fire on a text, token by token.

        The first time loads the model and the SAE; they are kept for a while. It runs between the batches of a job
        that uses the same device. Of more text than the model reads at once the rest is cut, and `note` says so.

        Raises:
            ConfigError: there is no text; or it is not known which model to load.
            StateError: its model was handed in as an object that is no longer in memory.
            NotFoundError, FormatError: files are not here, or damaged.
        """
        from saewidgets.workspace.reading.token_reading import read_all  # torch: seconds to import

        view = self.view(sae_id, open_store=False)
        opened = self.open_live(view, model, tokenizer)
        reading = read_all(self.live, opened, text, self._prepend_bos(view))
        rows = self.rows.list(view.origin, reading.indices.tolist())
        labels = {row.index: row.label for row in rows if row.label}
        return replace(reading, labels=labels, note=view.note(reading.note))

    def on_feature(
        self, wanted: Ref, index: int, text: str, *, model: Any = None, tokenizer: Any = None
    ) -> TextReading:
        """One feature on a text, token by token; arguments and errors as of `run_on`."""
        from saewidgets.workspace.reading.token_reading import read_one  # torch: seconds to import

        view = self._latent(wanted, index, open_store=False)
        opened = self.open_live(view, model, tokenizer)
        reading = read_one(self.live, opened, text, index, self._prepend_bos(view))
        return replace(reading, note=view.note(reading.note))

    def context(self, extraction_id: Ref, index: int, position: int) -> TextReading:
        """The whole context around an example of a feature, whose peak has this stream position. Without its model
        (`complete` is false) activations are those near it. Raises `ConfigError` if there is no such position."""
        from saewidgets.workspace.reading.token_reading import read_context  # torch: seconds to import

        view = self._latent(extraction_id, index)
        reading = read_context(self.live, lambda: self.open_live(view), view.read, index, position)
        return replace(reading, note=view.note(reading.note)) if reading.complete else reading

    def loss_effect(
        self, wanted: Ref, index: int, *, position: int | None = None, text: str | None = None, token: int | None = None
    ) -> LossEffect:
        """What a feature adds to the model's loss on the token after one: the loss as it is minus the loss with the
        feature ablated at that one token (the rest of the hidden state stays). Negative: it helps. Loads the model.

        The token is that of a `position` in the stream of text that its extraction has read, or one of a `text`, by its
        number without BOS. Returns ``.effect`` and ``.loss``, in nats. Raises as `run_on`, and `ConfigError` if there
        is no such token, or nothing follows it that counts.
        """
        # Torch: seconds to import.
        from saewidgets.workspace.reading.token_reading import loss_at, place_in, place_on

        view = self._latent(wanted, index, open_store=position is not None)
        if position is not None:
            ids, at = place_in(view.read, position)
            opened = self.open_live(view)
        elif text is None or token is None:
            raise ConfigError("No token is named.", where="position", hint="Give position, or text and token.")
        else:
            opened = self.open_live(view)
            ids, at = place_on(opened, text, token, self._prepend_bos(view))
        return loss_at(self.live, opened, index, ids, at)

    def logits(self, wanted: Ref, index: int, n: int = 10) -> LogitsRecord:
        """The `n` next tokens that a feature makes most and least likely; loads the model.

        Where that cannot be done, or would be done with other weights than the extraction was made with, they come from
        the tables that `ws.extractions.compute_logits` has stored, if there are any: at most ten, without a histogram.
        Raises as `run_on`, `ConfigError` where they are not defined for this SAE, and `HookError` where it is not known
        how the model turns its residual stream into logits.
        """
        from saewidgets.features.logit_effects import computed_effects  # torch: seconds to import

        view = self._latent(wanted, index, open_store=False)
        if (old := view.note()) and (stored := self._stored_logits(wanted, index, n, old)) is not None:
            return stored
        try:
            opened = self.open_live(view)
        except (SAEWidgetsError, OSError) as error:
            what = error.what if isinstance(error, SAEWidgetsError) else str(error)
            if (stored := self._stored_logits(wanted, index, n, what)) is not None:
                return stored
            raise
        effects = computed_effects(opened.sae, opened.model.head, opened.model.text, n)
        return _record(index, self.live.run(opened, lambda: effects(index)), n, old)

    def similar(self, wanted: Ref, index: int, n: int = 10) -> Records[RelatedRecord]:
        """The `n` features whose decoder directions are nearest to that of a feature; loads the SAE."""
        from saewidgets.features.logit_effects import similar  # torch: seconds to import

        view = self._latent(wanted, index)
        return self._related(view, similar(self.live.sae(self._subject(view)), index, n))

    def coactive(self, wanted: Ref, index: int, n: int = 10) -> tuple[Records[RelatedRecord], int]:
        """The `n` features that fire together with a feature most beyond chance, and its firings in the sample. Raises
        `StateError` if it was not extracted."""
        from saewidgets.features.store.feature_data import coactive  # torch: seconds to import

        view = self._latent(wanted, index)
        found, sampled = coactive(view.read, index, n)
        return self._related(view, found), sampled

    def _stored_logits(self, wanted: str, index: int, n: int, why: str) -> LogitsRecord | None:
        """From the tables of the extraction; None where it has none. `why` they were not computed."""
        from saewidgets.features.logit_effects import stored_effects  # torch: seconds to import

        store = self.view(wanted).store
        effects = stored_effects(store) if store is not None else None
        return _record(index, effects(index), n, f"From stored tables: {why}") if effects is not None else None

    def can_read(self, wanted: Ref) -> str:
        """Why live readings are not possible here; ``""`` if they are, as far as is known without loading."""
        view = self.view(wanted, open_store=False)
        try:
            self.live.lane(self._subject(view), view.extraction)
        except SAEWidgetsError as error:
            return error.what
        return ""

    def open_live(self, view: View, model: Any = None, tokenizer: Any = None) -> LiveSAE:
        return self.live.open(self._subject(view), view.extraction, model, tokenizer)

    def _subject(self, view: View) -> KnownSAE:
        """Where the files of the SAE are: in the library while it is there."""
        return find_subject(self._workspace, view.origin.id)

    def _prepend_bos(self, view: View) -> bool:
        if view.extraction is not None:
            return bool(view.extraction.facts.get("prepend_bos", True))
        return self._subject(view).packing.prepend_bos

    def _latent(self, wanted: str, index: int, *, open_store: bool = True) -> View:
        view = self.view(wanted, open_store=open_store)
        check_index(index, view.d_sae)
        return view

    def _place(self, feature_id: str, extraction_id: str | None) -> tuple[View, int]:
        owner, index = split_feature_id(feature_id)
        view = self.view(owner if extraction_id is None else extraction_id)
        if extraction_id is not None and owner not in (view.origin.sae_id, view.origin.training_id, extraction_id):
            raise ConfigError(
                f"{extraction_id} is an extraction of another SAE.", where="extraction_id",
                hint=f"Choose one of ws.extractions.for_sae({owner!r}).",
            )
        if index >= view.d_sae:
            raise NotFoundError(
                f"There is no feature {index:,}: this SAE has {view.d_sae:,}.", where=feature_id,
                hint=f"Choose one from 0 to {view.d_sae - 1:,}.",
            )
        return view, index

    def _noted(self, view: View) -> tuple[float, dict[int, LatentNote], LatentNotes]:
        """A revision, and the labels, stars and notes until then: by latent, and arranged for lists. Only what has
        changed is read: of a wide SAE everything takes seconds."""
        newest = self._newest(view.origin, view.d_sae)
        before, said, notes = newest[0]
        if notes is not None and self.rows.revision(view.origin) == before:
            return before, said, notes
        rows = self.rows.noted(view.origin, before)
        said = said | {index: LatentNote(label, score, starred) for index, label, score, starred, _ in rows}
        newest[0] = found = max((row[-1] for row in rows), default=before), said, LatentNotes(said, view.d_sae)
        return found

    def _find(self, view: View, search: str, show: Any, sort: Any, descending: bool) -> npt.NDArray[np.int64]:
        notes = self._noted(view)[-1]
        return self._order(view.store, notes, search=search, show=show, sort=sort, descending=descending)

    def _records(self, view: View, indices: Sequence[int]) -> Sequence[FeatureRecord]:
        said = {row.index: row for row in self.rows.list(view.origin, indices)}
        blank = FeatureRecord("", 0, view.origin.sae_id, view.origin.training_id)
        rows = [said.get(i) or replace(blank, id=view.origin.feature_id(i), index=i) for i in indices]
        store = view.store
        if store is None or view.extraction is None:
            return rows
        at = list(indices)
        columns = [column[at].tolist() for column in (store.density, store.fired, store.max, store.mean)]
        try:
            tokens = store.peak_tokens[at].tolist()
        except NotFoundError:  # the text is gone; the numbers are still here
            tokens = [[] for _ in rows]
        return [
            replace(
                row, extraction_id=view.extraction.id, density=density, fired=fired, max=largest, mean=mean,
                top_tokens=tuple(store.text_of(token) for token in peaks if token >= 0),
            )
            for row, density, fired, largest, mean, peaks in zip(rows, *columns, tokens, strict=True)
        ]  # fmt: skip

    def _related(self, view: View, found: Sequence[tuple[int, float]]) -> Records[RelatedRecord]:
        rows = self._records(view, [index for index, _ in found])
        return Records([RelatedRecord(row, v) for row, (_, v) in zip(rows, found, strict=True)], RelatedRecord)


def _record(index: int, found: Effects, n: int, note: str) -> LogitsRecord:
    raises, lowers = (tuple((one.text, one.value) for one in side[:n]) for side in (found.raises, found.lowers))
    return LogitsRecord(index, raises, lowers, tuple(found.counts), tuple(found.edges), note)
