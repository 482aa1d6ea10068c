"""What the extraction viewer does when a button is pressed: each command is one call of the workspace.

What is done with features is in `feature_commands.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial

from saewidgets.errors import SAEWidgetsError, StateError
from saewidgets.events import JobStatus
from saewidgets.feature_records import ExtractionRecord
from saewidgets.widgets.base import Handler
from saewidgets.widgets.extraction_viewer.cards import choice_of, choices_of, not_offered
from saewidgets.widgets.extraction_viewer.feature_commands import FeatureCommands
from saewidgets.widgets.extraction_viewer.form import form_fields, read_values, refuse
from saewidgets.widgets.extraction_viewer.state import ViewerModel
from saewidgets.widgets.messages.effects import LogitsAction, ReadLossEffect
from saewidgets.widgets.messages.features import (
    CheckExtraction,
    EditFeature,
    ExpandExample,
    ExportFeatures,
    ExtractionAction,
    ExtractionCheck,
    ExtractionForm,
    ExtractionFormData,
    FeatureLogits,
    FeatureRelations,
    ImportLabels,
    LabelFeatures,
    ListSaes,
    OpenFeature,
    QueryFeatures,
    ReadPrompt,
    SaeChoices,
    ShowView,
    StartExtraction,
    SteerFeature,
    StepFeature,
    SuggestLabel,
    TestText,
    TryDemo,
)
from saewidgets.widgets.messages.saes import ShowDownload
from saewidgets.widgets.messages.wire import Command, Note, Refresh
from saewidgets.widgets.page_words import ListCommands, in_page_words, on_threads
from saewidgets.widgets.values import NAME_LENGTH, shorten

MOST_SAES = 500  # rows of *Choose an SAE*


@lru_cache(maxsize=1)
def thinkers() -> ThreadPoolExecutor:
    """The threads on which models are loaded and files are written, so that the threads of short commands stay free."""
    return ThreadPoolExecutor(max_workers=3, thread_name_prefix="saewidgets-features")


slow = partial(on_threads, thinkers)


class ViewerCommands(ListCommands):
    """Handlers of one viewer. They run on worker threads and write no trait.

    Args:
        model: the viewer's state.
        wake: asks the publisher thread to show what changed.
        steer: opens *Steering* with a feature: given the id of the SAE and the number of the feature.
    """

    def __init__(self, model: ViewerModel, wake: Callable[[], None], steer: Callable[[str, int], object]) -> None:
        super().__init__(model, wake)
        self._model = model
        self._source = model.source
        self._workspace = model.workspace
        self.features = FeatureCommands(model, wake, steer)

    def table(self) -> dict[type[Command], Handler]:
        """Message class → handler."""
        told, features = self._told, self.features
        return {
            Refresh: self.refresh,
            ListSaes: told(self.list_saes),
            ExtractionForm: told(self.extraction_form),
            CheckExtraction: slow(told(self.check_extraction)),
            StartExtraction: slow(told(self.start_extraction)),
            TryDemo: slow(told(self.try_demo)),
            ShowDownload: told(self.show_download),
            ExtractionAction: slow(told(self.extraction_action)),
            LogitsAction: slow(told(self.logits_action)),
            ShowView: told(self.show_view),
            QueryFeatures: told(features.query),
            StepFeature: told(features.step),
            OpenFeature: told(features.open),
            FeatureLogits: slow(told(features.logits)),
            ReadLossEffect: slow(told(features.loss_effect)),
            FeatureRelations: slow(told(features.relations)),
            ExpandExample: slow(told(features.expand)),
            TestText: slow(told(features.test_text)),
            ReadPrompt: slow(told(features.read_prompt)),
            EditFeature: told(features.edit),
            SuggestLabel: slow(told(features.suggest)),
            LabelFeatures: slow(told(features.label_all)),
            ExportFeatures: slow(told(features.export)),
            ImportLabels: slow(told(features.import_labels)),
            SteerFeature: slow(told(features.steer)),
        }

    # --------------------------------------------------------------------------------------------- the list

    def show_view(self, command: ShowView) -> None:
        self._model.show(command.view)
        self._wake()

    def extraction_action(self, command: ExtractionAction) -> None:
        extractions = self._workspace.extractions
        if command.action == "delete":
            extractions.delete(command.extraction_id)
        else:
            handle = extractions.get(command.extraction_id)
            {"pause": handle.pause, "resume": handle.resume, "cancel": handle.cancel}[command.action]()
        self._changed()

    def logits_action(self, command: LogitsAction) -> None:
        extractions = self._workspace.extractions
        if command.action in ("start", "resume"):
            extractions.compute_logits(command.extraction_id)  # one that is paused or failed goes on
        else:
            job = extractions.logits_job(command.extraction_id)
            if job is None:
                raise StateError("Its logit effects are not being computed.", where=command.extraction_id)
            job.pause() if command.action == "pause" else job.cancel()
        self._changed()

    def try_demo(self, command: TryDemo) -> dict[str, str]:
        extraction_id = self._workspace.extractions.demo().id
        self._model.change(extraction_id=extraction_id, feature=None, tab="features", dialog_sae=None)
        self._changed()
        return {"extraction_id": extraction_id}

    def show_download(self, command: ShowDownload) -> None:
        self._model.show_below("download", command.shown)
        self._wake()

    # --------------------------------------------------------------------------------------------- starting one

    def list_saes(self, command: ListSaes) -> SaeChoices:
        saes = self._workspace.saes
        filters = {"source": command.source, "model": command.model, "search": command.search.strip()}
        given = {name: value for name, value in filters.items() if value}
        records = saes.list(**given, sort="newest", limit=MOST_SAES)
        running: dict[str, ExtractionRecord] = {}
        for extraction in self._source.extractions():
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

    def extraction_form(self, command: ExtractionForm) -> ExtractionFormData:
        record = self._workspace.saes.get(command.sae_id)
        defaults = self._workspace.extractions.defaults(sae_id=record.id).to_data()
        again = self._source.record(command.extraction_id).config if command.extraction_id is not None else None
        fields = form_fields(again or defaults, again=again is not None, needs_model=defaults.get("model") is None)
        return ExtractionFormData(
            sae_id=record.id, name=shorten(record.name, NAME_LENGTH), d_sae=record.d_sae, fields=fields
        )

    def check_extraction(self, command: CheckExtraction) -> ExtractionCheck:
        self._workspace.saes.get(command.sae_id)
        config, errors = read_values(command.values)
        if config is None:
            return ExtractionCheck(errors=errors)
        try:
            found = self._workspace.extractions.estimate(sae_id=command.sae_id, config=config)
        except SAEWidgetsError as error:  # of one of the fields, or of what they ask for together
            name = (error.where or "").split(".")[0]
            error = in_page_words(error)
            if name in command.values:
                return ExtractionCheck(errors={name: " ".join(filter(None, [error.what, error.hint]))})
            return ExtractionCheck(warnings=(Note(what=error.what, where=error.where, hint=error.hint),))
        return ExtractionCheck(
            device=found.device,
            seconds=found.seconds,
            disk_bytes=found.disk_bytes,
            disk_free=found.disk_free,
            memory_bytes=found.memory_bytes,
            memory_free=found.memory_free,
            warnings=tuple(Note(what=shorten(text, 500), kind="warning") for text in found.warnings),
        )

    def start_extraction(self, command: StartExtraction) -> dict[str, str]:
        config, errors = read_values(command.values)
        if config is None:
            raise refuse(errors)
        handle = self._workspace.extractions.create(sae_id=command.sae_id, config=config)
        self._model.change(tab="jobs", dialog_sae=None)
        self._changed()
        return {"extraction_id": handle.id}
