"""`Extraction`: the handle of one extraction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.config.extraction import ExtractionConfig
from saewidgets.errors import StateError
from saewidgets.events import JobStatus, Progress
from saewidgets.feature_records import ExtractionRecord
from saewidgets.jobs import Job
from saewidgets.records import ErrorInfo
from saewidgets.render.runs import facts_card
from saewidgets.workspace.extraction_job import config_of

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace


class Extraction:
    """One extraction. It holds no state of its own: every property reads the catalog."""

    def __init__(self, workspace: Workspace, extraction_id: str) -> None:
        self._workspace = workspace
        self._rows = workspace.catalog.extractions
        self.id = extraction_id

    # ------------------------------------------------------------------------------------------------ looking

    @property
    def record(self) -> ExtractionRecord:
        """Everything the catalog knows of it now."""
        self._workspace.manager.sweep()
        return self._rows.get(self.id)

    @property
    def config(self) -> ExtractionConfig:
        """Its configuration, with the text that it was given in memory.

        Raises:
            NotFoundError: that text is on another machine, or was deleted.
        """
        return config_of(self.record)

    @property
    def status(self) -> JobStatus:
        return self.record.status

    @property
    def progress(self) -> Progress | None:
        return self.record.progress

    @property
    def error(self) -> ErrorInfo | None:
        return self.record.error

    @property
    def folder(self) -> Path:
        """Where its arrays are."""
        return Path(self.record.folder)

    def store(self) -> Any:
        """What it has found, see `ws.extractions.open`."""
        return self._workspace.extractions.open(self.id)

    # ------------------------------------------------------------------------------------------------ steering

    @property
    def job(self) -> Job:
        """The background job that runs it."""
        job_id = self._rows.get(self.id).job_id
        if job_id is None:
            raise StateError("The job of this extraction is gone from the catalog.", where=self.id)
        return self._workspace.manager.handle(job_id)

    def wait(self, timeout: float | None = None) -> JobStatus:
        """Wait until it has ended or is paused, at most `timeout` seconds; returns the status then."""
        return self.job.wait(timeout)

    def pause(self) -> None:
        """Write a checkpoint, free the device and the memory. Acknowledged at once."""
        self.job.pause()

    def resume(self) -> None:
        """Queue it again; it continues where it stopped, in this process."""
        self.job.resume()

    def stop(self, save: bool = True) -> None:
        """End early; what was read so far can be looked at (`save=False`: keep nothing).

        Raises:
            StateError: it makes no sense in its status.
        """
        self.job.stop(save)

    def cancel(self) -> None:
        """End early and keep nothing."""
        self.job.cancel()

    def result(self, timeout: float | None = None) -> Any:
        """What it has found in numbers, see `ExtractionResult`; raises what made it fail."""
        return self.job.result(timeout)

    def delete(self) -> int:
        """Remove it with its files; labels stay. Returns the bytes freed."""
        return self._workspace.extractions.delete(self.id)

    def __repr__(self) -> str:
        record = self.record
        parts = [record.name, record.status.value, f"{record.model} {record.hook_name}", f"d_sae {record.d_sae:,}"]
        parts.append(f"{record.n_tokens or record.tokens_total:,} tokens")
        if record.seen is not None:
            parts.append(f"{record.seen:,} latents fired")
        if record.error:
            parts.append(record.error.what)
        return f"<Extraction {self.id} · {' · '.join(parts)}>"

    def _repr_html_(self) -> str:
        record = self.record
        facts = {
            "Status": record.status.value.capitalize(),
            "Model and hook": f"{record.model} · {record.hook_name}",
            "Tokens": f"{record.n_tokens or record.tokens_total:,}",
        }
        if record.seen is not None:
            facts["Latents"] = f"{record.seen:,} of {record.d_sae:,} fired"
        if record.error:
            facts["Error"] = " ".join(filter(None, [record.error.what, record.error.hint]))
        return str(facts_card(record.name, facts))
