"""Turns the data of a feature into the messages that a page draws. Pure functions.

Texts and labels come from models, corpora and other people: they are data, cut to a length and never interpreted. The
objects of the store are taken by their attributes (see `features/store/feature_data.py`): widgets import nothing of it.
"""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from saewidgets.feature_records import ExtractionRecord, FeatureRecord, LabelRecord, RelatedRecord
from saewidgets.render.numbers import tokens as token_count
from saewidgets.widgets.commands import Table
from saewidgets.widgets.messages import features as messages
from saewidgets.widgets.messages.saes import Histogram, SaeFact
from saewidgets.widgets.values import finite, shorten

LABEL_LENGTH = 1_000
TEXT_LENGTH = 20_000
LABELS = 50
TOKEN_ROWS = 20
PIECE_LENGTH = 500  # characters of one token
_TOKENS = re.compile(r"‘(.+?)’(?:, | or |$)", re.DOTALL)  # as the heuristic writes them


class Texts:
    """Texts of tokens, each once; tokens point into the list."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def add(self, pieces: Iterable[str]) -> tuple[int, ...]:
        places = self._places
        return tuple(places.setdefault(shorten(str(piece), PIECE_LENGTH), len(places)) for piece in pieces)

    @property
    def all(self) -> tuple[str, ...]:
        return tuple(self._places)


def row_of(record: FeatureRecord) -> messages.FeatureListRow:
    """One feature as the list shows it."""
    return messages.FeatureListRow.of(
        record, density=_number(record.density), max=_number(record.max), score=finite(record.score), **_named(record)
    )


def _named(record: FeatureRecord) -> dict[str, Any]:
    """The fields of a `NamedFeature`. Where the label is a list of tokens, they stand for it."""
    tokens = tokens_of(record.label, record.label_source)
    return {
        "index": record.index, "label": "" if tokens else shorten(record.label, LABEL_LENGTH),
        "auto": bool(record.label) and record.label_source != "user",
        "top_tokens": tuple(shorten(token, 60) for token in (tokens or record.top_tokens)[:3]),
    }  # fmt: skip


def tokens_of(label: str, source: str) -> tuple[str, ...]:
    """The tokens of an automatic label that is nothing but a list of them."""
    return tuple(_TOKENS.findall(label)) if source == "auto" and not _TOKENS.sub("", label) else ()


def notes_of(record: FeatureRecord) -> messages.FeatureNotes:
    """Its labels, star and note; the label that counts comes first."""
    labels = [label for label in record.labels if label.text and not label.error]
    return messages.FeatureNotes(
        index=record.index, labels=tuple(_label(label) for label in labels[:LABELS]),
        notes=shorten(record.notes, TEXT_LENGTH), starred=record.starred,
    )  # fmt: skip


def _label(label: LabelRecord) -> messages.FeatureLabel:
    return messages.FeatureLabel.of(
        label, text=shorten(label.text, LABEL_LENGTH), description=shorten(label.description, TEXT_LENGTH),
        by=shorten(label.by, 300), tokens=tokens_of(label.text, label.source),
        score_at=next((s["created_at"] for s in label.scores if s["value"] == label.score and s.get("verdicts")), None),
    )  # fmt: skip


def judged_label(windows: Sequence[Any]) -> Table[messages.JudgedLabel]:
    """The windows behind a score, and their activations."""
    texts, ordered = Texts(), sorted(windows, key=lambda each: 2 if each.said is None else each.said == each.positive)
    judged = messages.JudgedLabel(
        windows=tuple(texts.add(each.tokens) for each in ordered), fires=tuple(each.positive for each in ordered),
        said=tuple(each.said for each in ordered), texts=texts.all,
    )  # fmt: skip
    return Table(judged, ("activations",), (floats([each.activations for each in ordered]),))


def feature_page(
    extraction: ExtractionRecord, manifest: Any, data: Any, record: FeatureRecord, link: str
) -> Table[messages.FeaturePage]:
    """The page of one feature, with the values of all examples one after another; `data`: what the store has."""
    texts = Texts()
    values: list[Any] = []
    groups = tuple(_group(group, texts, values) for group in data.groups)
    page = messages.FeaturePage(
        extraction_id=extraction.id, index=int(data.index), density=_number(data.density), fired=int(data.fired),
        n_tokens=int(manifest.n_tokens), max=_number(data.max), mean=_number(data.mean),
        n_documents=int(data.n_documents), documents=int(manifest.n_documents), notes=notes_of(record),
        row=row_of(record), texts=texts.all, groups=groups,
        histogram=activation_histogram(data.counts.tolist(), data.edges.tolist()),
        tokens=token_counts(data.groups), facts=facts_of(extraction, manifest), link=link, list_max=_number(data.max),
    )  # fmt: skip
    return Table(page, ("activations",), (floats(values),))


def _group(group: Any, texts: Texts, values: list[Any]) -> messages.ExampleGroup:
    examples = tuple(_example(example, texts, values) for example in group.examples)
    if group.kind == "top":
        return messages.ExampleGroup(title="Top activations", count=int(group.count), examples=examples)
    low, high = float(group.low), float(group.high)
    return messages.ExampleGroup(
        title=f"Interval {edge(low)} – {edge(high)}", low=low, high=high, count=int(group.count),
        share=_number(group.share), token_share=_number(group.token_share), examples=examples,
    )  # fmt: skip


def _example(example: Any, texts: Texts, values: list[Any]) -> messages.ExampleData:
    values.append(example.activations)
    return messages.ExampleData(
        position=int(example.position), value=_number(example.value), peak=int(example.peak),
        tokens=texts.add(example.pieces), before=bool(example.before), after=bool(example.after),
        offset=int(example.offset), context=int(example.context),
    )  # fmt: skip


def token_counts(groups: Sequence[Any], most: int = TOKEN_ROWS) -> tuple[messages.TokenCount, ...]:
    """At which tokens the kept examples peak, the commonest first; a place that is in two groups counts once."""
    places = {int(e.position): e for group in groups for e in group.examples}
    found: dict[str, list[float]] = {}
    for example in places.values():
        token = shorten(str(example.pieces[example.peak]), PIECE_LENGTH)
        found.setdefault(token, []).append(float(example.value))
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), -max(item[1])))
    return tuple(
        messages.TokenCount(token=token, count=len(of), share=len(of) / len(places), mean=_number(sum(of) / len(of)))
        for token, of in ordered[:most]
    )


def activation_histogram(counts: Sequence[int], edges: Sequence[float]) -> Histogram | None:
    """Counts of non-zero activations; None for a feature that did not fire."""
    if not sum(counts):
        return None
    peak = int(np.argmax(counts))
    return Histogram(
        title="Activations", note="non-zero", x_label="activation", edges=tuple(edges), counts=tuple(counts),
        summary=f"Non-zero activations: {sum(counts):,} from {edge(edges[0])} to {edge(edges[-1])}. "
        f"Most are between {edge(edges[peak])} and {edge(edges[peak + 1])}.",
    )  # fmt: skip


def effect_histogram(counts: tuple[int, ...], edges: tuple[float, ...]) -> Histogram | None:
    """How the logits of all tokens change per unit of activation; None where only stored tables could be read."""
    if not counts:
        return None
    tokens = f"{sum(counts):,} tokens"
    return Histogram(
        title="Logit effects", note=tokens, x_label="change of logit", edges=edges, counts=counts,
        summary=f"Logit effects on {tokens}, from {edge(edges[0])} to {edge(edges[-1])}.",
    )  # fmt: skip


def facts_of(extraction: ExtractionRecord, manifest: Any) -> tuple[SaeFact, ...]:
    """The origin of the page's numbers."""
    corpus = extraction.config.get("corpus")
    kind = corpus.get("kind") if isinstance(corpus, Mapping) else None
    left_out = [
        f"{int(count):,} {what}"
        for count, what in (
            (manifest.n_excluded_special, "special"), (manifest.n_excluded_norm, "with an outlying norm")
        ) if count
    ]  # fmt: skip
    counted = f"{int(manifest.n_tokens):,} tokens in {int(manifest.n_contexts):,} contexts of {manifest.context_size:,}"
    rows: list[tuple[str, str, bool]] = [
        ("SAE", extraction.name, False),
        ("Model", extraction.model, False),
        ("Hook name", extraction.hook_name, True),
        ("Text", "the demo corpus" if kind == "demo" else "", False),
        ("Read", counted, False),
        ("Left out", ", ".join(left_out), False),
        ("Extraction", extraction.id, True),
        ("Weights", "others than the SAE has now" if extraction.other_weights else "", False),
    ]
    return tuple(SaeFact(label=label, value=shorten(value, 300), code=code) for label, value, code in rows if value)


