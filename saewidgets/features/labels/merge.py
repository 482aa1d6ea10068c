"""Many labels of one latent: which of them are the same, which are kept, which one is shown.

A person's label wins and nothing else is lost by it: it is shown, and the automatic and imported ones stay beside it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import replace

from saewidgets.features.labels.label import Label

HEURISTIC = "offline heuristic"
"""What the heuristic calls itself where a label names its model."""


def identity(label: Label) -> Hashable:
    """Labels with the same identity are versions of one.

    A person has one label per latent; a model has one per question; an import has one per text.
    """
    if label.source == "user":
        return (label.index, "user")
    if label.source == "auto":
        return (label.index, "auto", label.method, label.model, label.prompt_hash)
    return (label.index, "imported", label.method, label.model, label.text)


def merge(kept: Iterable[Label], new: Iterable[Label]) -> list[Label]:
    """Both, every label once: of two versions the newer, `new` where they are of one age.

    A failure never replaces a label. Scores of both versions stay while the text is the same. Sorted by latent, and
    within it in the order of `ranked`.
    """
    found: dict[Hashable, Label] = {}
    for label in (*kept, *new):
        key = identity(label)
        found[key] = _newer(found[key], label) if key in found else label
    grouped = by_feature(found.values())
    return [label for index in sorted(grouped) for label in ranked(grouped[index])]


def _newer(old: Label, new: Label) -> Label:
    if bool(old.error) != bool(new.error):
        return old if new.error else new
    first, last = (new, old) if new.created_at < old.created_at else (old, new)
    if first.text != last.text:
        return last
    both = last
    for score in first.scores:
        if not any((s.scorer, s.model, s.prompt_hash) == (score.scorer, score.model, score.prompt_hash)
                   and s.created_at >= score.created_at for s in last.scores):
            both = both.with_score(score)
    return replace(both, scores=tuple(sorted(both.scores, key=lambda s: (s.created_at, s.scorer, s.model))))


def ranked(labels: Iterable[Label]) -> list[Label]:
    """The one to show first: a person's, then those of models and imports, then the heuristic's; newer ones first.

    Failures come last.
    """
    return sorted(labels, key=lambda label: (_rank(label), -label.created_at, repr(identity(label))))


def _rank(label: Label) -> int:
    if label.error:
        return 3
    if label.source == "user":
        return 0
    return 2 if label.source == "auto" and label.model == HEURISTIC else 1


def shown(labels: Iterable[Label]) -> Label | None:
    """The label that stands for one latent; None if there is none but failures."""
    return next((label for label in ranked(labels) if not label.error), None)


def by_feature(labels: Iterable[Label]) -> dict[int, list[Label]]:
    """Labels by the number of their latent, in the order they came."""
    grouped: defaultdict[int, list[Label]] = defaultdict(list)
    for label in labels:
        grouped[label.index].append(label)
    return dict(grouped)
