"""`ws.saes`: the library of SAEs. Here: those trained in this workspace and brought in from a folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.catalog import new_sae_id
from saewidgets.config.training import HOOK_NAME
from saewidgets.errors import NotFoundError, StateError
from saewidgets.records import Records, SAERecord
from saewidgets.workspace.files import folder_size, remove_tree

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

        return load_sae(self._path(self.get(sae_id)))

    def import_training(self, training_id: str) -> SAERecord:
        """Copy what a training learned into the library; the second call returns the same record."""
        existing = self._rows.by_training(training_id)
        if existing is not None:
            return existing
        run = self._workspace.trainings.get(training_id)
        record = run.record
        if not record.status.is_final:
            raise StateError(f"{record.name} is {record.status}.", where=record.id, hint="Import it when it has ended.")
        sae_id = new_sae_id()
        folder = self._workspace.folder / FOLDER / sae_id
        self._copy(run.sae_path, folder)
        from saewidgets.formats.saelens import read_config  # torch: seconds to import

        data, cfg = read_config(folder)
        match = HOOK_NAME.match(record.hook_name)
        try:
            return self._rows.add(
                id=sae_id, name=record.name, source="trained", model=record.model, hook_name=record.hook_name,
                layer=int(match[1]) if match else None, architecture=cfg.architecture, d_in=int(data["d_in"]),
                d_sae=cfg.d_sae, format="saelens", path=folder, training_id=record.id, size_bytes=folder_size(folder),
                metadata={
                    "trained_as": record.architecture, "tokens": record.tokens_done, "latest": dict(record.latest),
                },
            )  # fmt: skip
        except BaseException:
            remove_tree(self._workspace.folder, folder)
            raise

    def delete(self, sae_id: str) -> int:
        """Remove an SAE and its files from the library; the training it came from stays. Returns the bytes freed."""
        record = self.get(sae_id)
        self._rows.delete(sae_id)
        path = Path(record.path)
        inside = (self._workspace.folder / FOLDER).resolve() in path.resolve().parents
        return remove_tree(self._workspace.folder, path) if inside else 0

    def _path(self, record: SAERecord) -> Path:
        path = Path(record.path)
        if not path.is_dir():
            raise NotFoundError(
                "The files of the SAE are not here.", where=record.path, hint=f"They were on {record.host}."
            )
        return path

    def _copy(self, source: Path, target: Path) -> None:
        partial = target.with_name(f".partial-{target.name}")
        partial.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copytree(source, partial, symlinks=False)
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
