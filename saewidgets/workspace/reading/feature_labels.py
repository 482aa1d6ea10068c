"""Defines `LabelledFeatures`, the part of `ws.features` that changes what is said of features.

Labels by people, models and imports; stars and notes; scores; tables of labels in and out.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.config.arguments import count, kind, path_text, refuse, whole_text
from saewidgets.config.arguments import path as checked_path
from saewidgets.errors import ConfigError, FormatError, SAEWidgetsError
from saewidgets.feature_records import ExampleRecord, FeatureRecord, LabelRecord, LabelSource, check_index
from saewidgets.features import labels as making
from saewidgets.features.labels import (
    Imported,
    Label,
    LabelOptions,
    LabelRun,
    LLMAnswerError,
    Plan,
    Price,
    Score,
    ScoreRun,
)
from saewidgets.workspace.checked import numbers
from saewidgets.workspace.reading.views import FeatureViews, View, store_of

if TYPE_CHECKING:
    from saewidgets.features.labels import FeatureEvidence
    from saewidgets.workspace.reading.store_examples import StoreExamples

MAX_NOTES = 20_000
_AT_ONCE = 200  # labels saved together,
_SECONDS = 2.0  # or all that came in so long
_NEGATIVES = 20
_SITE = re.compile(r"[\w.-]+/[\w.-]+")  # "model/source" on Neuronpedia
_ASKING = ("concurrency", "price", "max_cost", "max_failures", "control", "progress", "model")
_JUDGING = ("scorer", "n_pos", "n_neg", "seed", "per_prompt", "context")


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
        view, index = self._place(feature_id, extraction_id)
        for where, given in (("name", name), ("description", description)):
            if not isinstance(given, str):
                raise ConfigError("A label is text.", where=where, hint="Write it in quotes.")
        text = name.strip()
        label = Label.from_data(
            {"index": index, "text": text or "-", "description": description.strip(), "source": source}
        )
        if text:
            self.put_labels(view, [label], [index])
        else:
            self.rows.remove_label(view.origin, index, source)
        self.changes.tell(view.origin.id)
        return self.whole(view, index)

    def star(self, feature_id: str, starred: bool = True) -> FeatureRecord:
        """Mark a feature to come back to, or take the mark away."""
        return self._marked(feature_id, starred=bool(starred))

    def notes(self, feature_id: str, text: str) -> FeatureRecord:
        """Replace the notes on a feature.

        Raises:
            ConfigError: they are too long, or hold characters that no file can hold.
        """
        if not isinstance(text, str) or len(text) > MAX_NOTES:
            raise ConfigError(f"Notes are text of at most {MAX_NOTES:,} characters.", where="notes", hint="Shorten it.")
        return self._marked(feature_id, notes=whole_text(text, "notes"))

    def _marked(self, feature_id: str, **marks: Any) -> FeatureRecord:
        view, index = self._place(feature_id, None)
        self.rows.mark(view.origin, index, **marks)
        self.changes.tell(view.origin.id)
        return self.whole(view, index)

    def suggest(self, wanted: str, index: int, llm: Any = None) -> Label:
        """A label for one feature, which is not saved; `llm` None takes the offline heuristic.

        Raises:
            LLMError: there is no label; the message says why.
        """
        view = self.view(wanted)
        run = making.label_features([check_index(index, view.d_sae)], _llm(llm), _examples(view))
        if run.labels:
            return run.labels[0]
        why = run.failures[0].error if run.failures else "It did not fire on the text that was read."
        raise LLMAnswerError(f"There is no label for feature {index:,}. {why}", where="index")

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
        view, known = self.view(sae_id), _settings(settings, "options", *_ASKING)
        wanted = self._unlabelled(view, indices, again, limit)
        examples = _KeptExamples(_examples(view), known.get("options") or LabelOptions())
        with self._saving(view, examples.kept) as add:
            return making.label_features(
                wanted, _llm(llm), examples, existing=self._labels(view, wanted), on_label=add, **known
            )

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
        view = self.view(sae_id)
        wanted = self._unlabelled(view, indices, again, limit)
        return making.plan(
            wanted, _llm(llm), _examples(view), existing=self._labels(view, wanted),
            **_settings(settings, "options", "price", "first", "model"),
        )

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
        view, known = self.view(sae_id), _settings(settings, *_JUDGING, *_ASKING)
        counting = map(making.shown, making.by_feature(self._labels(view, _inside(indices, view))).values())
        negatives = max(_NEGATIVES, count(known.get("n_neg", 0), "n_neg", "a number", most=10_000))
        with self._saving(view, {}) as add:
            return making.score_labels(
                [label for label in counting if label is not None], _examples(view, negatives), _llm(llm), on_label=add,
                **known,
            )

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
        view = self.view(sae_id, open_store=False)
        text = path_text(source, "source", "a file of labels, or MODEL/SOURCE on Neuronpedia")
        file = checked_path(text, "source", "a file of labels")
        if not file.exists() and _SITE.fullmatch(text) and not text.endswith((".csv", ".jsonl")):
            model_id, source_id = text.split("/")
            imported = making.fetch_neuronpedia(
                model_id, source_id, view.d_sae, on_error=on_error or "skip",  # type: ignore[arg-type]
            )
        else:
            imported = making.read_labels(file, view.d_sae, on_error=on_error)  # type: ignore[arg-type]
        if not imported.labels and not imported.problems:
            raise FormatError("There is no label in it.", where=Path(text).name, hint="Choose another file.")
        own = {label.index: label.text for label in self._labels(view, None) if label.source == "user"}
        for at, label in enumerate(imported.labels):
            if label.source == "user" and own.get(label.index, label.text) != label.text:
                imported.labels[at] = replace(label, source="imported", method=label.method or "a person's")
        self.put_labels(view, imported.labels)
        self.changes.tell(view.origin.id)
        return imported

    def export_labels(self, sae_id: str, path: str | Path, *, indices: Iterable[int] | None = None) -> Path:
        """Write all labels to a ``.csv`` or ``.jsonl`` file, whole or not at all.

        Raises:
            ConfigError: the name ends in neither.
            StorageError: it cannot be written.
        """
        view = self.view(sae_id, open_store=False)
        return making.write_labels(self._labels(view, _inside(indices, view)), Path(path).expanduser())

    def interpretations(self, wanted: str, path: str | Path, *, indices: Iterable[int] | None = None) -> dict[str, int]:
        """Write what is known of every latent to one JSON file; returns how many are active and dead in it."""
        view = self.view(wanted)
        labels = making.by_feature(self._labels(view, None))
        chosen = _inside(indices, view)
        found = making.interpret_features(_examples(view), range(view.d_sae) if chosen is None else chosen, labels)
        return making.write_interpretations(found, Path(path).expanduser())

    def put_labels(self, view: View, labels: Sequence[Label], with_evidence: Sequence[int] = ()) -> None:
        """Save labels, those of `with_evidence` with the examples of the view's extraction."""
        self._put(view, labels, _evidence(view, with_evidence))

    def _put(self, view: View, labels: Sequence[Label], evidence: Mapping[int, Sequence[ExampleRecord]]) -> None:
        extraction_id = view.extraction.id if view.extraction is not None else None
        self.rows.put_labels(
            view.origin, map(to_record, labels), newer, evidence=evidence, extraction_id=extraction_id
        )

    @contextmanager
    def _saving(
        self, view: View, evidence: Mapping[int, Sequence[ExampleRecord]]
    ) -> Iterator[Callable[[Label], None]]:
        """What takes labels as they come and saves a few at a time; all that came are saved, however the work ends."""
        waiting: list[Label] = []
        since = time.monotonic()

        def save() -> None:
            nonlocal since
            since = time.monotonic()
            if waiting:
                self._put(view, waiting, evidence)
                self.changes.tell(view.origin.id)
                waiting.clear()

        def add(label: Label) -> None:
            waiting.append(label)
            if len(waiting) >= _AT_ONCE or time.monotonic() - since > _SECONDS:
                save()

        try:
            yield add
        finally:
            save()

    def _unlabelled(self, view: View, indices: Iterable[int] | None, again: bool, limit: int | None) -> list[int]:
        if limit is not None:
            count(limit, "limit", "a number of features", least=1)
        fired = store_of(view).fired
        if (chosen := _inside(indices, view)) is not None:
            return chosen[:limit]
        live = set((fired > 0).nonzero()[0].tolist())
        if not again:
            live -= {index for index, label, *_ in self.rows.noted(view.origin) if label}
        return sorted(live)[:limit]

    def _labels(self, view: View, indices: Iterable[int] | None) -> list[Label]:
        return [from_record(record) for record in self.rows.labels(view.origin, indices)]


