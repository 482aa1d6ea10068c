"""The files of the library's SAEs: how they come in (`take_in`, `import_training`, `locate`), where they are
(`folder_of`) and what of them may be removed (`remove_files`, `unlisted`). Used by `ws.saes` and downloads.

Files are looked at, loaded, converted and moved into place, and only then listed. Around what makes or removes a folder
and its row there is a note of its name in ``.unlisted/``. A process that is killed there leaves the note, and a later
opening of the workspace removes the folder unless a row names it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.catalog import new_sae_id
from saewidgets.config.names import free_name, one_name, storable, without_paths
from saewidgets.durable import storage_errors, whole_file
from saewidgets.errors import (
    CatalogError,
    ConfigError,
    FormatError,
    NotFoundError,
    SAEWidgetsError,
    StateError,
    StorageError,
)
from saewidgets.records import SAERecord, TrainingRecord
from saewidgets.workspace.folders import DRAFT_SECONDS, draft_folder, remove_tree, require_files

if TYPE_CHECKING:
    from saewidgets.formats.format import Description
    from saewidgets.formats.source import FolderSource
    from saewidgets.workspace.workspace import Workspace

FOLDER = "saes"  # of the library, in the workspace
NOTES = ".unlisted"
ORIGIN_FILE = "origin.json"
SPARSITY_FILE = "sparsity.safetensors"
MAX_ORIGIN = 256 * 1024  # a source's configuration beyond this is left out
_BESIDE = ("README.md", "LICENSE", "runner_cfg.json", SPARSITY_FILE)  # kept with files that come as they are
_MAX_BESIDE = 64 * 1024**2
_LAYER = re.compile(r"(?:^|[._/-])(?:blocks|layers?|h)[._-](\d{1,4})(?:[./_-]|$)|\.(\d{1,4})(?:\.|$)")
_KEPT = ("l0", "fvu", "ce_loss_score", "training_tokens", "neuronpedia_id", "context_size", "dataset_path")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FileOrigin:
    """Where an SAE came from, and what is known of it beyond its files."""

    source: str  # as in `SAERecord`
    where: str  # a path or a link, for people
    name: str  # a number is added if it is taken
    model: str | None = None
    hook_name: str | None = None
    card_model: str | None = None  # counts where neither a person nor the files name one
    apply_b_dec_to_input: bool | None = None  # where the files leave it open
    layer: int | None = None  # where a path says so and the hook name does not
    repo_id: str | None = None
    revision: str | None = None
    repo_path: str | None = None
    license: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)  # ``l0``, ``canonical``, ``site``, ``width``


def layer_of(name: str | None) -> int | None:
    """The layer in a hook name or a path: ``blocks.12.hook_resid_post``, ``layers.12``, ``layer_12/width_16k``."""
    found = _LAYER.search(name or "")
    return int(found[1] or found[2]) if found else None


def take_in(
    workspace: Workspace, path: Path, origin: FileOrigin, *, instead: SAERecord | None = None,
    check: Callable[[], None] = lambda: None,
) -> SAERecord:
    """Bring the SAE at `path` (a folder, or a file of one) into the library, in SAELens' format where that can express
    it. Loading it checks every tensor. The SAE `instead`, whose files these replace, keeps id, name, notes and tags."""
    # Torch: seconds to import.
    from saewidgets.formats import load_sae
    from saewidgets.formats.registry import locate as found_at

    found = found_at(path)
    source = found.source()
    answers = found.format.answers(origin.apply_b_dec_to_input)
    description = found.format.describe(source, **answers)
    check()
    sae = load_sae(found.path, apply_b_dec_to_input=origin.apply_b_dec_to_input)
    check()
    model, hook_name = (
        storable(name) if name else None
        for name in (origin.model or description.model or origin.card_model, origin.hook_name or description.hook_name)
    )
    sae.metadata |= {key: name for key, name in (("model_name", model), ("hook_name", hook_name)) if name is not None}
    listed = one_name(model) if model else None
    layer = layer_of(hook_name[:255] if hook_name else None)

    def fill(folder: Path) -> dict[str, Any]:
        beside = found.format.beside(source.only) if source.only else ()
        kept = _write(sae, source, description, folder, beside)
        if kept is not None and answers:  # the next load need not ask again
            file = folder / next((name for name in description.files if name.endswith(".json")), "config.json")
            said = json.loads(file.read_text("utf-8")) if file.exists() else {}
            file.write_text(json.dumps({**said, **answers}, indent=2, ensure_ascii=False), "utf-8")
        metadata = _metadata(sae, description, origin, kept)
        if listed != model:
            metadata["origin"]["model"] = model
        if kept is None and description.format != "saelens":
            # The source's own configuration, which a conversion would lose. No path of this machine: it may be
            # published.
            data = {"format": description.format, "config": _plain(description.config)}
            text = json.dumps(data, indent=1, ensure_ascii=False)
            if len(text) <= MAX_ORIGIN:
                (folder / ORIGIN_FILE).write_text(text, encoding="utf-8")
        check()
        return {
            "architecture": sae.cfg.architecture, "d_in": sae.d_in, "d_sae": sae.d_sae, "d_out": sae.d_out,
            "dtype": str(sae.W_dec.dtype).removeprefix("torch."), "metadata": metadata,
            "format": description.format if kept else "saelens",
        }  # fmt: skip

    return _keep(
        workspace, fill, instead, what=origin.where,
        name=free_name(origin.name or "sae", workspace.catalog.saes.names()), source=origin.source,
        model=listed[:512] if listed else None, hook_name=hook_name[:255] if hook_name else None,
        layer=layer if layer is not None else origin.layer, repo_id=origin.repo_id, revision=origin.revision,
        repo_path=origin.repo_path,
    )


def _keep(
    workspace: Workspace, fill: Callable[[Path], dict[str, Any]], instead: SAERecord | None, *, what: str, **listed: Any
) -> SAERecord:
    """Let `fill` write a new folder of the library, and list it: in the row of `instead`, whose own files go, or in a
    new one. Where that fails, the library is as it was, and the error names `what`."""
    rows = workspace.catalog.saes
    sae_id = instead.id if instead is not None else new_sae_id()
    # Beside the folder that it has: its row changes from one whole copy to the next in one transaction.
    target = workspace.folder / FOLDER / (sae_id if instead is None else f"{sae_id}-{uuid.uuid4().hex[:8]}")
    with unlisted(workspace, target, *([Path(instead.path)] if instead is not None else [])):
        try:
            with draft_folder(target.parent) as draft, writing(workspace, what):
                about = fill(draft / "sae")
                (draft / "sae").rename(target)
            if instead is not None:
                record, before = rows.replace(sae_id, path=target, **about)
                remove_files(workspace, Path(before))
            else:
                record = rows.add(id=sae_id, path=target, **listed, **about)
                if record.id != sae_id:  # another process was quicker
                    remove_files(workspace, target)
        except BaseException:
            with suppress(SAEWidgetsError):  # the note stays then
                if not rows.names_folder(target):
                    remove_tree(workspace.folder, target)
            raise
    workspace.storage.offer(target)
    return record


def _write(
    sae: Any, source: FolderSource, description: Description, target: Path, beside: Iterable[str]
) -> str | None:
    """Write the SAE into `target`, and if it is kept as it came, the files `beside` it. Returns why it is; else None.
    """
    from saewidgets.formats import save_sae  # torch: seconds to import

    if description.format == "saelens":  # as it is, byte by byte: it can be found by its hash
        _copy(source, target, description.files)
        return None
    try:
        save_sae(sae, target, format="saelens")
    except (ConfigError, FormatError) as error:
        _copy(source, target, description.files)
        if (around := source.around()) is not None:
            _copy_beside(around, target, beside)
        return error.what
    _copy_beside(source, target, (SPARSITY_FILE,))
    return None


def _copy(source: FolderSource, target: Path, names: Iterable[str]) -> None:
    for name in names:
        _copy_file(source.path(name), target / name)
    _copy_beside(source, target, _BESIDE)


def _copy_beside(source: FolderSource, target: Path, names: Iterable[str]) -> None:
    """Files beside the weights that are worth keeping, if they are there and not too large."""
    for name in names:
        size = source.files().get(name)
        if size is not None and size <= _MAX_BESIDE and not (target / name).exists():
            _copy_file(source.path(name), target / name)


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    with target.open("rb+") as file:  # what is listed must survive a power cut
        os.fsync(file.fileno())


def _metadata(sae: Any, description: Description, origin: FileOrigin, kept: str | None) -> dict[str, Any]:
    settings = {key: value for key, value in description.settings.items() if key not in ("d_in", "d_sae", "d_out")}
    found: dict[str, Any] = {
        "origin": {"format": description.format, "where": storable(origin.where)}, "settings": _plain(settings),
        **_plain(origin.facts),
    }
    if kept is not None:
        found["origin"]["kept"] = kept
    if origin.license:
        found["origin"]["license"] = storable(origin.license)[:200]
    if description.notes:
        found["origin"]["notes"] = list(description.notes)
    measured = {name: sae.metadata.get(name) for name in _KEPT if name not in found}
    plain = {name: value for name, value in measured.items() if isinstance(value, bool | int | float | str)}
    return found | _plain(plain)


def _plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON data that a database can hold: files of strangers may hold anything."""
    from saewidgets.formats.source import plain  # torch: seconds to import

    found: dict[str, Any] = json.loads(storable(json.dumps(plain(data), ensure_ascii=False)))
    return found


