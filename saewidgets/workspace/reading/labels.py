"""What people, models and imports say of features."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.config.arguments import shown, whole_text
from saewidgets.errors import ConfigError
from saewidgets.feature_records import FeatureRecord, LabelSource
from saewidgets.workspace.reading.views import FeatureViews, View, checked

if TYPE_CHECKING:
    from saewidgets.features.labels import Imported, LabelRun, Plan, ScoreRun
    from saewidgets.features.labels.label import Label

MAX_NOTES = 20_000


class LabelledFeatures(FeatureViews):
    """The part of `ws.features` that changes what is said of features."""

    def label(
        self,
        feature_id: str,
        name: str,
        description: str = "",
        *,
        source: LabelSource = "user",
        extraction_id: str | None = None,
    ) -> FeatureRecord:
        """Label a feature. The label of a person wins; all others stay beside it.

        Args:
            feature_id: the feature.
            name: a short phrase; ``""`` removes the label of this `source`.
            description: more of it.
            source: whose label it is: ``"user"``, ``"auto"`` or ``"imported"``.
            extraction_id: whose examples are kept with it; None takes the newest extraction's.

        Raises:
            ConfigError: it is too long, or holds characters that no file can hold.
            NotFoundError: there is no such feature.
        """
        from saewidgets.features.labels.label import SOURCES, Label  # torch: seconds to import

        view, index = self._place(feature_id, extraction_id)
        if source not in SOURCES:
            raise ConfigError(
                f"{shown(source)} is no source of labels.", where="source", hint=f"Use {', '.join(SOURCES)}."
            )
        for where, given in (("name", name), ("description", description)):
            if not isinstance(given, str):
                raise ConfigError("A label is text.", where=where, hint="Write it in quotes.")
        if not name.strip():
            self.rows.remove_label(view.origin, index, source)
        else:
            label = Label(index, name.strip(), description.strip(), source)
            self.put_labels(view, [label], [index])
        self.changes.tell(view.origin.id)
        return self.whole(view, index)

    def star(self, feature_id: str, starred: bool = True) -> FeatureRecord:
        """Mark a feature to come back to, or take the mark away."""
        view, index = self._place(feature_id, None)
        self.rows.mark(view.origin, index, starred=bool(starred))
        self.changes.tell(view.origin.id)
        return self.whole(view, index)

    def notes(self, feature_id: str, text: str) -> FeatureRecord:
        """Replace the notes on a feature.

        Raises:
            ConfigError: they are too long, or hold characters that no file can hold.
        """
        if not isinstance(text, str) or len(text) > MAX_NOTES:
            raise ConfigError(f"Notes are text of at most {MAX_NOTES:,} characters.", where="notes", hint="Shorten it.")
        whole_text(text, "notes")
        view, index = self._place(feature_id, None)
        self.rows.mark(view.origin, index, notes=text)
        self.changes.tell(view.origin.id)
        return self.whole(view, index)

    def suggest(self, wanted: str, index: int, llm: Any = None) -> Label:
        """A label for one feature, which is not saved; `llm` None takes the offline heuristic.

        Raises:
            LLMError: there is no label; the message says why.
        """
        from saewidgets.workspace.reading import labelling  # torch: seconds to import

        view = self.view(wanted)
        return labelling.suggest(view, checked(view, index), llm)

    def auto_label(
        self,
        sae_id: str,
        llm: Any = None,
        *,
        indices: Iterable[int] | None = None,
        again: bool = False,
        limit: int | None = None,
        **settings: Any,
    ) -> LabelRun:
        """Have every live feature without a label labelled, in this thread. Labels are saved as they come.

        Args:
            sae_id: an SAE, a training or an extraction.
            llm: a function of messages (`openai_compatible`, `transformers_local` of `saewidgets.features.labels`);
                None takes the offline heuristic, which needs no model.
            indices: these features instead, labelled or not.
            again: also those that have a label.
            limit: at most so many of them, in order of their numbers.
            settings: ``options concurrency price max_cost max_failures control progress model`` of
                `saewidgets.features.labels.label_features`; the price may be two numbers, see `plan_labels`.

        Raises:
            StateError: it was not extracted.
            LLMError, ConfigError, Interruption: as `label_features`; labels that came before stay.
        """
        from saewidgets.workspace.reading import labelling  # torch: seconds to import

        return labelling.auto_label(self, self.view(sae_id), llm, indices, again, limit, settings)

    def plan_labels(
        self,
        sae_id: str,
        llm: Any = None,
        *,
        indices: Iterable[int] | None = None,
        again: bool = False,
        limit: int | None = None,
        **settings: Any,
    ) -> Plan:
        """What `auto_label` with the same arguments would ask, and what that would cost. Nothing is sent or saved.

        Args:
            sae_id, llm, indices, again, limit: as of `auto_label`.
            settings: ``options price first model`` of `saewidgets.features.labels.plan`: `price` per million tokens as
                ``(in, out)`` or a `Price`; `first` prompts (3) are in the plan, word for word.

        Returns:
            A `Plan`: `.n_questions`, `.tokens_in`, `.tokens_out` and `.cost` (estimates), `.first` (the prompts); it
            prints, and shows in a notebook.

        Raises:
            StateError: it was not extracted.
            ConfigError: an argument cannot work.
        """
        from saewidgets.workspace.reading import labelling  # torch: seconds to import

        return labelling.plan_labels(self, self.view(sae_id), llm, indices, again, limit, settings)

    def score(
        self, sae_id: str, llm: Any = None, *, indices: Iterable[int] | None = None, **settings: Any
    ) -> ScoreRun:
        """Have the labels that count judged on text they were not made from; scores are saved as they come.

        Args:
            sae_id, llm: as of `auto_label`.
            indices: these features; None takes all that have a label.
            settings: ``scorer n_pos n_neg seed per_prompt context concurrency price max_cost control progress model``
                of `saewidgets.features.labels.score_labels`.
        """
        from saewidgets.workspace.reading import labelling  # torch: seconds to import

        return labelling.score(self, self.view(sae_id), llm, indices, settings)

    def import_labels(self, sae_id: str, source: str | Path, *, on_error: str | None = None) -> Imported:
        """Take in labels from a file or from Neuronpedia.

        A person's label in a file never replaces one that a person wrote here: it is kept as an imported one.

        Args:
            sae_id: an SAE, a training or an extraction.
            source: a ``.csv`` or ``.jsonl`` file, an export of Neuronpedia's, or ``"model/source"`` on its site
                (``"gemma-2-2b/12-gemmascope-res-16k"``).
            on_error: ``"raise"``: nothing is taken if a line is wrong; ``"skip"``: such lines are left out. None: the
                former for a table, the latter for an export.

        Raises:
            NotFoundError: there is no such file.
            FormatError: it is no table of labels, or they are of another SAE; lines and fields are named.
        """
        from saewidgets.workspace.reading import labelling  # torch: seconds to import

        view = self.view(sae_id, open_store=False)
        imported = labelling.import_labels(self, view, source, on_error)
        self.changes.tell(view.origin.id)
        return imported

    def export_labels(self, sae_id: str, path: str | Path, *, indices: Iterable[int] | None = None) -> Path:
        """Write all labels to a ``.csv`` or ``.jsonl`` file, whole or not at all.

        Raises:
            ConfigError: the name ends in neither.
            StorageError: it cannot be written.
        """
        from saewidgets.workspace.reading import labelling  # torch: seconds to import

        return labelling.export_labels(self, self.view(sae_id, open_store=False), Path(path), indices)

    def interpretations(self, wanted: str, path: str | Path, *, indices: Iterable[int] | None = None) -> dict[str, int]:
        """Write what is known of every latent to one JSON file; returns how many are active and dead in it."""
        from saewidgets.workspace.reading import labelling  # torch: seconds to import

        return labelling.interpretations(self, self.view(wanted), Path(path), indices)

    def put_labels(self, view: View, labels: Sequence[Label], with_evidence: Sequence[int] = ()) -> None:
        """Save labels, those of `with_evidence` with the examples of the view's extraction."""
        from saewidgets.workspace.reading import labelling  # torch: seconds to import

        labelling.put(self, view, labels, labelling.evidence_of(view, with_evidence))