def to_record(label: Label) -> LabelRecord:
    """For the catalog."""
    score = label.score
    return LabelRecord(
        index=label.index, text=label.text, description=label.description, source=label.source, method=label.method,
        model=label.model, prompt_hash=label.prompt_hash, scores=tuple(asdict(one) for one in label.scores),
        score=score.value if score is not None else None, n_judged=label.n_judged, n_asked=label.n_asked, by=label.by,
        error=label.error, created_at=label.created_at, standing=label.rank,
        identity=hashlib.sha256(repr(label.identity).encode()).hexdigest(),
    )  # fmt: skip


def from_record(record: LabelRecord) -> Label:
    """What `to_record` was given."""
    return Label(
        index=record.index, text=record.text, description=record.description, source=record.source,
        method=record.method, model=record.model, prompt_hash=record.prompt_hash, created_at=record.created_at,
        scores=tuple(Score(**score) for score in record.scores), error=record.error,
    )


def newer(there: LabelRecord, new: LabelRecord) -> LabelRecord:
    """The one that stays of two versions of a label, see `merge`."""
    (label,) = making.merge([from_record(there)], [from_record(new)])
    return to_record(label)


class _KeptExamples:
    """Evidence, and what of it goes with a label."""

    def __init__(self, examples: StoreExamples, options: LabelOptions) -> None:
        self._examples, self._options = examples, options
        self.kept: dict[int, tuple[ExampleRecord, ...]] = {}

    def of(self, index: int) -> FeatureEvidence:
        from saewidgets.workspace.reading.store_examples import kept_examples  # torch: seconds to import

        found = self._examples.of(index)
        shown = making.shown_examples(found, self._options.n_examples, self._options.sampling)
        self.kept[index] = kept_examples(shown)
        return found