# ------------------------------------------------------------------------------------------------ of trainings


def import_training(workspace: Workspace, training_id: str) -> SAERecord:
    """See `SAEs.import_training`."""
    run = workspace.trainings.get(training_id)
    record = run.record
    existing = workspace.catalog.saes.by_training(record.id)
    if existing is not None and (not record.status.is_final or _is_current(existing, record)):
        return existing
    if existing is not None:
        require_files(workspace, existing)
    if not record.status.is_final:
        raise StateError(f"{record.name} is {record.status}.", where=record.id, hint="Import it when it has ended.")

    def fill(folder: Path) -> dict[str, Any]:
        from saewidgets.formats import describe  # torch: seconds to import

        for file in sorted(run.sae_path.iterdir()):
            _copy_file(file, folder / file.name)
        found = describe(folder)
        config = dict(record.config)
        if isinstance(corpus := config.get("corpus"), Mapping) and corpus.get("strings"):
            del config["corpus"]  # text that was held in memory goes with the training
        metadata: dict[str, Any] = {
            "trained_as": record.architecture, "tokens": record.tokens_done, "latest": dict(record.latest),
            "settings": _plain(found.settings), "config": config,  # so that it can be measured without its training
            "model_given": workspace.trainings.was_given_a_model(record),
        }  # fmt: skip
        if one_name(record.model) != record.model:
            metadata["origin"] = {"model": record.model}
        return {
            "architecture": found.architecture or record.architecture, "d_in": found.d_in, "d_sae": found.d_sae,
            "d_out": found.d_out, "dtype": found.dtype, "format": found.format, "metadata": metadata,
        }  # fmt: skip

    return _keep(
        workspace, fill, existing, what=record.name, name=record.name, source="trained", model=one_name(record.model),
        hook_name=record.hook_name, layer=layer_of(record.hook_name), training_id=record.id,
    )


