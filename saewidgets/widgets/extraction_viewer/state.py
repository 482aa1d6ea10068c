"""Defines `ViewerModel`, the state of an extraction viewer: cards, rows, headers, and the *Start extraction* dialog."""

import time
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

from pydantic import ValidationError

from saewidgets.config.extraction import ExtractionConfig
from saewidgets.config.names import shown_model
from saewidgets.config.validation import config_errors
from saewidgets.errors import ConfigError, SAEWidgetsError, StateError
from saewidgets.events import JobStatus
from saewidgets.feature_records import ExtractionRecord, check_index
from saewidgets.records import JobRecord, SAERecord
from saewidgets.render.labels import SOURCES, name_of
from saewidgets.widgets.extraction_viewer.feature_pages import version_label
from saewidgets.widgets.messages import features as messages
from saewidgets.widgets.messages.saes import Choice
from saewidgets.widgets.messages.wire import Note
from saewidgets.widgets.model import Model, error_note, name_of_workspace, place_of
from saewidgets.widgets.values import NAME_LENGTH, corpus_text, job_fields, shorten
from saewidgets.workspace import Workspace

CARDS = 100  # extractions in the state; a card is some 600 bytes
VERSIONS = 50  # of what is open


class ViewerModel(Model[messages.ViewerState]):
    """The state of one viewer over one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace, messages.ViewerState(code=name_of_workspace(workspace)))
        self._problem: Note | None = None
        self._said = 0  # changes of labels, stars and notes of what is open
        self._revision: tuple[str, float] | None = None  # of the workspace, when it was read last
        self._opened: tuple[Any, messages.OpenExtraction | None, Note | None] = (None, None, None)  # its key first
        self._was_empty = False  # there was no extraction at the last look
        self._made_at = time.time()

    def record(self, extraction_id: str) -> ExtractionRecord:
        return self.workspace.extractions.get(extraction_id).record

    def readable(self, extraction_id: str) -> ExtractionRecord:
        record = self.record(extraction_id)
        if not record.has_data:
            if record.status.is_final:
                raise StateError(
                    f"The extraction of {record.name} is {record.status.value}: nothing was read.",
                    hint="Start it again.",
                )
            raise StateError(
                f"The extraction of {record.name} is {record.status.value}: there is nothing to read yet.",
                hint="Wait until it has completed.",
            )
        return record

    @property
    def view(self) -> messages.ViewerView:
        return self._state.view

    def show(self, view: messages.ViewerView) -> None:
        """Show something else, if there is such an extraction, feature and SAE."""
        if view.extraction_id is not None:
            record = self.readable(view.extraction_id)
            if view.feature is not None:
                check_index(view.feature, record.d_sae, owner=record.name)
        elif view.feature is not None:
            raise ConfigError(
                "No extraction is open.", where="extraction_id", hint="Name the extraction whose feature it is."
            )
        if view.dialog_sae is not None:
            self.workspace.saes.get(view.dialog_sae)
        with self._lock:
            self._put({"view": view})
            self._changed = True

    def change(self, **changes: Any) -> None:
        """Show the same but for some fields of `ViewerView`; raises as `show`."""
        self.show(self.view.model_copy(update=changes))

    def open_newest(self, sae_id: str | None = None) -> bool:
        """Open the newest extraction that can be read, of this SAE or of any; False if there is none."""
        for record in self.workspace.extractions.list():
            if record.has_data and sae_id in (None, record.sae_id, record.training_id):
                self.change(extraction_id=record.id, feature=None)
                return True
        return False

    def read_list(self) -> None:
        """Bring the list up to date, and nothing else: what is open takes torch, which is seconds to import."""
        with self._reading:
            self._read_list()

    def _read(self) -> None:
        was_empty = self._was_empty
        records = self._read_list()
        wanted = self.view.extraction_id
        record = next((r for r in records if r.id == wanted), None)
        if wanted is None and was_empty:  # what came can perhaps be read at once: the demo, which a script asked for
            record = next((r for r in records if r.has_data), None)
        with self._lock:
            if record is not None and self.view.extraction_id is None:
                self._put({"view": self.view.model_copy(update={"extraction_id": record.id})})
            elif record is None and wanted is not None and self.view.extraction_id == wanted:  # it was deleted
                self._put({"view": self.view.model_copy(update={"extraction_id": None, "feature": None})})
        opened, problem = (None, None) if record is None else self._open(record, records)
        jobs = self.workspace.manager.list(kind="labels")
        job = next((each for each in jobs if record and each.payload["extraction_id"] == record.id), None)
        with self._lock:
            self._problem = problem
            self._put({"open": opened, "labelling": job and label_job_of(job, self._made_at)})

    def _read_list(self) -> Sequence[ExtractionRecord]:
        extractions = self.workspace.extractions
        records = extractions.list()
        shown = records[:CARDS]
        jobs = extractions.logit_jobs()
        cards = tuple(
            card_of(
                each, jobs.get(each.id), has_logits=each.has_data and extractions.has_logits(each),
                **place_of(self.workspace, each),
            )
            for each in shown
        )
        n_saes = sum(self.workspace.saes.facets().get("source", {}).values())
        with self._lock:
            self._was_empty = not records
            self._put(
                {
                    "cards": cards,
                    "total": len(records),
                    "active": sum(is_under_way(r.status) and r.status is not JobStatus.PAUSED for r in records),
                    "n_saes": n_saes,
                }
            )
        return records

    def _open(
        self, record: ExtractionRecord, records: Sequence[ExtractionRecord]
    ) -> tuple[messages.OpenExtraction | None, Note | None]:
        """What is open, described again only when something about it is different; or why it cannot be read."""
        features = self.workspace.features
        before, self._revision = self._revision, (record.id, features.revision(record.id))
        if before is not None and before[0] == record.id and before != self._revision:
            self._said += 1  # the page asks again for lists and pages
        versions = tuple(r for r in records if r.has_data and owner_of(r) == owner_of(record))
        key = (record.id, record.n_tokens, record.name, [(r.id, r.other_weights) for r in versions], self._said)
        if self._opened[0] != key:
            try:
                manifest, note = self.workspace.extractions.open(record.id).manifest, features.can_read(record.id)
                opened = messages.OpenExtraction.of(
                    manifest,
                    id=record.id,
                    name=shorten(record.name, NAME_LENGTH),
                    model=shorten(shown_model(record.model), NAME_LENGTH),
                    hook_name=shorten(record.hook_name, NAME_LENGTH),
                    dead=record.dead or 0,
                    labelled=features.counts(record.id)[0],
                    versions=tuple(Choice(value=r.id, label=version_label(r)) for r in versions[:VERSIONS]),
                    live=not note,
                    live_note=shorten(note, 500),
                )
                self._opened = key, opened, None
            except SAEWidgetsError as error:  # its files are gone or damaged: the list is shown all the same
                self._opened = key, None, error_note(error)
        return self._opened[1], self._opened[2]

    def _shown(self) -> dict[str, Any]:
        return {"below": self.below, "features_revision": self._said, "notice": self._problem or self._notice}


def owner_of(record: ExtractionRecord) -> str:
    """The SAE, or the training that is not in the library."""
    return record.sae_id or record.training_id or ""


def view_from(data: Any) -> messages.ViewerView:
    """A view from the plain value that `viewer.view` gave. Raises `ConfigError` naming what is wrong."""
    if isinstance(data, messages.ViewerView):
        return data
    if not isinstance(data, Mapping):
        raise ConfigError(
            f"A view is a dictionary, not a {type(data).__name__}.", where="view", hint="Use what `viewer.view` gave."
        )
    try:
        return messages.ViewerView.model_validate(dict(data))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(["view", *(str(part) for part in first["loc"])])
        raise ConfigError(
            f"It does not fit: {first['msg']}.", where=place, hint="Use what `viewer.view` gave."
        ) from None


def card_of(
    record: ExtractionRecord, logits: JobRecord | None = None, *, has_logits: bool = False, **place: Any
) -> messages.ExtractionCard:
    """One extraction as the list of jobs shows it; `logits` is the newest job that computes them for all features."""
    completed, read = record.status is JobStatus.COMPLETED, record.progress.done if record.progress else 0
    done = record.tokens_total if completed else min(record.tokens_total, max(0, read))
    return messages.ExtractionCard.of(
        record,
        name=shorten(record.name, NAME_LENGTH),
        source_label=name_of(SOURCES, record.source),
        model=shorten(shown_model(record.model), NAME_LENGTH),
        tokens_done=done,
        has_logits=has_logits,
        **place,
        logits=None if logits is None else logits_of(logits),
        **job_fields(record, done, record.tokens_total),
    )


def logits_of(job: JobRecord) -> messages.LogitsJob | None:
    """A job that computes logit effects; None when it need not be shown any more."""
    if job.status in (JobStatus.COMPLETED, JobStatus.CANCELLED, JobStatus.STOPPED):
        return None
    done, total = (job.progress.done, job.progress.total) if job.progress else (0, 0)
    return messages.LogitsJob.of(job, done=done, total=total, **job_fields(job, done, total))


def label_job_of(job: JobRecord, since: float) -> messages.LabelJob | None:
    """A job that labels; None when it need not be shown: it ended before `since`."""
    if (job.finished_at or since) < since:
        return None
    done, total = (job.progress.done, job.progress.total) if job.progress else (0, int(job.payload["features"]))
    said = job.result or ""
    if job.status in (JobStatus.CANCELLED, JobStatus.STOPPED):
        said = f"Cancelled after {done:,} of {total:,} features. The labels that came are kept."
    return messages.LabelJob.of(
        job, done=done, total=total, model=shorten(job.payload["model"], 200), said=shorten(said, 2000),
        **job_fields(job, done, total),
    )


def is_under_way(status: JobStatus) -> bool:
    """It waits, runs, is paused or is being stopped."""
    return status.is_active or status in (JobStatus.QUEUED, JobStatus.PAUSED, JobStatus.STOPPING)


def choice_of(record: SAERecord, running: ExtractionRecord | None = None) -> messages.SaeChoice:
    """A row of *Choose an SAE*; `running` is an extraction of it under way."""
    if running is not None and is_under_way(running.status) and running.seen:
        extracted = f"{running.seen:,} so far"
    else:
        extracted = f"{record.features_extracted:,}" if record.features_extracted else "none"
    return messages.SaeChoice.of(
        record,
        name=shorten(record.name, NAME_LENGTH),
        source_label=name_of(SOURCES, record.source),
        model=shorten(shown_model(record.model), NAME_LENGTH) if record.model else None,
        features_extracted=extracted,
        state="missing" if record.state == "missing" else "ok",
    )


def not_offered(rows: Iterable[messages.SaeChoice], downloading: int) -> str:
    """ "1 has no files, 1 is being downloaded"; "" when all are offered."""
    missing = sum(row.state == "missing" for row in rows)
    parts = []
    if missing:
        parts.append(f"{missing:,} {'has' if missing == 1 else 'have'} no files")
    if downloading:
        parts.append(f"{downloading:,} {'is' if downloading == 1 else 'are'} being downloaded")
    return ", ".join(parts)


# field of `ExtractionConfig` → how it is typed, the text below the box, what is added to its description
_FIELDS: dict[str, tuple[Literal["text", "integer", "share", "boolean"], str, str]] = {
    "corpus": ("text", "empty: as in training", ' A public-domain text comes with the package: "demo".'),
    "tokens": ("integer", "rare features need more", ""),
    "context_size": ("integer", "empty: as in training", ""),
    "examples": ("integer", "", " At most two from one document."),
    "per_interval": ("integer", "16 activation intervals", ""),
    "min_activation": ("share", "", ""),
    "exclude_special_tokens": ("boolean", "", ""),
    "max_norm_ratio": ("boolean", "", ""),
    "model": ("text", "an id on Hugging Face, or a folder", ""),
    "batch_size": ("integer", "fewer take less memory", ""),
    "device": ("text", '"cpu", "cuda:0", …', ""),
}


def form_fields(data: Mapping[str, Any], *, again: bool, needs_model: bool) -> tuple[messages.ExtractionField, ...]:
    """The fields of the dialog; `again`: an extraction is tried again, perhaps with less memory or elsewhere."""
    shown = {"model": needs_model, "batch_size": again, "device": again}
    return tuple(_field(name, data[name]) for name in _FIELDS if shown.get(name, True))


def _field(name: str, value: Any) -> messages.ExtractionField:
    kind, hint, more = _FIELDS[name]
    info = ExtractionConfig.model_fields[name]
    label, ticked = str(info.title), True
    if name == "max_norm_ratio":  # a checkbox says whether there is a limit
        ticked = value or info.default
        label = f"Skip tokens with norm above {ticked:g} × median"
    if kind == "boolean":
        text: str | bool = bool(value)
    elif kind == "share":
        text = f"{float(Decimal(str(value)) * 100):.10g} % of max"
    elif name == "corpus":
        text = corpus_text(value) if value else ""
    else:
        text = "" if value is None else f"{value:,}" if kind == "integer" else str(value)
    return messages.ExtractionField(
        name=name, label=label, kind=kind, value=text, ticked=ticked, hint=hint, help=f"{info.description}{more}"
    )


def config_of(values: Mapping[str, Any]) -> tuple[ExtractionConfig | None, dict[str, str]]:
    """What was typed as a configuration: ``(config, {})`` when good, ``(None, {field: sentence})`` when not."""
    try:
        return ExtractionConfig.model_validate(values), {}
    except ValidationError as error:
        return None, {name.split(".")[0]: text for name, text in config_errors(error, ExtractionConfig).items()}