def _examples(view: View, negatives: int = 0) -> StoreExamples:
    from saewidgets.workspace.reading.store_examples import StoreExamples  # torch: seconds to import

    return StoreExamples(store_of(view), negatives)


def _evidence(view: View, indices: Iterable[int]) -> dict[int, tuple[ExampleRecord, ...]]:
    """The top examples of these latents, as they are kept with a person's label; none without an extraction."""
    found: dict[int, tuple[ExampleRecord, ...]] = {}
    if view.store is not None:
        from saewidgets.workspace.reading.store_examples import kept_examples  # torch: seconds to import

        examples = _examples(view)
        for index in indices:
            try:
                found[index] = kept_examples(examples.of(index).top)
            except SAEWidgetsError:  # its text or a file is gone: the label itself matters
                continue
    return found


def _llm(llm: Any) -> Any:
    return making.offline() if llm is None else llm


def _inside(indices: Iterable[int] | None, view: View) -> list[int] | None:
    if indices is None:
        return None
    return [check_index(index, view.d_sae, "indices") for index in numbers(indices, "indices")]


def _settings(settings: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The settings, if there are such ones; a price of two numbers is made one."""
    for name, value in settings.items():
        if name not in names:
            raise ConfigError("There is no such setting.", where=name, hint=f"Use {', '.join(names)}.")
        if name == "progress" and value is not None and not callable(value):
            refuse(value, name, "what is told how far it is, a function", "Give a function of a Progress.")
        if name == "control" and value is not None and not callable(getattr(value, "check", None)):
            refuse(value, name, "what may end the run, a Control", "Leave it out.")
        if name == "options" and value is not None:
            kind(value, LabelOptions, name, "how labels are asked for", "Give LabelOptions(…).")
    price = settings.get("price")
    if price is None or isinstance(price, Price):
        return dict(settings)
    if not isinstance(price, Sequence) or isinstance(price, str) or len(price) != 2:
        refuse(price, "price", "two numbers", "Give (per million tokens in, per million tokens out).")
    return {**settings, "price": Price(*price)}
