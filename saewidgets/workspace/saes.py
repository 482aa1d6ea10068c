"""`ws.saes`: the library of SAEs. Here: those trained in this workspace and brought in from a folder."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.catalog import new_sae_id
from saewidgets.config.training import HOOK_NAME
from saewidgets.errors import NotFoundError, StateError, StorageError
from saewidgets.records import Records, SAERecord, TrainingRecord
from saewidgets.workspace.files import folder_size, remove_tree
from saewidgets.workspace.reading import trained_with

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

FOLDER = "saes"


class SAEs:
    """The SAEs of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._rows = workspace.catalog.saes

    def list(
        self,
        *,
        source: str | None = None,
        model: str | None = None,
        layer: int | None = None,
        architecture: str | None = None,
        search: str | None = None,
    ) -> Records[SAERecord]:
        """SAEs, newest first; `search` looks in names, models and hook names."""
        return self._rows.list(source=source, model=model, layer=layer, architecture=architecture, search=search)

    def get(self, sae_id: str) -> SAERecord:
        """Raises `NotFoundError`."""
        return self._rows.get(sae_id)

    def load(self, sae_id: str) -> Any:
        """The SAE as a torch module of the right class.

        Raises:
            NotFoundError: no such SAE, or its files are not on this machine.
            FormatError: its files are damaged.
        """
        from saewidgets.formats import load_sae  # torch: seconds to import

        return load_sae(self.folder_of(self.get(sae_id)))

    def import_training(self, training_id: str) -> SAERecord:
        """Copy what a training learned into the library. A training has one SAE there.

        A second call returns the same record; if the training has learned more since, the record then stands for the
        new files (its id and name stay).

        Args:
            training_id: as in `ws.trainings.get`.

        Raises:
            StateError: it has not ended, or has left no SAE.
            StorageError: the files cannot be copied; the library is as it was.
        """
        run = self._workspace.trainings.get(training_id)
        record = run.record
        existing = self._rows.by_training(record.id)
        if existing is not None and (not record.status.is_final or self._is_current(existing, record)):
            return existing
        if not record.status.is_final:
            raise StateError(f"{record.name} is {record.status}.", where=record.id, hint="Import it when it has ended.")
        sae_id = existing.id if existing is not None else new_sae_id()
        # A folder of its own each time: the row changes from one whole copy to the next in one transaction.
        folder = self._workspace.folder / FOLDER / (f"{sae_id}-{uuid.uuid4().hex[:8]}" if existing else sae_id)
        self._copy(run.sae_path, folder)
        try:
            taken, unused = self._take(existing, sae_id, record, folder)
        except BaseException:
            remove_tree(self._workspace.folder, folder)
            raise
        self._remove_files(unused)
        return taken

    def _take(
        self, existing: SAERecord | None, sae_id: str, record: TrainingRecord, folder: Path
    ) -> tuple[SAERecord, Path | None]:
        """The row of the copy in `folder`, and the files that no row names now.

        The row is a new one, the existing one turned to the copy, or that of another process that was quicker.
        """
        from saewidgets.formats.saelens import read_config  # torch: seconds to import

        size = folder_size(folder)
        metadata = {
            "trained_as": record.architecture, "tokens": record.tokens_done, "latest": dict(record.latest),
            **trained_with(record, self._workspace.trainings.was_given_a_model(record)),
        }  # fmt: skip
        if existing is not None:
            taken, before = self._rows.replace(existing.id, path=folder, size_bytes=size, metadata=metadata)
            return taken, Path(before)
        data, cfg = read_config(folder)
        match = HOOK_NAME.match(record.hook_name)
        taken = self._rows.add(
            id=sae_id, name=record.name, source="trained", model=record.model, hook_name=record.hook_name,
            layer=int(match[1]) if match else None, architecture=cfg.architecture, d_in=int(data["d_in"]),
            d_sae=cfg.d_sae, format="saelens", path=folder, training_id=record.id, size_bytes=size, metadata=metadata,
        )  # fmt: skip
        return taken, None if taken.id == sae_id else folder

    def _is_current(self, sae: SAERecord, record: TrainingRecord) -> bool:
        """Whether the library has what the training left last, or the training has nothing (any more) to compare."""
        if record.sae_path is None or not Path(record.sae_path).is_dir():
            return True
        try:  # cfg.json says after how many tokens it was exported, and what was measured then
            return _description(Path(sae.path)) == _description(Path(record.sae_path))
        except OSError:  # the library's files are gone: they are brought back
            return False

    def delete(self, sae_id: str) -> int:
        """Remove an SAE and its files from the library; the training it came from stays. Returns the bytes freed."""
        record = self.get(sae_id)
        self._rows.delete(sae_id)
        return self._remove_files(Path(record.path))

    def _remove_files(self, path: Path | None) -> int:
        """Remove them if they are the library's own. Returns the bytes freed."""
        if path is None:
            return 0
        inside = (self._workspace.folder / FOLDER).resolve() in path.resolve().parents
        return remove_tree(self._workspace.folder, path) if inside else 0

    def folder_of(self, record: SAERecord) -> Path:
        """Where its files are. Raises `NotFoundError` if that is not on this machine."""
        path = Path(record.path)
        if not path.is_dir():
            raise NotFoundError(
                "The files of the SAE are not here.", where=record.path, hint=f"They were on {record.host}."
            )
        return path

    def _copy(self, source: Path, target: Path) -> None:
        partial = target.with_name(f".partial-{target.name}")
        try:
            partial.mkdir(parents=True)
            for file in sorted(source.iterdir()):
                shutil.copyfile(file, partial / file.name)
            partial.rename(target)
        except OSError as error:
            raise StorageError(
                f"The SAE cannot be copied into the library: {error.strerror or error}.",
                where=str(error.filename or target),
                hint="Free some space, check that the workspace can be written, and import it again.",
            ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _description(folder: Path) -> bytes:
    return (folder / "cfg.json").read_bytes()
