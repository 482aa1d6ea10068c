"""Labels made, judged, taken in and written out; see `Features`."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.config.arguments import count, kind, path, path_text, refuse
from saewidgets.errors import ConfigError, FormatError, SAEWidgetsError, StateError
from saewidgets.feature_records import ExampleRecord, LabelRecord
from saewidgets.features.labels import (
    Imported,
    Label,
    LabelOptions,
    LabelRun,
    LLMAnswerError,
    NeuronpediaClient,
    Plan,
    Price,
    ScoreRun,
    by_feature,
    interpret_features,
    label_features,
    merge,
    offline,
    plan,
    read_labels,
    score_labels,
    shown,
    shown_examples,
    write_interpretations,
    write_labels,
)
from saewidgets.features.labels.label import score_from_data
from saewidgets.features.labels.merge import HEURISTIC, identity
from saewidgets.workspace.checked import numbers
from saewidgets.workspace.reading.evidence import StoreExamples, kept_examples

if TYPE_CHECKING:
    from saewidgets.features.labels import FeatureEvidence
    from saewidgets.features.store.read import Store
    from saewidgets.workspace.reading.views import FeatureViews, View


def to_record(label: Label) -> LabelRecord:
    """For the catalog."""
    score = label.score
    return LabelRecord(
        index=label.index, text=label.text, description=label.description, source=label.source, method=label.method,
        model=label.model, prompt_hash=label.prompt_hash, scores=tuple(asdict(one) for one in label.scores),
        score=score.value if score is not None else None, n_judged=label.n_judged, n_asked=label.n_asked, by=label.by,
        error=label.error, created_at=label.created_at, standing=_standing(label),
        identity=hashlib.sha256(repr(identity(label)).encode()).hexdigest(),
    )  # fmt: skip


def from_record(record: LabelRecord) -> Label:
    """What `to_record` was given."""
    return Label(
        index=record.index, text=record.text, description=record.description, source=record.source,
        method=record.method, model=record.model, prompt_hash=record.prompt_hash, created_at=record.created_at,
        scores=tuple(score_from_data(score) for score in record.scores), error=record.error,
    )


def from_records(records: Iterable[LabelRecord]) -> list[Label]:
    """All of them."""
    return [from_record(record) for record in records]


def newer(there: LabelRecord, new: LabelRecord) -> LabelRecord:
    """The one that stays of two versions of a label, see `merge`."""
    (label,) = merge([from_record(there)], [from_record(new)])
    return to_record(label)


def _standing(label: Label) -> int:
    """As `ranked` orders labels."""
    if label.error:
        return 3
    if label.source == "user":
        return 0
    return 2 if label.source == "auto" and label.model == HEURISTIC else 1


_AT_ONCE = 200  # labels saved together,
_SECONDS = 2.0  # or all that came in so long
_NEGATIVES = 20
_SITE = re.compile(r"[\w.-]+/[\w.-]+")  # "model/source" on Neuronpedia


class _Seen:
    """Evidence, and what of it goes with a label."""

    def __init__(self, store: Store, options: LabelOptions, negatives: int = 0) -> None:
        self._examples = StoreExamples(store, negatives)
        self._options = options
        self.kept: dict[int, tuple[ExampleRecord, ...]] = {}

    def of(self, index: int) -> FeatureEvidence:
        found = self._examples.of(index)
        self.kept[index] = kept_examples(shown_examples(found, self._options.n_examples, self._options.sampling))
        return found


class _Saver:
    """Labels as they come, a few at a time, into the catalog."""

    def __init__(self, features: FeatureViews, view: View, evidence: Mapping[int, Sequence[ExampleRecord]]) -> None:
        self._features, self._view, self._evidence = features, view, evidence
        self._waiting: list[Label] = []
        self._since = time.monotonic()

    def add(self, label: Label) -> None:
        self._waiting.append(label)
        if len(self._waiting) >= _AT_ONCE or time.monotonic() - self._since > _SECONDS:
            self.save()

    def save(self) -> None:
        waiting, self._waiting, self._since = self._waiting, [], time.monotonic()
        if waiting:
            put(self._features, self._view, waiting, self._evidence)
            self._features.changes.tell(self._view.origin.id)


@contextmanager
def _saving(features: FeatureViews, view: View, evidence: Mapping[int, Sequence[ExampleRecord]]) -> Iterator[_Saver]:
    """What came is saved, however the work ends."""
    saver = _Saver(features, view, evidence)
    try:
        yield saver
    finally:
        saver.save()


def put(
    features: FeatureViews, view: View, labels: Sequence[Label], evidence: Mapping[int, Sequence[ExampleRecord]]
) -> None:
    """Save labels with what they were made from."""
    extraction_id = view.extraction.id if view.extraction is not None else None
    features.rows.put_labels(
        view.origin, map(to_record, labels), newer, evidence=evidence, extraction_id=extraction_id
    )


def evidence_of(view: View, indices: Iterable[int]) -> dict[int, tuple[ExampleRecord, ...]]:
    """The top examples of these latents, as they are kept with a person's label; none without an extraction."""
    found: dict[int, tuple[ExampleRecord, ...]] = {}
    if view.store is not None:
        examples = StoreExamples(view.store)
        for index in indices:
            try:
                found[index] = kept_examples(examples.of(index).top)
            except SAEWidgetsError:  # its text or a file is gone: the label itself matters
                continue
    return found


