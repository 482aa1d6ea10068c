"""Scores of the demo SAE's labels, made from what the package keeps of the extraction, and made again."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from demo_sae_files import ABOUT, LABELS, write_archive

from saewidgets.demo.sae import PARTS, about_sae, sae_labels, unpack_sae
from saewidgets.feature_records import LabelRecord
from saewidgets.features.labels import Label, offline, score_labels
from saewidgets.features.store.read import FeatureStore
from saewidgets.workspace.features import from_record, to_record
from saewidgets.workspace.reading.store_examples import StoreExamples

WINDOWS = 20  # of either kind


def scored(store: FeatureStore, labels: Iterable[Label]) -> list[Label]:
    """`labels` with new scores instead of those they have: fuzzing, and detection where silent windows are known.

    The newest score of a label is the one that lists show; that is detection where there is one.
    """
    examples = StoreExamples(store, negatives=WINDOWS)
    found = {label.index: replace(label, scores=()) for label in labels}
    for scorer in ("fuzzing", "detection"):
        run = score_labels(found.values(), examples, offline(), scorer=scorer, n_pos=WINDOWS, n_neg=WINDOWS)
        found |= {label.index: label for label in run.labels}
    return list(found.values())


def score_again(
    out: Path, work: Path, label: Callable[[FeatureStore], list[Label]] | None = None
) -> tuple[FeatureStore, list[Label], int]:
    """Make the scores of the packaged labels again, and write the package's files into `out`; all else in them stays.

    Args:
        out: where both files go.
        work: a folder that is empty or missing; the parts of the package are unpacked into it.
        label: makes the labels again as well.

    Returns:
        The packaged extraction, its labels with their new scores, and the bytes of both files.
    """
    about = about_sae()
    parts = {part: work / part / about.tokens if part == "tokens" else work / part for part in PARTS}
    for part, folder in parts.items():
        folder.mkdir(parents=True)
        unpack_sae(part, folder)
    before = [from_record(LabelRecord(**{**row, "scores": tuple(row["scores"])})) for row in sae_labels()]
    store = FeatureStore(parts["extraction"], work / "tokens")
    before = before if label is None else label(store)
    labels = scored(store, before)
    facts = {name: value for name, value in asdict(about).items() if name not in ("sae_id", "extraction_id", "files")}
    size = write_archive(out, facts, parts, [asdict(to_record(label)) for label in labels])
    _check(out, about.files, before, labels)
    return store, labels, size


def _check(out: Path, before: Mapping[str, Any], old: Sequence[Label], new: Sequence[Label]) -> None:
    """Raises `SystemExit` if more than scores is different."""
    after = json.loads((out / ABOUT).read_text("utf-8"))["files"]
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if [name for name in changed if name != LABELS]:
        raise SystemExit(f"These files have changed, and should not have: {', '.join(changed)}.")
    if [replace(label, scores=()) for label in old] != [replace(label, scores=()) for label in new]:
        raise SystemExit("The labels themselves have changed.")