def prompt_row(record: FeatureRecord, values: Any) -> messages.PromptRow:
    """A feature that fires on a prompt, and its activations ``[n]``."""
    return messages.PromptRow(
        density=_number(record.density), max=_number(np.max(values)) if len(values) else 0.0,
        own_max=_number(record.max), **_named(record),
    )  # fmt: skip


def related(found: RelatedRecord) -> messages.RelatedFeature:
    """A neighbour of a feature."""
    return messages.RelatedFeature(value=_number(found.value), **_named(found.feature))


def floats(parts: Sequence[Any], unknown: float = 0.0) -> bytes:
    """Arrays of numbers, one after another, as little-endian float32; NaN and infinity become `unknown`."""
    if not parts:
        return b""
    joined = np.concatenate([np.asarray(part, dtype="<f4").ravel() for part in parts])
    return bytes(np.where(np.isfinite(joined), joined, unknown).astype("<f4").tobytes())


def edge(value: float) -> str:
    """A bound of an interval: three significant digits, without zeros at the end: 12.5, 0.4, 1,230, 0."""
    if abs(value) >= 999.5:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def version_label(record: ExtractionRecord) -> str:
    """ "19 Nov, 1M tokens": an extraction among others of the same SAE."""
    day = time.strftime("%d %b", time.localtime(record.created_at)).lstrip("0")
    weights = ", other weights" if record.other_weights else ""
    return f"{day}, {token_count(record.n_tokens or record.tokens_total)} tokens{weights}"


def _number(value: Any) -> float:
    found = finite(float(value)) if value is not None else None
    return 0.0 if found is None else found
