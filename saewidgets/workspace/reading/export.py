"""Features taken out: pages, tables, files of other tools; see `saewidgets.features.export`."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from saewidgets.config.arguments import shown
from saewidgets.errors import ConfigError, StorageError
from saewidgets.workspace.reading.live import LiveFeatures
from saewidgets.workspace.reading.views import View, with_data

if TYPE_CHECKING:
    from saewidgets.features.export import EffectsOf
    from saewidgets.features.store.query import Noted

Kind = Literal["html", "json", "csv", "neuronpedia", "vectors"]


class SharedFeatures(LiveFeatures):
    """The part of `ws.features` that writes files for others."""

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
        with_data(view)
        store, notes = view.store, self._noted(view)
        assert store is not None
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
        from saewidgets.features.logits import decoder_directions
        from saewidgets.lm import HookError

        if logits is False:
            return None
        assert view.extraction is not None  # there is something to export
        assert view.store is not None
        if view.extraction.other_weights or self.can_read(view.extraction.id):
            if (stored := stored_effects(view.store)) is not None:
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