def hide_paths(folder: Path, names: Mapping[str, str] | None = None) -> None:
    """Replace the paths in the JSON files of a folder that leaves this machine, see `without_paths`. Files without a
    path stay unchanged."""
    for file in folder.rglob("*.json"):
        try:
            data = json.loads(file.read_bytes())
        except ValueError:
            continue  # not a configuration
        if (hidden := without_paths(data, names)) != data:
            with whole_file(file) as new:  # not written in place: the file may be the library's own, hard-linked
                new.write(json.dumps(hidden, indent=2))


def _is_current(sae: SAERecord, record: TrainingRecord) -> bool:
    """Whether the library has what the training left last, or the training has nothing (any more) to compare."""
    if record.sae_path is None or not Path(record.sae_path).is_dir():
        return True
    if sae.state != "ok":  # the library's files are gone or altered: they are brought back
        return False
    try:  # cfg.json says after how many tokens it was exported, and what was measured then
        ours, theirs = (Path(folder, "cfg.json").read_bytes() for folder in (sae.path, record.sae_path))
        return ours == theirs
    except OSError:
        return False


# ------------------------------------------------------------------------------------------------ elsewhere

_OWN = "Choose the folder of the same SAE, or add this one as an SAE of its own."


def locate(workspace: Workspace, record: SAERecord, path: str | Path) -> SAERecord:
    """Point a record to the files at `path`; see `SAEs.locate`."""
    # Torch: seconds to import.
    import torch

    from saewidgets.formats import load_sae
    from saewidgets.formats.registry import locate as found_at

    require_files(workspace, record)
    wanted = Path(path).expanduser().absolute()
    library = (workspace.folder / FOLDER).resolve()
    if library in wanted.resolve().parents and wanted.resolve() != Path(record.path).resolve():
        raise ConfigError(
            "This folder belongs to the library, and so to another SAE.", where="path",
            hint="Choose a folder outside the workspace.",
        )
    found = found_at(wanted)
    description = found.format.describe(found.source())
    if found_at(found.source().folder).path != found.path:  # raises if there are several: a row names a folder
        raise FormatError("This folder also holds the files of other SAEs.", where=str(path), hint="Move this one out.")
    sae = load_sae(found.path)  # checks every tensor
    for key in ("d_in", "d_sae", "d_out"):
        expected, here = getattr(record, key), getattr(sae, key)
        if expected is not None and expected != here:
            raise FormatError(
                f"The SAE here has {key} {here:,}; {record.name} has {expected:,}.", where=str(path), hint=_OWN
            )
    if library in Path(record.path).resolve().parents and record.state == "ok" and Path(record.path).is_dir():
        own = load_sae(record.path)  # a whole copy, which is about to be removed
        pairs = ((getattr(sae, name, None), getattr(own, name, None)) for name in ("W_enc", "b_enc", "W_dec", "b_dec"))
        if sae.cfg.architecture != own.cfg.architecture or not all(
            torch.allclose(one.float(), other.float(), rtol=1e-2, atol=1e-4)
            for one, other in pairs if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)
        ):  # fmt: skip
            raise FormatError(
                f"The library still has the files of {record.name}; the SAE at this path is a different one.",
                where=str(path), hint=_OWN,
            )
    with unlisted(workspace, Path(record.path)):
        located, before = workspace.catalog.saes.replace(
            record.id, path=found.source().folder, files=description.files, format=description.format, unused=True,
            architecture=sae.cfg.architecture, dtype=str(sae.W_dec.dtype).removeprefix("torch."), d_out=sae.d_out,
        )  # fmt: skip
        if Path(before) != Path(located.path):
            remove_files(workspace, Path(before))
    return located


