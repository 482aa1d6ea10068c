"""Defines `BrowserCommands`, the commands of the SAE browser: each is one call of the workspace."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr

from saewidgets.config.names import shown_model
from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError
from saewidgets.widgets.commands import (
    HubCommands,
    ImportCommands,
    UndoCommands,
    command,
    in_page_words,
    slow_command,
    with_token,
)
from saewidgets.widgets.messages import saes as messages
from saewidgets.widgets.messages.training import StartedRun
from saewidgets.widgets.messages.wire import BulkResult
from saewidgets.widgets.model import error_note
from saewidgets.widgets.sae_browser import state
from saewidgets.widgets.sae_browser.uploads import Uploads
from saewidgets.widgets.values import path_from

MATCHES = 50  # rows of a comparison
SaeId = dict[Literal["sae_id"], str]
Token = SecretStr | None
RepoId = Annotated[str, Field(min_length=1, max_length=300)]
_PACKAGES = {"saewidgets": "With saewidgets", "sae_lens": "With SAELens"}


class BrowserCommands(ImportCommands, HubCommands, UndoCommands):
    """See `Commands`."""

    _model: state.BrowserModel

    def __init__(self, browser: Any) -> None:
        super().__init__(browser)
        self._saes = self._workspace.saes
        self.asked: dict[str, str] = {}  # widget below → the SAE for which it was opened from a card
        self.uploads = Uploads(Path(self._workspace.folder))

    @command
    def browse_saes(self, **changes: Annotated[Any, messages.SaeQuery]) -> None:
        """Only the fields that are sent change, so that two views cannot undo each other's changes."""
        self._model.browse(changes)
        self._wake()

    @command
    def select_saes(self, sae_ids: tuple[str, ...]) -> None:
        self._model.select(sae_ids)
        self._wake()

    @command
    def show_below(self, what: messages.Below, shown: bool, sae_id: str | None = None) -> None:
        """Open or close a widget below the browser, for an SAE if one is given (*Extract*, *Steering* on a card)."""
        if shown and sae_id is not None:
            record = self._saes.get(sae_id)
            if record.state == "missing":
                raise NotFoundError("Weights not found.", where=record.name, hint=record.state_note)
            self.asked[what] = record.id
        self._model.show_below(what, shown)
        self._wake()

    @command
    def train_demo(self) -> StartedRun:
        trainings = self._workspace.trainings
        run = trainings.create(trainings.demo_config())
        return StartedRun(training_id=run.id, name=run.record.name)

    @command
    def describe_sae(self, sae_id: str) -> messages.SaeDetails:
        record = self._saes.get(sae_id)
        code = self._saes.load_code(sae_id)
        problem = None
        config: Mapping[str, Any] = state.known_settings(record)  # what is shown where its files are gone
        try:
            config = self._saes.config(sae_id)
            self._saes.folder_of(record)  # raises if the weights are gone, without which the configuration can be read
        except SAEWidgetsError as error:
            problem = error_note(in_page_words(error))
        return messages.SaeDetails(
            facts=state.facts_of(record),
            settings=state.config_rows(config),
            problem=problem,
            snippets=tuple(
                messages.Snippet(label=_PACKAGES.get(name, name), code=text) for name, text in code.items() if text
            ),
            name=record.name,
            notes=record.notes,
            tags=record.tags,
        )

    @slow_command
    def measure_sae(self, sae_id: str) -> messages.SaeStatistics:
        statistics = self._saes.statistics(sae_id)
        facts = state.measured_facts(self._saes.get(sae_id), statistics)
        return messages.SaeStatistics(histograms=state.histograms_of(statistics), facts=facts)

    @command
    def edit_sae(
        self,
        sae_id: str,
        name: Annotated[str | None, Field(max_length=300)] = None,
        notes: Annotated[str | None, Field(max_length=20_000)] = None,
        tags: Annotated[tuple[str, ...] | None, Field(max_length=100)] = None,
    ) -> SaeId:
        """None leaves a field as it is."""
        changes: dict[str, Any] = {}
        if name is not None:
            if not name.strip():
                raise ConfigError("An SAE needs a name.", where="name", hint="Enter one.")
            changes["name"] = name.strip()
        if notes is not None:
            changes["notes"] = notes
        if tags is not None:
            words = (" ".join(tag.split()) for tag in tags)
            changes["tags"] = tuple(dict.fromkeys(tag for tag in words if tag))
        self._saes.update(sae_id, **changes)
        self._changed()
        return {"sae_id": sae_id}

    @slow_command
    def locate_sae(self, sae_id: str, path: str) -> SaeId:
        self._saes.locate(sae_id, str(path_from(path)))
        self._changed()
        return {"sae_id": sae_id}

    @command
    def show_training(self, training_id: str) -> messages.TrainingFacts:
        return state.training_facts(self._workspace.trainings.get(training_id).record)

    @slow_command
    def compare_saes(self, first: str, second: str) -> messages.SaeComparison:
        a, b = self._saes.get(first), self._saes.get(second)
        return state.comparison_of(a, b, self._saes.compare(a.id, b.id, top=MATCHES))

    @command
    def preview_card(
        self, sae_id: str, repo_id: RepoId, license: str = "", base_model: str = "", token: Token = None
    ) -> Future[messages.CardPreview]:
        """What would be published, by whom and where. Nothing is sent."""

        def look(token: str | None) -> messages.CardPreview:
            found, about = None, self._about(sae_id, license, base_model)
            card = self._saes.model_card(sae_id, repo_id, **about)
            with suppress(NotFoundError):
                found = self._workspace.hub.repo_info(repo_id, token)
            return messages.CardPreview(
                card=card, account=self._workspace.hub.account(token), exists=found is not None,
                asks_base=about["base_model"] == "",
            )

        return self._ask_as(token, look)

    @command
    def publish_sae(
        self, sae_id: str, repo_id: RepoId, private: bool = True, license: str = "", base_model: str = "",
        card: str | None = None, token: Token = None,
    ) -> Future[dict[Literal["url"], str]]:
        """The address of the page. `card` is the edited model card, None that of the preview."""

        def push(token: str | None) -> dict[str, str]:
            about = self._about(sae_id, license, base_model)
            return {"url": self._saes.push_to_hub(sae_id, repo_id, token=token, private=private, card=card, **about)}

        return self._ask_as(token, push)

    def _about(self, sae_id: str, license: str, base_model: str) -> dict[str, Any]:
        """Licence and base model as typed; without the id of a model that is a folder the card names none."""
        model = self._saes.get(sae_id).model or ""
        base = base_model.strip() or ("" if shown_model(model) != model else None)
        return {"license": license.strip() or "unknown", "base_model": base}

    def _ask_as(self, token: Token, call: Callable[[str | None], Any]) -> Future[Any]:
        """Ask the hub with a typed token, which is forgotten afterwards, or without one."""
        text = token.get_secret_value() if token else None

        def do() -> Any:
            try:
                return with_token(text, call)
            finally:
                if text is not None:
                    self._workspace.hub.forget(text)

        return self._ask(do)

    @slow_command
    def export_saes(self, sae_ids: tuple[str, ...], folder: str, format: str = "saelens") -> BulkResult:
        """Write SAEs to disk. One goes to `folder` itself, several to sub-folders of it."""
        return self._export(sae_ids, folder, lambda sae_id, path: self._saes.export(sae_id, path, format))

    @slow_command
    def delete_saes(self, sae_ids: tuple[str, ...]) -> BulkResult:
        """Delete SAEs; failures are reported, and the others are deleted all the same."""
        if len(sae_ids) == 1:
            self._workspace.deletions.add(sae_ids[0])
            done = BulkResult(done=sae_ids)
        else:
            done = self._each(sae_ids, self._workspace.deletions.add)
        self._changed()
        return done

    def _name(self, each: str) -> str:
        return super()._name(each) if each.startswith("train_") else self._saes.get(each).name

    @slow_command
    def import_trainings(self, training_ids: tuple[str, ...] = ()) -> BulkResult:
        found = super().import_trainings(training_ids)
        for sae_id in found.done[:1]:
            self._added(sae_id)
        return found

    @slow_command
    def add_local(self, path: str, **about: Annotated[Any, messages.About]) -> SaeId:
        return self._added(self._saes.add_local(str(path_from(path)), **_given(about)).id)

    @command
    def begin_upload(self, files: tuple[messages.UploadFile, ...]) -> dict[Literal["upload_id"], str]:
        return {"upload_id": self.uploads.begin(files)}

    @command
    def upload_chunk(
        self, upload_id: str, file: int, offset: int, buffer: memoryview
    ) -> dict[Literal["received"], int]:
        """The next piece of a file; how many bytes of the whole upload have arrived."""
        return {"received": self.uploads.write(upload_id, file, offset, buffer)}

    @command
    def cancel_upload(self, upload_id: str) -> None:
        self.uploads.discard(upload_id)

    @slow_command
    def finish_upload(self, upload_id: str, **about: Annotated[Any, messages.About]) -> SaeId:
        """All is sent: check it, convert it, take it in. Too few bytes are an error."""
        try:
            files = self.uploads.finish(upload_id)
            return self._added(self._saes.add_upload(files, **_given(about)).id)
        finally:
            self.uploads.discard(upload_id)

    def _added(self, sae_id: str) -> SaeId:
        self._model.reveal(sae_id)
        self._wake()
        return {"sae_id": sae_id}


def _given(about: Mapping[str, Any]) -> dict[str, Any]:
    """The user's entries about an SAE, without those left empty."""
    plain = {key: value.strip() if isinstance(value, str) else value for key, value in about.items()}
    return {key: value for key, value in plain.items() if value not in (None, "")}
