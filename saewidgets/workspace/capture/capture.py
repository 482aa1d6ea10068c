"""`Capture`: the handle of one store of activations, and of the job that makes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from saewidgets.activation_records import ActivationStoreRecord
from saewidgets.config.corpus import ActivationCorpus
from saewidgets.workspace.handle import FilesHandle

if TYPE_CHECKING:
    from saewidgets.activations.store import StoredActivations
    from saewidgets.workspace.workspace import Workspace


class Capture(FilesHandle):
    """One store of activations. It holds no state of its own: every property reads the catalog."""

    _what, _part = "store", "activations"

    def __init__(self, workspace: Workspace, store_id: str) -> None:
        super().__init__(workspace, workspace.catalog.activations, store_id)

    @property
    def record(self) -> ActivationStoreRecord:
        """Everything the catalog knows of it now."""
        record: ActivationStoreRecord = super().record
        return record

    @property
    def corpus(self) -> ActivationCorpus:
        """What a `TrainingConfig` takes as its corpus to train from this store."""
        return ActivationCorpus(self.id)

    def open(self) -> StoredActivations:
        """The store itself: token ids, rows as memory maps. Raises what `ws.activations.open` raises."""
        return self._workspace.activations.open(self.id)

    def verify(self, on_file: Callable[[int], None] | None = None) -> None:
        """Compare every file with its SHA-256, see `ws.activations.verify`."""
        self._workspace.activations.verify(self.id, on_file)

    def _parts(self, record: ActivationStoreRecord) -> list[str]:
        parts = [", ".join(record.hook_names), f"{record.n_tokens or record.tokens_total:,} tokens"]
        return [*parts, record.state_note] if record.state_note else parts

    def _facts(self, record: ActivationStoreRecord) -> dict[str, str]:
        facts = {
            "Model": record.model or "not known",
            "Hook names": ", ".join(record.hook_names),
            "Tokens": f"{record.n_tokens or record.tokens_total:,}",
        }
        if record.size_bytes is not None:
            facts["Size"] = f"{record.size_bytes / 1e6:,.1f} MB, {record.dtype}"
        return facts