# ------------------------------------------------------------------------------------------------ where they are


def writing(workspace: Workspace, what: str) -> AbstractContextManager[None]:
    """Within, files of `what` that the disk refuses are a `StorageError`."""
    hint = "Free some space, check that the workspace can be written, and try again."
    return storage_errors(f"{what} cannot be written into the library", workspace.folder / FOLDER, hint)


def folder_of(workspace: Workspace, record: SAERecord, *, whole: bool = True) -> Path:
    """Where its files are, or if it need not be `whole` what is left of them."""
    path = workspace.storage.fetch(record.path)
    if not path.is_dir():
        raise NotFoundError(
            "The files of the SAE are not here.", where=record.path,
            hint=f"They were on {record.host}. If they were moved, say where to: ws.saes.locate(id, path).",
        )
    if whole and record.state == "missing":
        raise NotFoundError(
            record.state_note, where=record.path,
            hint="Put it back, or say where the files are now: ws.saes.locate(id, path).",
        )
    return path


def remove_files(workspace: Workspace, path: Path) -> int:
    """Remove them if they are the library's own. Returns the bytes freed; see `remove_tree` for links."""
    workspace.storage.remove(path)
    return remove_tree(workspace.folder, path) if is_own(workspace, path) else 0


def is_own(workspace: Workspace, path: Path) -> bool:
    """Whether `path` is a place of the library, whatever is there: the target of a link is not."""
    return (workspace.folder / FOLDER).resolve() in (path.parent.resolve() / path.name).parents


@contextmanager
def unlisted(workspace: Workspace, *folders: Path) -> Iterator[None]:
    """Around what makes or removes folders of the library and their rows; what lies elsewhere is left alone."""
    home = workspace.folder / NOTES
    notes = [home / folder.name for folder in folders if is_own(workspace, folder)]
    with storage_errors("The workspace cannot be written", home, "Check its permissions and the free space."):
        for note in notes:
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(workspace.catalog.key, "utf-8")
    try:
        yield
    finally:
        for note in notes:
            _settle(workspace, note, remove=False)


def sweep(workspace: Workspace) -> None:
    """Remove the folders that killed processes left two days ago or earlier. What a row names stays, and so does what
    belongs to another catalog."""
    for note in (workspace.folder / NOTES).glob("sae_*"):
        try:
            forgotten = note.lstat().st_mtime < time.time() - DRAFT_SECONDS and not note.is_symlink()
            if forgotten and workspace.catalog.key in note.read_text("utf-8", errors="replace"):
                _settle(workspace, note, remove=True)
        except (OSError, StorageError) as error:  # the next opening tries again
            log.warning("Remaining files of %s could not be removed: %s", note.name, error)


def _settle(workspace: Workspace, note: Path, *, remove: bool) -> None:
    """Remove the note once a row names its folder, or the folder is gone."""
    folder = workspace.folder / FOLDER / note.name
    try:
        if os.path.lexists(folder) and not workspace.catalog.saes.names_folder(folder):
            if not remove:
                return
            remove_tree(workspace.folder, folder)
            log.info("Removed %s, left by a killed process.", folder.name)
        note.unlink(missing_ok=True)
    except (CatalogError, PermissionError) as error:  # Windows does not remove what is open
        log.warning("It is not known whether %s is listed: %s", folder.name, error)
