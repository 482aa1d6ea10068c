"""`Extraction`: the handle of one extraction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from saewidgets.config.extraction import ExtractionConfig
from saewidgets.feature_records import ExtractionRecord
from saewidgets.workspace.extraction.extraction_job import config_of
from saewidgets.workspace.handle import FilesHandle

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace


class Extraction(FilesHandle):
    """One extraction. It holds no state of its own: every property reads the catalog."""

    _what, _part = "extraction", "extractions"

    def __init__(self, workspace: Workspace, extraction_id: str) -> None:
        super().__init__(workspace, workspace.catalog.extractions, extraction_id)

    # ------------------------------------------------------------------------------------------------ looking

    @property
    def record(self) -> ExtractionRecord:
        """Everything the catalog knows of it now."""
        record: ExtractionRecord = super().record
        return record

    @property
    def config(self) -> ExtractionConfig:
        """Its configuration, with the text that it was given in memory.

        Raises:
            NotFoundError: that text is on another machine, or was deleted.
        """
        return config_of(self.record)

    def store(self) -> Any:
        """What it has found, see `ws.extractions.open`."""
        return self._workspace.extractions.open(self.id)

    def _parts(self, record: ExtractionRecord) -> list[str]:
        parts = [f"{record.model} {record.hook_name}", f"d_sae {record.d_sae:,}"]
        parts.append(f"{record.n_tokens or record.tokens_total:,} tokens")
        return parts if record.seen is None else [*parts, f"{record.seen:,} latents fired"]

    def _facts(self, record: ExtractionRecord) -> dict[str, str]:
        facts = {
            "Model and hook": f"{record.model} · {record.hook_name}",
            "Tokens": f"{record.n_tokens or record.tokens_total:,}",
        }
        if record.seen is not None:
            facts["Latents"] = f"{record.seen:,} of {record.d_sae:,} fired"
        return facts
