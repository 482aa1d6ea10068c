"""Features on text that somebody types, and what their directions do: with the model and the SAE loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from saewidgets.errors import SAEWidgetsError
from saewidgets.feature_records import LogitsRecord, RelatedRecord, check_index
from saewidgets.records import Records
from saewidgets.workspace.live import Opened
from saewidgets.workspace.reading.views import FeatureViews, View, store_of
from saewidgets.workspace.subjects import Subject

if TYPE_CHECKING:
    from saewidgets.steering.loss_effect import LossEffect
    from saewidgets.workspace.reading.token_reading import PromptReading, TextReading

_OLD = "The SAE has other weights now than those the extraction was made with."


class LiveFeatures(FeatureViews):
    """The part of `ws.features` that needs the model or the SAE."""

    def run_on(self, sae_id: str, text: str, *, model: Any = None, tokenizer: Any = None) -> PromptReading:
        """Which features fire on a text, token by token.

        The first time loads the model and the SAE; they are kept for a while. It runs between the batches of a job
        that uses the same device.

        Args:
            sae_id: an SAE, a training or an extraction.
            text: at most so much as the model reads at once; more is cut, and `note` says so.
            model, tokenizer: a loaded model to read with, instead of the one that the SAE belongs to.

        Raises:
            ConfigError: there is no text; or it is not known which model to load.
            StateError: its model was handed in as an object that is no longer in memory.
            NotFoundError, FormatError: files are not here, or damaged.
        """
        from saewidgets.workspace.reading.token_reading import read_all  # torch: seconds to import

        view = self.view(sae_id, open_store=False)
        opened = self.open_live(view, model, tokenizer)
        reading = read_all(self.live, opened, text, _prepend_bos(view, opened.subject))
        said = self.rows.list(view.origin, reading.indices.tolist())
        labels = {one.index: one.label for one in said if one.label}
        return replace(reading, labels=labels, note=_noted(view, reading.note))

    def on_feature(
        self, wanted: str, index: int, text: str, *, model: Any = None, tokenizer: Any = None
    ) -> TextReading:
        """One feature on a text, token by token; arguments and errors as of `run_on`."""
        from saewidgets.workspace.reading.token_reading import read_one  # torch: seconds to import

        view = self.view(wanted, open_store=False)
        check_index(index, view.d_sae)
        opened = self.open_live(view, model, tokenizer)
        reading = read_one(self.live, opened, text, index, _prepend_bos(view, opened.subject))
        return replace(reading, note=_noted(view, reading.note))

    def context(self, extraction_id: str, index: int, position: int) -> TextReading:
        """The whole context around an example. Without its model (`complete` is false) activations are those near it.

        Args:
            extraction_id, index: the feature.
            position: stream position of the example's peak.

        Raises:
            ConfigError: there is no such feature or position.
        """
        from saewidgets.workspace.reading.token_reading import context  # torch: seconds to import

        view = self.view(extraction_id)
        check_index(index, view.d_sae)
        reading = context(self, view, index, position)
        return replace(reading, note=_noted(view, reading.note)) if reading.complete else reading

    def loss_effect(
        self, wanted: str, index: int, *, position: int | None = None, text: str | None = None, token: int | None = None
    ) -> LossEffect:
        """What a feature adds to the model's loss on the token after one: the loss as it is minus the loss with the
        feature ablated at that one token (the rest of the hidden state stays). Negative: it helps. Loads the model.

        Args:
            wanted, index: the feature.
            position: stream position of the token, in the text that its extraction has read; or
            text, token: a text, and the number of one of its tokens, counted without BOS.

        Returns:
            ``.effect`` and ``.loss``, in nats.

        Raises:
            ConfigError: there is no such token, or nothing follows it that counts; and as `run_on`.
        """
        from saewidgets.workspace.reading.token_reading import loss_at  # torch: seconds to import

        view = self.view(wanted, open_store=position is not None)
        check_index(index, view.d_sae)
        return loss_at(self, view, index, position, text, token, _prepend_bos(view, self._subject(view)))

    def logits(self, wanted: str, index: int, n: int = 10) -> LogitsRecord:
        """The `n` next tokens that a feature makes most and least likely; loads the model.

        Where that cannot be done, or would be done with other weights than the extraction was made with, they come from
        the tables that `ws.extractions.compute_logits` has stored, if there are any: at most ten, without a histogram.

        Raises:
            ConfigError: they are not defined for this SAE; and as `run_on`.
            HookError: it is not known how the model turns its residual stream into logits.
        """
        from saewidgets.features.logit_effects import logit_effects  # torch: seconds to import

        view = self.view(wanted, open_store=False)
        check_index(index, view.d_sae)
        if _is_old(view) and (stored := self._stored_logits(wanted, index, n, _OLD)) is not None:
            return stored
        try:
            opened = self.open_live(view)
        except (SAEWidgetsError, OSError) as error:
            what = error.what if isinstance(error, SAEWidgetsError) else str(error)
            if (stored := self._stored_logits(wanted, index, n, what)) is not None:
                return stored
            raise

        found = self.live.run(opened, lambda: logit_effects(opened.sae, opened.model.head, index, n))
        text = opened.model.text
        return LogitsRecord(
            index, tuple((text.text([i]), value) for i, value in found.raises),
            tuple((text.text([i]), value) for i, value in found.lowers), tuple(found.counts.tolist()),
            tuple(found.edges.tolist()), _noted(view, ""),
        )  # fmt: skip

    def similar(self, wanted: str, index: int, n: int = 10) -> Records[RelatedRecord]:
        """The `n` features whose decoder directions are nearest to that of a feature; loads the SAE."""
        from saewidgets.features.relations import similar  # torch: seconds to import

        view = self.view(wanted)
        check_index(index, view.d_sae)
        sae = self.live.sae(self._subject(view))
        return self._related(view, similar(sae, index, n))

    def coactive(self, wanted: str, index: int, n: int = 10) -> tuple[Records[RelatedRecord], int]:
        """The `n` features that fire together with a feature most beyond chance, and its firings in the sample.

        Raises:
            StateError: it was not extracted.
        """
        from saewidgets.features.relations import coactive  # torch: seconds to import

        view = self.view(wanted)
        check_index(index, view.d_sae)
        found = coactive(store_of(view), index, n)
        return self._related(view, found.found), found.sampled

    def _stored_logits(self, wanted: str, index: int, n: int, why: str) -> LogitsRecord | None:
        """From the tables of the extraction; None where it has none. `why` they were not computed."""
        from saewidgets.features.export import stored_effects  # torch: seconds to import

        store = self.view(wanted).store
        effects = stored_effects(store) if store is not None else None
        if effects is None or (found := effects(index)) is None:
            return None
        raises, lowers = (tuple((one.text, one.value) for one in side[:n]) for side in (found.raises, found.lowers))
        return LogitsRecord(index, raises, lowers, note=f"From stored tables: {why}")

    def can_read(self, wanted: str) -> str:
        """Why live readings are not possible here; ``""`` if they are, as far as can be told without loading."""
        view = self.view(wanted, open_store=False)
        try:
            self.live.check(self._subject(view), view.extraction)
        except SAEWidgetsError as error:
            return error.what
        return ""

    def open_live(self, view: View, model: Any = None, tokenizer: Any = None) -> Opened:
        return self.live.open(self._subject(view), view.extraction, model, tokenizer)


def _prepend_bos(view: View, subject: Subject) -> bool:
    if view.extraction is not None:
        return bool(view.extraction.facts.get("prepend_bos", True))
    return subject.packing.prepend_bos


def _is_old(view: View) -> bool:
    return view.extraction is not None and view.extraction.other_weights


def _noted(view: View, note: str) -> str:
    """A note of a reading; it says where the weights are other ones than those of the numbers beside it."""
    return f"{note} {_OLD}".strip() if _is_old(view) else note
