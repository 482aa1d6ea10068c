"""What the page of the extraction viewer can ask for; what concerns features is in `feature_commands.py`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from saewidgets.errors import SAEWidgetsError, StateError
from saewidgets.events import JobStatus
from saewidgets.feature_records import ExtractionRecord
from saewidgets.widgets.commands import command, in_page_words
from saewidgets.widgets.extraction_viewer.cards import choice_of, choices_of, not_offered
from saewidgets.widgets.extraction_viewer.feature_commands import FeatureCommands
from saewidgets.widgets.extraction_viewer.form import form_fields, read_values, refuse
from saewidgets.widgets.messages.effects import LogitsAct
from saewidgets.widgets.messages.features import (
    ExtractionAct,
    ExtractionCheck,
    ExtractionFormData,
    SaeChoices,
    ViewerView,
)
from saewidgets.widgets.messages.wire import Note
from saewidgets.widgets.model import error_note
from saewidgets.widgets.values import NAME_LENGTH, shorten

MOST_SAES = 500  # rows of *Choose an SAE*
ExtractionId = dict[Literal["extraction_id"], str]


class ViewerCommands(FeatureCommands):
    """All commands of one viewer."""

    # --------------------------------------------------------------------------------------------- the list

    @command
    def show_view(self, view: ViewerView, before: ViewerView | None = None) -> None:
        """The page shows something else than `before`: what it has not changed stays as Python has it by now. Opening
        an extraction goes through here."""
        if before is not None:
            now = self._model.view
            same = [name for name in ViewerView.model_fields if getattr(view, name) == getattr(before, name)]
            view = view.model_copy(update={name: getattr(now, name) for name in same})
        self._model.show(view)
        self._wake()

    @command(slow=True)
    def extraction_action(self, extraction_id: str, action: ExtractionAct) -> None:
        """Steer the job of an extraction, or delete what came of it."""
        extractions = self._workspace.extractions
        if action == "delete":
            extractions.delete(extraction_id)
        else:
            handle = extractions.get(extraction_id)
            {"pause": handle.pause, "resume": handle.resume, "cancel": handle.cancel}[action]()
        self._changed()

    @command(slow=True)
    def logits_action(self, extraction_id: str, action: LogitsAct) -> None:
        """Compute the logit effects of all features, or steer the job that does."""
        extractions = self._workspace.extractions
        if action in ("start", "resume"):
            extractions.compute_logits(extraction_id)  # one that is paused or failed goes on
        else:
            job = extractions.logits_job(extraction_id)
            if job is None:
                raise StateError("Its logit effects are not being computed.", where=extraction_id)
            job.pause() if action == "pause" else job.cancel()
        self._changed()

    @command(slow=True)
    def try_demo(self) -> ExtractionId:
        """Open the demo SAE with its features."""
        extraction_id = self._workspace.extractions.demo().id
        self._model.change(extraction_id=extraction_id, feature=None, tab="features", dialog_sae=None)
        self._changed()
        return {"extraction_id": extraction_id}

    @command
    def show_download(self, shown: bool) -> None:
        """Open or close *Download from Hugging Face* below the browser."""
        self._model.show_below("download", shown)
        self._wake()

    # --------------------------------------------------------------------------------------------- starting one

    @command
    def list_saes(
        self, source: str | None = None, model: str | None = None, search: Annotated[str, Field(max_length=500)] = ""
    ) -> SaeChoices:
        """The SAEs that an extraction can be started for; all filters together."""
        saes = self._workspace.saes
        filters = {"source": source, "model": model, "search": search.strip()}
        given: Any = {name: value for name, value in filters.items() if value}
        records = saes.list(**given, sort="newest", limit=MOST_SAES)
        running: dict[str, ExtractionRecord] = {}
        for extraction in self._workspace.extractions.list():
            if extraction.sae_id is not None:
                running.setdefault(extraction.sae_id, extraction)
        rows = tuple(choice_of(record, running.get(record.id)) for record in records)
        everything = saes.facets()
        return SaeChoices(
            rows=rows,
            total=sum(everything.get("source", {}).values()),
            sources=choices_of(everything, "source"),
            models=choices_of(everything, "model"),
            note=not_offered(rows, self._downloading()),
        )

    def _downloading(self) -> int:
        active = (JobStatus.QUEUED, JobStatus.PAUSED)
        return sum(job.status.is_active or job.status in active for job in self._workspace.hub.downloads())

    @command
    def extraction_form(self, sae_id: str, extraction_id: str | None = None) -> ExtractionFormData:
        """The defaults for this SAE, or the values of an extraction to try again."""
        record = self._workspace.saes.get(sae_id)
        defaults = self._workspace.extractions.defaults(sae_id=record.id).to_data()
        again = self._model.record(extraction_id).config if extraction_id is not None else None
        fields = form_fields(again or defaults, again=again is not None, needs_model=defaults.get("model") is None)
        return ExtractionFormData(
            sae_id=record.id, name=shorten(record.name, NAME_LENGTH), d_sae=record.d_sae, fields=fields
        )

    @command(slow=True)
    def check_extraction(self, sae_id: str, values: dict[str, Any]) -> ExtractionCheck:
        """What it would cost. `values` are what was typed, by field name of `ExtractionConfig`."""
        self._workspace.saes.get(sae_id)
        config, errors = read_values(values)
        if config is None:
            return ExtractionCheck(errors=errors)
        try:
            found = self._workspace.extractions.estimate(sae_id=sae_id, config=config)
        except SAEWidgetsError as error:  # of one of the fields, or of what they ask for together
            name = (error.where or "").split(".")[0]
            error = in_page_words(error)
            if name in values:
                return ExtractionCheck(errors={name: " ".join(filter(None, [error.what, error.hint]))})
            return ExtractionCheck(warnings=(error_note(error),))
        return ExtractionCheck(
            device=found.device,
            seconds=found.seconds,
            disk_bytes=found.disk_bytes,
            disk_free=found.disk_free,
            memory_bytes=found.memory_bytes,
            memory_free=found.memory_free,
            warnings=tuple(Note(what=shorten(text, 500), kind="warning") for text in found.warnings),
        )

    @command(slow=True)
    def start_extraction(self, sae_id: str, values: dict[str, Any]) -> ExtractionId:
        """Start an extraction; its id."""
        config, errors = read_values(values)
        if config is None:
            raise refuse(errors)
        handle = self._workspace.extractions.create(sae_id=sae_id, config=config)
        self._model.change(tab="jobs", dialog_sae=None)
        self._changed()
        return {"extraction_id": handle.id}
