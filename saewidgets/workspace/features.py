"""Defines `Features`, which is `ws.features`: every latent of an SAE, what an extraction found of it, its labels."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from saewidgets.config.arguments import shown
from saewidgets.errors import ConfigError, StorageError
from saewidgets.feature_records import ExampleRecord, FeatureRecord, LabelRecord, check_index
from saewidgets.records import Records
from saewidgets.workspace.checked import checks_arguments
from saewidgets.workspace.reading.feature_labels import LabelledFeatures
from saewidgets.workspace.reading.live_features import LiveFeatures
from saewidgets.workspace.reading.views import View, store_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from saewidgets.features.export import EffectsOf
    from saewidgets.features.store.feature_data import FeatureData
    from saewidgets.features.store.query import Noted

Kind = Literal["html", "json", "csv", "neuronpedia", "vectors"]


@checks_arguments
class Features(LiveFeatures, LabelledFeatures):
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
        return Records(self._records(view, [check_index(index, view.d_sae) for index in indices]), FeatureRecord)

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
        return self.whole(view, check_index(index, view.d_sae))

    def data(self, extraction_id: str, index: int) -> FeatureData:
        """All that an extraction knows of a latent: histogram, examples by intervals, counts.

        Raises:
            ConfigError: the SAE has no such latent.
            NotFoundError: there is no such extraction, or the text that was read is gone.
        """
        from saewidgets.features.store.feature_data import feature_data  # torch: seconds to import

        return feature_data(self._workspace.extractions.open(extraction_id), index)

    def examples(
        self, feature_id: str, *, extraction_id: str | None = None, limit: int | None = None
    ) -> Records[ExampleRecord]:
        """Text on which a feature fires: its top examples, then those sampled from intervals of its activations.

        Raises:
            NotFoundError: there is no such feature, or it was not extracted.
        """
        from saewidgets.features.store.feature_data import feature_data  # torch: seconds to import

        view, index = self._place(feature_id, extraction_id)
        found = [
            ExampleRecord(
                tuple(one.pieces), tuple(one.activations.tolist()), one.peak, one.value, kind=group.kind,
                position=one.position, row=one.row, offset=one.offset,
            )
            for group in feature_data(store_of(view), index).groups for one in group.examples
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

    def export(
        self,
        wanted: str,
        what: Kind,
        path: str | PathLike[str],
        *,
        indices: Iterable[int] | None = None,
        logits: bool | None = None,
        title: str = "",
        **names: Any,
    ) -> Path:
        """Write what an extraction found. Files and folders appear whole or not at all.

        Args:
            wanted: an extraction, an SAE or a training (then its newest extraction).
            what: ``html`` (one page that needs no network, at most 2,000 features), ``json`` (as SAEDashboard writes),
                ``csv`` (a table), ``neuronpedia`` (a folder that its importer reads) or ``vectors`` (decoder rows as
                safetensors).
            path: the file; of ``neuronpedia`` and ``vectors`` the folder.
            indices: the features, in order; None takes all.
            logits: effects on the next token, for which the model is loaded: None has them in pages and files of other
                tools where the model can be loaded here or tables are stored (`ws.extractions.compute_logits`) and they
                are defined (not for an encoder, nor for an SAE on attention heads), True insists, False leaves them
                out.
            title: of the page; "" takes the SAE's name.
            **names: ``neuronpedia`` only: fields of `NeuronpediaTarget`, ``model_id`` and ``sae_set`` at least.

        Returns:
            The file or folder.

        Raises:
            ConfigError: a kind that does not exist, no feature, an unknown one, too many for one page; names missing.
            StateError: it was not extracted.
            StorageError: the disk refuses, or the place holds something else.
        """
        from saewidgets.features import export as kinds  # torch: seconds to import

        if what not in get_args(Kind):
            raise ConfigError(
                f"Features cannot be exported as {shown(what)}.", where="what", hint=f"Use {', '.join(get_args(Kind))}."
            )
        if names and what != "neuronpedia":
            raise ConfigError(f"{next(iter(names))} is for Neuronpedia only.", where="what", hint="Leave it out.")
        view = self.view(wanted)
        store, notes = store_of(view), self._noted(view)
        target = Path(path).expanduser()
        if what in ("html", "json", "csv") and target.is_dir():
            raise StorageError("This is a folder.", where=str(target), hint=f"Name a file in it: features.{what}.")
        if what == "csv":
            return kinds.export_table(store, indices, notes, target)
        if what == "vectors":
            return kinds.export_vectors(store, self.live.sae(self._subject(view)), indices, notes, target)
        if what == "html":
            chosen = range(store.d_sae) if indices is None else indices
            return kinds.export_html(store, chosen, notes, target, self._effects(view, logits), title=title)
        if what == "json":
            sae = self.live.sae(self._subject(view))
            return kinds.export_dashboard(store, indices, target, logits=self._effects(view, logits), sae=sae)
        for name in ("model_id", "sae_set"):
            if not names.get(name):
                hint = 'For example model_id="gpt2-small", sae_set="res-16k".'
                raise ConfigError(f"Neuronpedia needs {name}.", where=name, hint=hint)
        try:
            named = kinds.NeuronpediaTarget(**names)
        except TypeError as error:
            raise ConfigError(f"{error}.", where="names", hint="Use the fields of NeuronpediaTarget.") from error
        sae = self.live.sae(self._subject(view))
        return kinds.export_neuronpedia(
            store, indices, notes, target, named, logits=self._effects(view, logits), sae=sae
        )

    def _noted(self, view: View) -> dict[int, Noted]:
        from saewidgets.features.store.query import Noted  # torch: seconds to import

        return {row.index: Noted(row.label, row.score, row.starred) for row in self.rows.list(view.origin)}

    def _effects(self, view: View, logits: bool | None) -> EffectsOf | None:
        # Torch: seconds to import.
        from saewidgets.features.export import computed_effects, stored_effects
        from saewidgets.features.logit_effects import decoder_directions
        from saewidgets.lm import HookError

        if logits is False:
            return None
        assert view.extraction is not None  # there is something to export
        if view.extraction.other_weights or self.can_read(view.extraction.id):
            if (stored := stored_effects(store_of(view))) is not None:
                return stored
            if logits is None:
                return None
        opened = self.open_live(view)
        try:
            decoder_directions(opened.sae, [0])
            return computed_effects(opened.sae, opened.model.head, opened.model.text)
        except (ConfigError, HookError):
            if logits:
                raise
            return None  # not defined: heads, an encoder