def suggest(view: View, index: int, llm: Any) -> Label:
    """See `Features.suggest`."""
    run = label_features([index], _asked(llm), StoreExamples(_store(view)))
    if run.labels:
        return run.labels[0]
    why = run.failures[0].error if run.failures else "It did not fire on the text that was read."
    raise LLMAnswerError(f"There is no label for feature {index:,}. {why}", where="index")


def _wanted(
    features: FeatureViews, view: View, indices: Iterable[int] | None, again: bool, limit: int | None
) -> list[int]:
    """The latents that are to be labelled."""
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise ConfigError(f"This is a number of features, not {limit!r}.", where="limit", hint="Use 1 or more.")
    if indices is not None:
        return _inside(indices, view.d_sae)[:limit]
    live = set((_store(view).fired > 0).nonzero()[0].tolist())
    if not again:
        live -= {index for index, label, *_ in features.rows.noted(view.origin) if label}
    return sorted(live)[:limit]


def plan_labels(
    features: FeatureViews, view: View, llm: Any, indices: Iterable[int] | None, again: bool, limit: int | None,
    settings: dict[str, Any],
) -> Plan:
    """See `Features.plan_labels`."""
    store = _store(view)
    wanted = _wanted(features, view, indices, again, limit)
    return plan(
        wanted, _asked(llm), StoreExamples(store), existing=_labels(features, view, wanted),
        **_priced(_known(settings, "options", "price", "first", "model")),
    )


def auto_label(
    features: FeatureViews, view: View, llm: Any, indices: Iterable[int] | None, again: bool, limit: int | None,
    settings: dict[str, Any],
) -> LabelRun:
    """See `Features.auto_label`."""
    store = _store(view)
    llm, options = _asked(llm), _options(settings.pop("options", None))
    wanted = _wanted(features, view, indices, again, limit)
    seen = _Seen(store, options)
    existing = _labels(features, view, wanted)
    with _saving(features, view, seen.kept) as saver:
        return label_features(
            wanted, llm, seen, options=options, existing=existing, on_label=saver.add,
            **_priced(
                _known(settings, "concurrency", "price", "max_cost", "max_failures", "control", "progress", "model")
            ),
        )


def score(
    features: FeatureViews, view: View, llm: Any, indices: Iterable[int] | None, settings: dict[str, Any]
) -> ScoreRun:
    """See `Features.score`."""
    wanted = None if indices is None else _inside(indices, view.d_sae)
    counting = (shown(labels) for labels in by_feature(_labels(features, view, wanted)).values())
    labels = [label for label in counting if label is not None]
    known = _priced(_known(
        settings, "scorer", "n_pos", "n_neg", "seed", "per_prompt", "context", "concurrency", "price", "max_cost",
        "max_failures", "control", "progress", "model",
    ))  # fmt: skip
    negatives = max(_NEGATIVES, count(known.get("n_neg", 0), "n_neg", "a number", most=10_000))
    with _saving(features, view, {}) as saver:
        return score_labels(
            labels, StoreExamples(_store(view), negatives), _asked(llm), on_label=saver.add, **known
        )


