"""What the SAE browser does when a button is pressed: each command is one call of the workspace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError
from saewidgets.widgets.base import Handler
from saewidgets.widgets.messages.saes import (
    AddLocal,
    BeginUpload,
    BrowseSaes,
    CancelUpload,
    CompareSaes,
    DeleteSaes,
    DescribeSae,
    EditSae,
    ExportSaes,
    FinishUpload,
    LocateSae,
    MeasureSae,
    SaeComparison,
    SaeDetails,
    SaesDone,
    SaeStatistics,
    SelectSaes,
    ShowDownload,
    ShowExtractions,
    ShowSteering,
    ShowTraining,
    Snippet,
    TrainingFacts,
    UploadChunk,
)
from saewidgets.widgets.messages.wire import Command, Note, Refresh, TrainDemo
from saewidgets.widgets.page_words import ListCommands, in_page_words, on_threads
from saewidgets.widgets.paths import folder_name, path_from
from saewidgets.widgets.sae_browser.cards import (
    comparison_of,
    config_rows,
    facts_of,
    histograms_of,
    known_settings,
    measured_facts,
    training_facts,
)
from saewidgets.widgets.sae_browser.state import Below, BrowserModel
from saewidgets.widgets.uploads import MAX_BYTES, Announced, Uploads
from saewidgets.widgets.values import shorten

MATCHES = 50  # rows of a comparison
_PACKAGES = {"saewidgets": "With saewidgets", "sae_lens": "With SAELens"}


@lru_cache(maxsize=1)
def readers() -> ThreadPoolExecutor:
    """The threads that read and write weights, so that the threads of short commands stay free."""
    return ThreadPoolExecutor(max_workers=2, thread_name_prefix="saewidgets-library")


_slow = partial(on_threads, readers)


class BrowserCommands(ListCommands):
    """Handlers of one browser. They run on worker threads and write no trait.

    Args:
        model: the browser's state.
        wake: asks the publisher thread to show what changed.
        max_upload_bytes: of one upload from the page.
    """

    def __init__(self, model: BrowserModel, wake: Callable[[], None], max_upload_bytes: int = MAX_BYTES) -> None:
        super().__init__(model, wake)
        self._model = model
        self._workspace = model.workspace
        self._saes = model.workspace.saes
        self._asked: dict[Below, str] = {}
        self.uploads = Uploads(Path(model.workspace.folder), max_bytes=max_upload_bytes)

    def table(self) -> dict[type[Command], Handler]:
        """Message class → handler."""
        told = self._told
        return {
            Refresh: self.refresh,
            TrainDemo: self.train_demo,
            BrowseSaes: self.browse,
            SelectSaes: self.select,
            DescribeSae: told(self.describe),
            MeasureSae: _slow(told(self.measure)),
            EditSae: told(self.edit),
            LocateSae: _slow(told(self.locate)),
            ExportSaes: _slow(told(self.export)),
            DeleteSaes: _slow(told(self.delete)),
            CompareSaes: _slow(told(self.compare)),
            ShowTraining: told(self.show_training),
            AddLocal: _slow(told(self.add_local)),
            BeginUpload: self.begin_upload,
            UploadChunk: self.upload_chunk,
            FinishUpload: _slow(told(self.finish_upload)),
            CancelUpload: self.cancel_upload,
            ShowDownload: self.show_download,
            ShowExtractions: told(self.show_extractions),
            ShowSteering: told(self.show_steering),
        }

    # --------------------------------------------------------------------------------------------- the list

    def browse(self, command: BrowseSaes) -> None:
        self._model.browse(command)
        self._wake()

    def select(self, command: SelectSaes) -> None:
        self._model.select(command.sae_ids)
        self._wake()

    def show_download(self, command: ShowDownload) -> None:
        self._model.show_below("download", command.shown)
        self._wake()

    def show_extractions(self, command: ShowExtractions) -> None:
        self._show("extractions", command)

    def show_steering(self, command: ShowSteering) -> None:
        self._show("steering", command)

    def _show(self, what: Below, command: ShowExtractions | ShowSteering) -> None:
        if command.shown and command.sae_id is not None:
            record = self._saes.get(command.sae_id)
            if record.state == "missing":
                raise NotFoundError("Weights not found.", where=record.name, hint=record.state_note)
            self._asked[what] = record.id
        self._model.show_below(what, command.shown)
        self._wake()

    def take_asked(self, what: Below) -> str | None:
        """The SAE for which *Extract* or *Steering* was pressed on a card since the last call."""
        return self._asked.pop(what, None)

    def train_demo(self, command: TrainDemo) -> dict[str, str]:
        trainings = self._workspace.trainings
        run = trainings.create(trainings.demo_config())
        return {"training_id": run.id, "name": str(run.record.name)}

    # --------------------------------------------------------------------------------------------- one SAE

    def describe(self, command: DescribeSae) -> SaeDetails:
        record = self._saes.get(command.sae_id)
        code = self._saes.load_code(command.sae_id)
        problem = None
        config: Mapping[str, Any] = known_settings(record)  # what is shown where its files are gone
        try:
            config = self._saes.config(command.sae_id)
            self._saes.folder_of(record)  # raises if the weights are gone, without which the configuration can be read
        except SAEWidgetsError as error:
            problem = Note(what=error.what, where=error.where, hint=in_page_words(error).hint)
        return SaeDetails(
            sae_id=record.id,
            facts=facts_of(record),
            settings=config_rows(config),
            problem=problem,
            snippets=tuple(
                Snippet(label=_PACKAGES.get(package, package), code=text) for package, text in code.items() if text
            ),
            name=record.name,
            notes=record.notes,
            tags=record.tags,
        )

    def measure(self, command: MeasureSae) -> SaeStatistics:
        statistics = self._saes.statistics(command.sae_id)
        record = self._saes.get(command.sae_id)
        return SaeStatistics(
            sae_id=record.id, histograms=histograms_of(statistics), facts=measured_facts(record, statistics)
        )

    def edit(self, command: EditSae) -> dict[str, str]:
        changes: dict[str, Any] = {}
        if command.name is not None:
            if not command.name.strip():
                raise ConfigError("An SAE needs a name.", where="name", hint="Enter one.")
            changes["name"] = command.name.strip()
        if command.notes is not None:
            changes["notes"] = command.notes
        if command.tags is not None:
            tags = (" ".join(tag.split()) for tag in command.tags)
            changes["tags"] = tuple(dict.fromkeys(tag for tag in tags if tag))
        self._saes.update(command.sae_id, **changes)
        self._changed()
        return {"sae_id": command.sae_id}

    def locate(self, command: LocateSae) -> dict[str, str]:
        self._saes.locate(command.sae_id, str(path_from(command.path)))
        self._changed()
        return {"sae_id": command.sae_id}

    def show_training(self, command: ShowTraining) -> TrainingFacts:
        return training_facts(self._workspace.trainings.get(command.training_id).record)

    def compare(self, command: CompareSaes) -> SaeComparison:
        first, second = self._saes.get(command.first), self._saes.get(command.second)
        return comparison_of(first, second, self._saes.compare(first.id, second.id, top=MATCHES))

    # --------------------------------------------------------------------------------------------- several

    def export(self, command: ExportSaes) -> SaesDone:
        folder = path_from(command.folder)
        if len(command.sae_ids) == 1:
            path = self._saes.export(command.sae_ids[0], folder, command.format)
            return SaesDone(done=command.sae_ids, paths=(str(path),))
        taken: set[str] = set()

        def export(sae_id: str) -> str:
            name = folder_name(self._saes.get(sae_id).name, taken)
            return str(self._saes.export(sae_id, folder / name, command.format))

        return self._each(command.sae_ids, export)

    def delete(self, command: DeleteSaes) -> SaesDone:
        if len(command.sae_ids) == 1:
            self._saes.delete(command.sae_ids[0])
            done = SaesDone(done=command.sae_ids)
        else:
            done = self._each(command.sae_ids, self._saes.delete)
            done = done.model_copy(update={"paths": ()})
        self._changed()
        return done

    def _each(self, sae_ids: Sequence[str], do: Callable[[str], Any]) -> SaesDone:
        """One after another; what fails is told and the others are done all the same."""
        done, paths, problems = [], [], []
        for sae_id in sae_ids:
            try:
                paths.append(str(do(sae_id)))
                done.append(sae_id)
            except SAEWidgetsError as raised:
                error = in_page_words(raised)
                problems.append(Note(what=error.what, where=self._name(sae_id), hint=error.hint))
        return SaesDone(done=tuple(done), paths=tuple(paths), problems=tuple(problems))

    def _name(self, sae_id: str) -> str:
        try:
            return shorten(self._saes.get(sae_id).name, 120)
        except SAEWidgetsError:  # it is gone: its id is all there is
            return sae_id

    # --------------------------------------------------------------------------------------------- adding

    def add_local(self, command: AddLocal) -> dict[str, str]:
        return self._added(self._saes.add_local(str(path_from(command.path)), **_about(command)).id)

    def begin_upload(self, command: BeginUpload) -> dict[str, Any]:
        return {"upload_id": self.uploads.begin([Announced(file.name, file.size) for file in command.files])}

    def upload_chunk(self, command: UploadChunk, buffers: list[memoryview]) -> dict[str, int]:
        return {"received": self.uploads.write(command.upload_id, command.file, command.offset, buffers[0])}

    def finish_upload(self, command: FinishUpload) -> dict[str, str]:
        try:
            files = self.uploads.finish(command.upload_id)
            return self._added(self._saes.add_upload(files, **_about(command)).id)
        finally:
            self.uploads.discard(command.upload_id)

    def cancel_upload(self, command: CancelUpload) -> None:
        self.uploads.discard(command.upload_id)

    def _added(self, sae_id: str) -> dict[str, str]:
        self._model.reveal(sae_id)
        self._wake()
        return {"sae_id": sae_id}


def _about(command: AddLocal | FinishUpload) -> dict[str, Any]:
    """What the user said about an SAE; what was left empty is not said."""
    given = {"name": command.name, "model": command.model, "hook_name": command.hook_name}
    about: dict[str, Any] = {key: value.strip() for key, value in given.items() if value and value.strip()}
    if command.apply_b_dec_to_input is not None:
        about["apply_b_dec_to_input"] = command.apply_b_dec_to_input
    return about

