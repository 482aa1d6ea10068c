"""What a training has learned, copied into the library: one SAE per training, however often and from wherever."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.catalog import new_sae_id
from saewidgets.config.names import one_name
from saewidgets.errors import StateError
from saewidgets.records import SAERecord, TrainingRecord
from saewidgets.workspace.folders import draft_folder, folder_size, remove_tree
from saewidgets.workspace.library.intake import layer_of, plain
from saewidgets.workspace.library.sae_files import FOLDER, no_room, remove_files
from saewidgets.workspace.library.unlisted import unlisted

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace


def import_training(workspace: Workspace, training_id: str) -> SAERecord:
    """See `SAEs.import_training`."""
    run = workspace.trainings.get(training_id)
    record = run.record
    existing = workspace.catalog.saes.by_training(record.id)
    if existing is not None and (not record.status.is_final or _is_current(existing, record)):
        return existing
    if not record.status.is_final:
        raise StateError(f"{record.name} is {record.status}.", where=record.id, hint="Import it when it has ended.")
    sae_id = existing.id if existing is not None else new_sae_id()
    # A folder of its own each time: the row changes from one whole copy to the next in one transaction.
    folder = workspace.folder / FOLDER / (f"{sae_id}-{uuid.uuid4().hex[:8]}" if existing else sae_id)
    with unlisted(workspace, folder), unlisted(workspace, Path(existing.path) if existing is not None else None):
        _copy(run.sae_path, folder, record.name)
        try:
            taken, unused = _take(workspace, existing, sae_id, record, folder)
        except BaseException:
            remove_tree(workspace.folder, folder)
            raise
        remove_files(workspace, unused)
    return taken


def _take(
    workspace: Workspace, existing: SAERecord | None, sae_id: str, record: TrainingRecord, folder: Path
) -> tuple[SAERecord, Path | None]:
    """The row of the copy in `folder`, and the files that no row names now.

    The row is a new one, the existing one turned to the copy, or that of another process that was quicker.
    """
    from saewidgets.formats import describe  # torch: seconds to import

    found = describe(folder)
    metadata: dict[str, Any] = {
        "trained_as": record.architecture, "tokens": record.tokens_done, "latest": dict(record.latest),
        "settings": plain(dict(found.settings)),
        **_trained_with(record, workspace.trainings.was_given_a_model(record)),
    }  # fmt: skip
    if (model := one_name(record.model)) != record.model:
        metadata["origin"] = {"model": record.model}
    about: dict[str, Any] = {
        "architecture": found.architecture or record.architecture, "d_in": found.d_in, "d_sae": found.d_sae,
        "d_out": found.d_out, "dtype": found.dtype, "format": found.format,
    }  # fmt: skip
    rows = workspace.catalog.saes
    if existing is not None:
        taken, before = rows.replace(existing.id, path=folder, metadata=metadata, **about)
        return taken, Path(before)
    taken = rows.add(
        id=sae_id, name=record.name, source="trained", model=model, hook_name=record.hook_name,
        layer=layer_of(record.hook_name), path=folder, training_id=record.id, metadata=metadata, **about,
    )  # fmt: skip
    return taken, None if taken.id == sae_id else folder


def _is_current(sae: SAERecord, record: TrainingRecord) -> bool:
    """Whether the library has what the training left last, or the training has nothing (any more) to compare."""
    if record.sae_path is None or not Path(record.sae_path).is_dir():
        return True
    if sae.state != "ok":  # the library's files are gone or altered: they are brought back
        return False
    try:  # cfg.json says after how many tokens it was exported, and what was measured then
        return _description(Path(sae.path)) == _description(Path(record.sae_path))
    except OSError:
        return False


def _copy(source: Path, target: Path, name: str) -> None:
    with draft_folder(target.parent) as draft:
        try:
            for file in sorted(source.iterdir()):
                shutil.copyfile(file, draft / file.name)
            draft.rename(target)
        except OSError as error:
            raise no_room(error, target.parent, name, folder_size(source)) from error


def _description(folder: Path) -> bytes:
    return (folder / "cfg.json").read_bytes()


def _trained_with(record: TrainingRecord, model_given: bool) -> dict[str, Any]:
    """What an SAE's metadata keep of its training, so that it can be measured when that is gone.

    Text that was held in memory is left out: it goes with the training.
    """
    config = dict(record.config)
    if isinstance(corpus := config.get("corpus"), Mapping) and corpus.get("strings"):
        del config["corpus"]
    return {"config": config, "model_given": model_given}