def import_labels(features: FeatureViews, view: View, source: str | Path, on_error: str | None) -> Imported:
    """See `Features.import_labels`."""
    text = path_text(source, "source", "a file of labels, or MODEL/SOURCE on Neuronpedia")
    there = path(text, "source", "a file of labels").exists()
    if not there and _SITE.fullmatch(text) and not text.endswith((".csv", ".jsonl")):
        model_id, source_id = text.split("/")
        imported = NeuronpediaClient().export(
            model_id, source_id, view.d_sae, on_error=on_error or "skip",  # type: ignore[arg-type]
        )
    else:
        imported = read_labels(Path(text).expanduser(), view.d_sae, on_error=on_error)  # type: ignore[arg-type]
    if not imported.labels and not imported.problems:
        raise FormatError("There is no label in it.", where=Path(text).name, hint="Choose another file.")
    own = {label.index: label.text for label in _labels(features, view, None) if label.source == "user"}
    labels = [
        replace(label, source="imported", method=label.method or "a person's")
        if label.source == "user" and own.get(label.index, label.text) != label.text else label
        for label in imported.labels
    ]  # fmt: skip
    put(features, view, labels, {})
    return Imported(labels, imported.problems)


def export_labels(features: FeatureViews, view: View, path: Path, indices: Iterable[int] | None) -> Path:
    """See `Features.export_labels`."""
    wanted = None if indices is None else _inside(indices, view.d_sae)
    return write_labels(_labels(features, view, wanted), path.expanduser())


def interpretations(features: FeatureViews, view: View, path: Path, indices: Iterable[int] | None) -> dict[str, int]:
    """See `Features.interpretations`."""
    wanted = range(view.d_sae) if indices is None else _inside(indices, view.d_sae)
    labels = by_feature(_labels(features, view, None))
    return write_interpretations(interpret_features(StoreExamples(_store(view)), wanted, labels), path.expanduser())


def _labels(features: FeatureViews, view: View, indices: Iterable[int] | None) -> list[Label]:
    return from_records(features.rows.labels(view.origin, indices))


def _asked(llm: Any) -> Any:
    return offline() if llm is None else llm


def _options(options: Any) -> LabelOptions:
    if options is None:
        return LabelOptions()
    return kind(options, LabelOptions, "options", "how labels are asked for", "Give LabelOptions(…).")


def _store(view: View) -> Store:
    if view.store is None:
        raise StateError(
            "Its features were not extracted yet.", where=view.origin.id,
            hint="Start an extraction: ws.extractions.create(sae_id=…).",
        )
    return view.store


def _inside(indices: Iterable[int], d_sae: int) -> list[int]:
    found = numbers(indices, "indices")
    for index in found:
        if not 0 <= index < d_sae:
            raise ConfigError(
                f"There is no feature {index:,}: this SAE has {d_sae:,}.", where="indices",
                hint=f"Choose from 0 to {d_sae - 1:,}.",
            )
    return found


def _priced(settings: dict[str, Any]) -> dict[str, Any]:
    """The same, a pair of numbers as a price."""
    price = settings.get("price")
    if price is None or isinstance(price, Price):
        return settings
    if not isinstance(price, Sequence) or len(price) != 2 or not all(isinstance(one, int | float) for one in price):
        raise ConfigError(
            "A price is two numbers.", where="price", hint="Give (per million tokens in, per million tokens out)."
        )
    return {**settings, "price": Price(*price)}


def _known(settings: Mapping[str, Any], *names: str) -> dict[str, Any]:
    for name, value in settings.items():
        if name not in names:
            raise ConfigError("There is no such setting.", where=name, hint=f"Use {', '.join(names)}.")
        if name == "progress" and value is not None and not callable(value):
            refuse(value, name, "what is told how far it is, a function", "Give a function of a Progress.")
        if name == "control" and value is not None and not callable(getattr(value, "check", None)):
            refuse(value, name, "what may end the run, a Control", "Leave it out.")
        if name == "options":
            _options(value)
    return dict(settings)
