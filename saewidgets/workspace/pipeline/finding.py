"""Which stores and runs of a workspace are those of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from saewidgets.activation_records import ActivationStoreRecord
from saewidgets.config import TrainingConfig
from saewidgets.config.base import Config
from saewidgets.config.capture import CaptureConfig
from saewidgets.errors import ConfigError
from saewidgets.events import JobStatus
from saewidgets.records import TrainingRecord
from saewidgets.workspace.corpora import is_reference

LEFT = (JobStatus.PAUSED, JobStatus.INTERRUPTED)
_NOT_COMPARED = ("name", "device")  # of a configuration: what does not say what is learned


def is_captured_as(record: ActivationStoreRecord, wanted: Mapping[str, Any]) -> bool:
    """Whether it was captured with these settings, by their names."""
    known = _completed(CaptureConfig, record.config)
    rest = all(known.get(name) == value for name, value in wanted.items() if name != "corpus")
    return rest and _same_text(wanted["corpus"], known.get("corpus"))


def of_one_text(
    hook_names: Mapping[int, str], records: Sequence[ActivationStoreRecord]
) -> Sequence[ActivationStoreRecord]:
    """Those of these, newest first, whose layers may stand side by side: captured from the same text by the same model,
    as far as that is known before they are whole. Of several such sets the one that holds most of the layers."""
    sets: dict[Any, list[ActivationStoreRecord]] = {}
    for record in records:
        if record.is_whole:
            known = record.facts.get("model_fingerprint"), record.facts.get("corpus_fingerprint")
            sets.setdefault(known, []).append(record)
    most = {record.id for record in max(sets.values(), key=lambda found: len(cover(hook_names, found)), default=[])}
    return [record for record in records if record.id in most or not record.is_whole]


def cover(
    hook_names: Mapping[int, str], records: Sequence[ActivationStoreRecord]
) -> dict[int, ActivationStoreRecord]:
    """Layer → which of these, newest first, its activations come from; layers of which none has them are missing.

    Whole stores come first, of these the one that holds most of the layers, of these the newest. One that is not
    whole counts where it holds all layers that no whole one does.
    """
    held = {record.id: {n for n, name in hook_names.items() if record.holds(name)} for record in records}
    found: dict[int, ActivationStoreRecord] = {}
    for record in sorted(records, key=lambda record: (not record.is_whole, -len(held[record.id]))):
        missing = hook_names.keys() - found.keys()
        if record.is_whole or held[record.id] >= missing:
            found |= dict.fromkeys(held[record.id] & missing, record)
    return {layer: found[layer] for layer in hook_names if layer in found}


def is_run_of(record: TrainingRecord, configs: Sequence[TrainingConfig]) -> bool:
    """Whether it learns what one of these does, wherever it runs and whatever it is called."""
    known = _comparable(_completed(TrainingConfig, record.config))
    return any(_comparable(config.to_data()) == known for config in configs)


def counts(record: TrainingRecord) -> bool:
    """Whether this run is one to go on with: it works, waits, was left by its process or failed behind a checkpoint
    that is good, or has left an SAE."""
    if record.status is JobStatus.FAILED and record.error is not None and record.error.resumes:
        return record.checkpoint_count > 0
    return not record.status.is_final or record.status in LEFT or record.sae_path is not None


def _same_text(wanted: Mapping[str, Any], known: Any) -> bool:
    """Whether the corpus of a row is the one that is wanted. Rows know long text by its hash and datasets by their
    commit."""
    if not isinstance(known, Mapping):
        return False
    changes: dict[str, Any] = {}
    if is_reference({"corpus": known}):
        from saewidgets.training.environment import text_digest  # torch: seconds to import

        changes["strings"] = text_digest(wanted.get("strings") or ())
    if "revision" in known and wanted.get("revision") is None:
        changes["revision"] = known["revision"]
    return bool(_plain({**wanted, **changes}) == _plain(known))


def _completed(kind: type[Config], config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A recorded configuration with the settings that came later, at their defaults: what was done without them."""
    try:
        return kind.from_data(config).to_data()
    except ConfigError:  # recorded by a version whose settings mean something else
        return config


def _comparable(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without its name and the place it runs at."""
    return {name: _plain(value) for name, value in config.items() if name not in _NOT_COMPARED}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, Sequence) and not isinstance(value, str) else value
