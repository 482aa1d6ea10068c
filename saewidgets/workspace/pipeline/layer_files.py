"""What a pipeline leaves in a folder, for people and programs without a workspace.

    sae_layer_6_best/           the SAE of the best checkpoint, in SAELens' format
    sae_layer_6_final/          the SAE at the end
    sae_layer_6_history.json    the run's configuration and every metric: name → steps and values

Of another site than the residual stream after the layer the name says so: ``sae_layer_6_mlp_out_best``.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.activation_records import ActivationStoreRecord
from saewidgets.config import TrainingConfig
from saewidgets.config.base import Config
from saewidgets.config.capture import CaptureConfig
from saewidgets.durable import storage_errors
from saewidgets.errors import ConfigError, FormatError, NotFoundError, StorageError
from saewidgets.events import JobStatus
from saewidgets.records import TrainingRecord
from saewidgets.workspace.corpora import is_reference
from saewidgets.workspace.folders import draft_folder

if TYPE_CHECKING:
    from saewidgets.records import CheckpointRecord
    from saewidgets.workspace.training.run import Run
    from saewidgets.workspace.workspace import Workspace


MADE_BY = "saewidgets pipeline"


@dataclass(frozen=True, slots=True)
class LayerFiles:
    """Where one layer's files are."""

    layer: int
    best: Path
    final: Path
    history: Path


def places(folder: Path, layer: int, site: str) -> LayerFiles:
    """The names of one layer's files in `folder`; `site` is what follows ``blocks.6.`` in the hook name."""
    plain = site.removeprefix("hook_").replace(".", "_")
    stem = f"sae_layer_{layer}" + ("" if plain == "resid_post" else f"_{plain}")
    return LayerFiles(layer, folder / f"{stem}_best", folder / f"{stem}_final", folder / f"{stem}_history.json")


def write_layer(workspace: Workspace, run: Run, target: LayerFiles) -> None:
    """Write the files of one run; earlier ones of a pipeline are replaced, anything else is left alone."""
    sae = run.sae_path
    _refuse_others(target)
    what = f"The files of layer {target.layer} cannot be written"
    with storage_errors(what, target.history.parent, "Choose another folder, or free some space."):
        with draft_folder(target.history.parent) as draft:
            shutil.copytree(sae, draft / "final")
            best_step = _write_best(run, draft)
            history = _history(workspace, run, target.layer, best_step)
            (draft / "history.json").write_text(json.dumps(history, indent=1, ensure_ascii=False) + "\n", "utf-8")
            target.history.unlink(missing_ok=True)  # it vouches for the folders: first away, last there
            for name, place in (("best", target.best), ("final", target.final)):
                if place.exists():
                    shutil.rmtree(place)
                (draft / name).rename(place)
            os.replace(draft / "history.json", target.history)


def _refuse_others(target: LayerFiles) -> None:
    """Whether what is there was written by a pipeline, as the history beside it says."""
    if not any(path.exists() or path.is_symlink() for path in (target.best, target.final, target.history)):
        return
    try:
        found = json.loads(target.history.read_text("utf-8"))
        if isinstance(found, dict) and found.get("made_by") == MADE_BY and not _links(target):
            return
    except (OSError, ValueError):
        pass  # it is not ours, which is what the error says
    raise StorageError(
        f"There is something else under the names of layer {target.layer}.", where=str(target.history.parent),
        hint="Choose another folder.",
    )


def _links(target: LayerFiles) -> bool:
    return any(path.is_symlink() for path in (target.best, target.final, target.history))


def _write_best(run: Run, draft: Path) -> int | None:
    """The best checkpoint's SAE as ``best``; the final one where that is the best, or nothing was judged."""
    from saewidgets.training.checkpoint import read_checkpoint  # torch: seconds to import
    from saewidgets.training.export import sae_of, save_final

    checkpoint = _best(run)
    if checkpoint is None or "final" in checkpoint.kinds:
        shutil.copytree(draft / "final", draft / "best")
        return None if checkpoint is None else checkpoint.step
    made = save_final(sae_of(run.config, read_checkpoint(Path(checkpoint.path))), draft / "made")
    made.rename(draft / "best")
    return checkpoint.step


def _best(run: Run) -> CheckpointRecord | None:
    return next((c for c in reversed(run.checkpoints()) if "best" in c.kinds and Path(c.path).is_dir()), None)


def _history(workspace: Workspace, run: Run, layer: int, best_step: int | None) -> Mapping[str, Any]:
    record = run.record
    try:
        config: Mapping[str, Any] = run.config.to_data()
    except (NotFoundError, FormatError):  # its text is on another machine: the row says which text it was
        config = record.config
    names = workspace.catalog.metrics.names(record.id)
    columns = workspace.trainings.metric_columns(record.id, names)
    steps = [int(step) for step in columns["step"]]
    metrics = {}
    for name in names:
        pairs = [(s, float(v)) for s, v in zip(steps, columns[name], strict=True) if math.isfinite(v)]
        metrics[name] = {"step": [s for s, _ in pairs], "value": [v for _, v in pairs]}
    return {
        "made_by": MADE_BY, "layer": layer, "hook_name": record.hook_name, "training_id": record.id,
        "status": record.status.value, "step": record.step, "tokens": record.tokens_done, "best_step": best_step,
        "final": dict(record.latest), "config": dict(config), "metrics": metrics,
    }  # fmt: skip


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
