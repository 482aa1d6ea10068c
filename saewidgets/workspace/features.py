"""`ws.features`: every latent of an SAE, what an extraction found of it, and what people say of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from saewidgets.feature_records import ExampleRecord, FeatureRecord, LabelRecord
from saewidgets.records import Records
from saewidgets.workspace.checked import checks_arguments
from saewidgets.workspace.reading.export import SharedFeatures
from saewidgets.workspace.reading.labels import LabelledFeatures
from saewidgets.workspace.reading.views import checked, with_data

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from saewidgets.features.store.page import FeatureData


@checks_arguments
class Features(SharedFeatures, LabelledFeatures):
    """The features of a workspace.

    What is asked for is named by the id of an SAE, of a training, or of one of its extractions; of the former the
    numbers are those of the newest extraction. A feature has the id ``feat_{SAE or training}_{number}``.
    """

    def list(
        self,
        *,
        sae_id: str | None = None,
        extraction_id: str | None = None,
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
            offset, limit: page; None takes all.

        Raises:
            ConfigError: an argument has no such value.
            NotFoundError: there is no such SAE, training or extraction.
        """
        view = self.view(extraction_id or sae_id)
        found = self._find(view, search, show, sort, descending)
        page = found[offset : None if limit is None else offset + limit].tolist()
        return Records(self._records(view, page), FeatureRecord)

    def indices(
        self, wanted: str, *, search: str = "", show: str = "all", sort: str = "index", descending: bool = False
    ) -> npt.NDArray[np.int64]:
        """The numbers of all features that match, in order; arguments as of `list`. The last few are remembered."""
        return self._find(self.view(wanted), search, show, sort, descending)

    def records(self, wanted: str, indices: Iterable[int]) -> Records[FeatureRecord]:
        """These features, in the order given, without their `labels`.

        Raises:
            ConfigError: the SAE has no such feature.
        """
        view = self.view(wanted)
        return Records(self._records(view, [checked(view, index) for index in indices]), FeatureRecord)

    def get(self, feature_id: str, *, extraction_id: str | None = None) -> FeatureRecord:
        """One feature with all its labels; numbers are those of the newest extraction, or of the one that is named.

        Raises:
            NotFoundError: there is no such SAE, training or feature.
        """
        view, index = self._place(feature_id, extraction_id)
        return self.whole(view, index)

    def feature(self, wanted: str, index: int) -> FeatureRecord:
        """The same, by the id of the SAE, training or extraction and the number of the latent."""
        view = self.view(wanted)
        return self.whole(view, checked(view, index))

    def data(self, extraction_id: str, index: int) -> FeatureData:
        """All that an extraction knows of a latent: histogram, examples by intervals, counts.

        Raises:
            ConfigError: the SAE has no such latent.
            NotFoundError: there is no such extraction, or the text that was read is gone.
        """
        from saewidgets.features.store.page import feature_data  # torch: seconds to import

        return feature_data(self._workspace.extractions.open(extraction_id), index)

    def examples(
        self, feature_id: str, *, extraction_id: str | None = None, limit: int | None = None
    ) -> Records[ExampleRecord]:
        """Text on which a feature fires: its top examples, then those sampled from intervals of its activations.

        Raises:
            NotFoundError: there is no such feature, or it was not extracted.
        """
        view, index = self._place(feature_id, extraction_id)
        extraction = with_data(view)
        found = [
            ExampleRecord(
                tuple(one.pieces), tuple(one.activations.tolist()), one.peak, one.value, kind=group.kind,
                position=one.position, row=one.row, offset=one.offset,
            )
            for group in self.data(extraction.id, index).groups for one in group.examples
        ]  # fmt: skip
        return Records(found[:limit], ExampleRecord)

    def evidence(self, label: LabelRecord) -> Records[ExampleRecord]:
        """The few examples that a label was made from; they stay when the extraction is deleted."""
        return Records(self.rows.evidence(label.id), ExampleRecord)

    def counts(self, wanted: str) -> tuple[int, int]:
        """How many features have a label, and how many a star."""
        return self.rows.count(self.view(wanted, open_store=False).origin)

    def revision(self, wanted: str) -> float:
        """Grows when a label, star or note of the SAE changes, in whichever process."""
        return self.rows.revision(self.view(wanted, open_store=False).origin)
