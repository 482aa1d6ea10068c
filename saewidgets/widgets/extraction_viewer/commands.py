"""Defines `ViewerCommands`, the commands of the extraction viewer: extractions, features, text, export."""

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import numpy as np
import numpy.typing as npt
from pydantic import Field, SecretStr

from saewidgets.config.names import shown_model
from saewidgets.errors import ConfigError, NotFoundError, SAEWidgetsError, StateError
from saewidgets.feature_records import ExtractionRecord, check_index
from saewidgets.widgets.commands import (
    BUFFER_LIMIT,
    FieldsError,
    ImportCommands,
    Table,
    command,
    in_page_words,
    slow_command,
)
from saewidgets.widgets.extraction_viewer import feature_pages as pages
from saewidgets.widgets.extraction_viewer import state
from saewidgets.widgets.messages import features as messages
from saewidgets.widgets.messages.wire import Index, Note
from saewidgets.widgets.model import error_note
from saewidgets.widgets.sae_browser.state import facets_of, not_imported
from saewidgets.widgets.values import NAME_LENGTH, finite, path_from, shorten
from saewidgets.workspace.features import language_model

DENSE = 0.01  # share of the tokens: as in `features/store/query.py`
NEAR = 16  # tokens on either side of an example whose activations are kept: as in `features/store/layout.py`
MAX_FAILURES = 4  # questions in a row without an answer that end a job: a server that is not there is told soon
MOST_SAES = 500  # rows of *Choose an SAE*
Indices = npt.NDArray[np.integer[Any]]
Typed = dict[str, bool | float | Annotated[str, Field(max_length=4096)] | None]  # by field of `ExtractionConfig`
ExtractionId = dict[Literal["extraction_id"], str]


class ViewerCommands(ImportCommands):
    """See `Commands`."""

    _model: state.ViewerModel

    def __init__(self, viewer: Any) -> None:
        super().__init__(viewer)
        self._features = self._workspace.features
        self._random = random.Random()  # its own: a person's seeds stay as they are

    def _feature(self, extraction_id: str, index: int) -> ExtractionRecord:
        record = self._model.readable(extraction_id)
        check_index(index, record.d_sae, owner=record.name)
        return record

    def _order(self, record: ExtractionRecord, query: messages.FeatureQuery) -> Indices:
        return np.asarray(self._features.indices(record.id, **query.model_dump()))

    def _arrays(self, record: ExtractionRecord) -> Any:
        return self._workspace.extractions.open(record.id)

    # --------------------------------------------------------------------------------------------- extractions

    @command
    def show_view(self, view: messages.ViewerView, before: messages.ViewerView | None = None) -> None:
        """The page shows something else than `before`: what it has not changed stays as Python has it by now. Opening
        an extraction goes through here."""
        if before is not None:
            now = self._model.view
            same = [name for name in messages.ViewerView.model_fields if getattr(view, name) == getattr(before, name)]
            view = view.model_copy(update={name: getattr(now, name) for name in same})
        self._model.show(view)
        self._wake()

    @slow_command
    def extraction_action(self, extraction_id: str, action: messages.ExtractionAct) -> None:
        extractions = self._workspace.extractions
        if action == "delete":
            extractions.delete(extraction_id)
        else:
            handle = extractions.get(extraction_id)
            {"pause": handle.pause, "resume": handle.resume, "cancel": handle.cancel}[action]()
        self._changed()

    @slow_command
    def logits_action(self, extraction_id: str, action: messages.LogitsAct) -> None:
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

    @slow_command
    def try_demo(self) -> ExtractionId:
        extraction_id = self._workspace.extractions.demo().id
        self._model.change(extraction_id=extraction_id, feature=None, tab="features", dialog_sae=None)
        self._changed()
        return {"extraction_id": extraction_id}

    @command
    def show_download(self, shown: bool) -> None:
        self._model.show_below("download", shown)
        self._wake()

    # --------------------------------------------------------------------------------------------- starting one

    @command
    def list_saes(
        self, source: str | None = None, model: str | None = None, search: Annotated[str, Field(max_length=500)] = ""
    ) -> messages.SaeChoices:
        """The SAEs that an extraction can be started for; all filters together."""
        saes = self._workspace.saes
        filters = {"source": source, "model": model, "search": search.strip()}
        given: Any = {name: value for name, value in filters.items() if value}
        records = saes.list(**given, sort="newest", limit=MOST_SAES)
        running: dict[str, ExtractionRecord] = {}
        for extraction in self._workspace.extractions.list():
            if extraction.sae_id is not None:
                running.setdefault(extraction.sae_id, extraction)
        rows = tuple(state.choice_of(record, running.get(record.id)) for record in records)
        loading = [job.status for job in self._workspace.hub.downloads()]
        everything = saes.facets()
        found = facets_of(everything)
        return messages.SaeChoices(
            rows=rows,
            total=sum(everything.get("source", {}).values()),
            sources=found.source,
            models=found.model,
            note=state.not_offered(rows, sum(state.is_under_way(status) for status in loading)),
            not_imported=not_imported(self._workspace),
        )

    @command
    def extraction_form(self, sae_id: str, extraction_id: str | None = None) -> messages.ExtractionFormData:
        """The defaults for this SAE, or the values of an extraction to try again."""
        record = self._workspace.saes.get(sae_id)
        defaults = self._workspace.extractions.defaults(sae_id=record.id).to_data()
        before = {} if extraction_id is None else self._model.record(extraction_id).config
        needs_model = defaults.get("model") is None
        fields = state.form_fields({**defaults, **before}, again=bool(before), needs_model=needs_model)
        return messages.ExtractionFormData(
            sae_id=record.id, name=shorten(record.name, NAME_LENGTH), d_sae=record.d_sae, fields=fields
        )

    @slow_command
    def check_extraction(self, sae_id: str, values: Typed) -> messages.ExtractionCheck:
        self._workspace.saes.get(sae_id)
        config, errors = state.config_of(values)
        if config is None:
            return messages.ExtractionCheck(errors=errors)
        try:
            return messages.ExtractionCheck(estimate=self._workspace.extractions.estimate(sae_id=sae_id, config=config))
        except SAEWidgetsError as error:  # of one of the fields, or of what they ask for together
            name = (error.where or "").split(".")[0]
            error = in_page_words(error)
            if name in values:
                return messages.ExtractionCheck(errors={name: error.message})
            return messages.ExtractionCheck(problem=error_note(error))

    @slow_command
    def start_extraction(self, sae_id: str, values: Typed) -> ExtractionId:
        config, errors = state.config_of(values)
        if config is None:
            raise FieldsError(errors)
        handle = self._workspace.extractions.create(sae_id=sae_id, config=config)
        self._model.change(tab="jobs", dialog_sae=None)
        self._changed()
        return {"extraction_id": handle.id}

    # --------------------------------------------------------------------------------------------- features

    @command
    def query_features(
        self,
        extraction_id: str,
        query: messages.FeatureQuery,
        offset: Index = 0,
        limit: Annotated[int, Field(ge=1, le=200)] = 100,
    ) -> messages.FeatureRows:
        """Rows `offset` … of the features that match, at most 200."""
        record = self._model.readable(extraction_id)
        order = self._order(record, query)
        found = self._features.records(record.id, map(int, order[offset : offset + limit]))
        return messages.FeatureRows(
            matching=len(order),
            max_density=finite(float(np.max(self._arrays(record).density, initial=0.0))) or 0.0,
            rows=tuple(map(pages.row_of, found)),
        )

    @command
    def step_feature(
        self, extraction_id: str, query: messages.FeatureQuery, index: int, step: messages.Step
    ) -> messages.FeaturePlace:
        """The neighbour of `index` in the order of the query, or its own place ("here")."""
        record = self._feature(extraction_id, index)
        order = self._order(record, query)
        at = np.flatnonzero(order == index)
        here = int(at[0]) if len(at) else None
        if step == "here":
            return messages.FeaturePlace(index=index, row=here)
        rows = np.arange(len(order))
        if step in ("random", "next_live"):
            rows = rows[np.asarray(self._arrays(record).fired)[order] > 0]
        if step == "random":
            rows = rows[order[rows] != index]
            found = rows[self._random.randrange(len(rows)) :] if len(rows) else rows
        else:
            before, after = _around(order, here, index, query)
            found = rows[rows >= after] if step != "previous" else rows[rows <= before][-1:]
        row = int(found[0]) if len(found) else None
        return messages.FeaturePlace(index=None if row is None else int(order[row]), row=row)

    # --------------------------------------------------------------------------------------------- one feature

    @command
    def open_feature(self, extraction_id: str, index: Index) -> Table[messages.FeaturePage]:
        """All of a feature that needs no model; the buffer has the values of all examples, one after another."""
        record = self._feature(extraction_id, index)
        feature = self._features.feature(record.id, index)
        data = self._features.data(record.id, index)
        ws, view = self._workspace, {"extraction_id": record.id, "feature": index}
        where = "" if ws.is_default else f"sw.Workspace({ws.place!r}), "
        link = f"import saewidgets as sw\n\nsw.ExtractionViewer({where}view={view!r})"
        return pages.feature_page(record, self._arrays(record).manifest, data, feature, link)

    @slow_command
    def feature_logits(self, extraction_id: str, index: Index) -> messages.FeatureLogitsData:
        """What its decoder direction does to the next token; the first time loads the model."""
        record = self._feature(extraction_id, index)
        try:
            found = self._features.logits(record.id, index)
        except (ConfigError, NotFoundError, StateError) as error:  # this SAE has none, or the model is not here
            return messages.FeatureLogitsData(problem=_note(error))
        hint = None if found.counts else "How all other tokens change needs the model."
        return messages.FeatureLogitsData(
            raises=_cut(found.raises), lowers=_cut(found.lowers),
            histogram=pages.effect_histogram(found.counts, found.edges),
            problem=Note(what=shorten(found.note, 500), hint=hint) if found.note else None,
        )  # fmt: skip

    @slow_command
    def read_loss_effect(
        self,
        extraction_id: str,
        index: Index,
        position: Index | None = None,
        text: messages.Text | None = None,
        token: Index | None = None,
    ) -> messages.LossEffectData:
        """What it adds to the loss on the token after one of an example (`position`) or of a text, in nats."""
        record = self._feature(extraction_id, index)
        at: dict[str, Any] = {"position": position} if text is None else {"text": text, "token": token}
        try:
            found = self._features.loss_effect(record.id, index, **at)
        except SAEWidgetsError as error:  # the model is not here, nothing follows the token: the card says so
            return messages.LossEffectData(problem=_note(error))
        return messages.LossEffectData(effect=finite(found.effect), loss=finite(found.loss))

    @slow_command
    def feature_relations(self, extraction_id: str, index: Index) -> messages.FeatureRelationsData:
        """Features with the nearest decoder directions, and those that fire on the same tokens."""
        record = self._feature(extraction_id, index)
        together, sampled = self._features.coactive(record.id, index)
        problem: Note | None = None
        similar: tuple[messages.RelatedFeature, ...] = ()
        try:
            similar = tuple(map(pages.related, self._features.similar(record.id, index)))
        except SAEWidgetsError as error:  # its weights are not here: what the extraction knows is shown all the same
            problem = _note(error)
        note = f"of {sampled:,} sampled firing{'s' * (sampled != 1)}" if sampled else "No sampled token fired it."
        return messages.FeatureRelationsData(
            similar=similar, coactive=tuple(map(pages.related, together)), sampled=sampled, note=note, problem=problem
        )  # fmt: skip

    # --------------------------------------------------------------------------------------------- text

    @slow_command
    def expand_example(self, extraction_id: str, index: Index, position: Index) -> Table[messages.ExampleContext]:
        """The whole context of an example, `position` being that of its peak in the stream; one value per token."""
        record = self._feature(extraction_id, index)
        found = self._features.context(record.id, index, position)
        peak, values = int(found.peak or 0), np.array(found.activations, dtype=np.float32)
        if not found.complete:
            far = np.abs(np.arange(len(values)) - peak) > NEAR
            values[far & (values == 0)] = np.nan  # not known, which is not the same as silent
        texts = pages.Texts()
        context = messages.ExampleContext(
            position=position, peak=peak, tokens=texts.add(found.pieces), texts=texts.all,
            complete=bool(found.complete), note=shorten(found.note, 500),
        )  # fmt: skip
        return Table(context, ("activations",), (pages.floats([values], unknown=float("nan")),))

    @slow_command
    def test_text(self, extraction_id: str, index: Index, text: messages.Text) -> Table[messages.TestedText]:
        """The feature on a text: one value per token."""
        record = self._feature(extraction_id, index)
        found = self._features.on_feature(record.id, index, _some_text(text))
        values, texts = np.asarray(found.activations, dtype=np.float32), pages.Texts()
        tested = messages.TestedText(
            tokens=texts.add(found.pieces), texts=texts.all,
            max=finite(float(values.max(initial=0.0))) or 0.0, fired=int((values > 0).sum()), seconds=found.seconds,
            note=shorten(found.note, 500),
        )  # fmt: skip
        return Table(tested, ("activations",), (pages.floats([values]),))

    @slow_command
    def read_prompt(
        self,
        extraction_id: str,
        text: messages.Text,
        rank_by: messages.RankBy = "max",
        token: int | None = None,
        hide_dense: bool = True,
        limit: Annotated[int, Field(ge=1, le=200)] = 50,
    ) -> Table[messages.PromptData]:
        """The features that fire on a text, ranked (by `token`: at that place); row by row one value per token."""
        record = self._model.readable(extraction_id)
        found = self._features.run_on(record.id, _some_text(text))
        indices, values = np.asarray(found.indices), found.activations
        keep = np.ones(len(indices), dtype=bool)
        if hide_dense and len(indices):
            keep = np.asarray(self._arrays(record).density)[indices] <= DENSE
        most = min(limit, BUFFER_LIMIT // (4 * max(1, len(found.pieces))))
        shown = [int(at) for at in found.ranked(rank_by, token) if keep[at]][:most]
        rows = self._features.records(record.id, map(int, indices[shown])) if shown else []
        texts = pages.Texts()
        reading = messages.PromptData(
            tokens=texts.add(found.pieces), texts=texts.all, firing=len(indices), hidden=int((~keep).sum()),
            rows=tuple(pages.prompt_row(row, values[at]) for row, at in zip(rows, shown, strict=True)),
            note=shorten(found.note, 500),
        )  # fmt: skip
        return Table(reading, ("activations",), (pages.floats([values[at] for at in shown]),))

    # --------------------------------------------------------------------------------------------- what people say

    @command
    def edit_feature(
        self,
        extraction_id: str,
        index: Index,
        label: Annotated[str | None, Field(max_length=1000)] = None,
        description: Annotated[str | None, Field(max_length=20_000)] = None,
        notes: Annotated[str | None, Field(max_length=20_000)] = None,
        starred: bool | None = None,
    ) -> messages.FeatureNotes:
        """None leaves a field as it is; an empty label removes the user's own."""
        record = self._feature(extraction_id, index)
        feature_id = f"feat_{state.owner_of(record)}_{index}"
        if label is not None or description is not None:
            text, about = self._own_label(record, index, label, description)
            self._features.label(feature_id, text, about, extraction_id=record.id)
        if notes is not None:
            self._features.notes(feature_id, notes)
        if starred is not None:
            self._features.star(feature_id, starred)
        self._changed()
        return pages.notes_of(self._features.feature(record.id, index))

    def _own_label(
        self, record: ExtractionRecord, index: int, label: str | None, description: str | None
    ) -> tuple[str, str]:
        """The user's label and its description with what was typed; None leaves one as it is."""
        labels = self._features.feature(record.id, index).labels
        own = next((each for each in labels if each.source == "user"), None)
        text = own.text if label is None and own is not None else (label or "")
        text = " ".join(text.split())
        if not text and label is None:
            raise ConfigError(
                "A description belongs to a label of your own.", where="label", hint="Write a label, then save both."
            )
        before = own.description if own is not None else ""
        return text, before if description is None else description

    @slow_command
    def suggest_label(self, extraction_id: str, index: Index) -> messages.Suggestion:
        record = self._feature(extraction_id, index)
        found = self._features.suggest(record.id, index)
        return messages.Suggestion(
            index=index, text=shorten(found.text, 1000), by=shorten(found.model, 200),
            note=shorten(found.description, 500), tokens=pages.tokens_of(found.text, "auto"),
        )  # fmt: skip

    @slow_command
    def plan_labels(self, extraction_id: str, asked: messages.LabelRequest) -> messages.LabelPlan:
        """What `start_labels` would ask. Nothing is sent."""
        plan = self._label(self._features.plan_labels, extraction_id, asked, first=1)
        prompt = "\n\n".join(each["content"] for question in plan.first for each in question.messages)
        return messages.LabelPlan.of(
            plan, features=plan.n_questions, requests=plan.n_questions + plan.n_judgements,
            skipped=len(plan.same) + len(plan.broken), prompt=shorten(prompt, pages.TEXT_LENGTH),
        )  # fmt: skip

    @slow_command
    def start_labels(self, extraction_id: str, asked: messages.LabelRequest, key: SecretStr | None = None) -> None:
        """Label features in the background; a typed `key` stays in memory until that ends."""
        more = {"max_cost": asked.max_cost, "max_failures": MAX_FAILURES}
        self._label(self._features.start_labels, extraction_id, asked, key, **more)
        self._changed()

    @slow_command
    def cancel_labels(self, job_id: str) -> None:
        self._workspace.jobs.get(job_id).cancel()
        self._changed()

    def _label(
        self, do: Any, extraction_id: str, asked: messages.LabelRequest, key: SecretStr | None = None, **more: Any
    ) -> Any:
        """`do` what was asked; an error of a field names it."""
        record = self._model.readable(extraction_id)
        order = self._order(record, asked.query)
        keep = np.asarray(self._arrays(record).fired)[order] > 0
        try:
            who = language_model(
                self._workspace, asked.llm, model=asked.model, base_url=asked.base_url, key_env=asked.key_env, key=key
            )
            if asked.unlabelled:
                keep &= np.isin(order, self._features.unlabelled(record.id, who))
            indices = order[keep][: asked.limit].tolist() if asked.index is None else [asked.index]
            return do(record.id, who, indices=indices, score=asked.score, price=asked.price, **more)
        except ConfigError as error:
            raise FieldsError({error.where or "": error.message}) from None

    @slow_command
    def read_judged(self, extraction_id: str, index: Index, score_at: float) -> Table[messages.JudgedLabel]:
        """The windows behind a score of a label."""
        return pages.judged_label(self._features.judged(self._feature(extraction_id, index).id, index, score_at)[1])

    @slow_command
    def import_labels(self, extraction_id: str, path: str) -> dict[Literal["imported", "skipped"], int]:
        """Take in the labels of a file; problems are an error that names the line."""
        found = self._features.import_labels(self._model.record(extraction_id).id, str(path_from(path)))
        self._changed()
        return {"imported": len(found.labels), "skipped": len(found.problems)}

    @slow_command
    def export_features(
        self,
        extraction_id: str,
        what: messages.ExportKind,
        path: str,
        indices: tuple[int, ...] | None = None,
        query: messages.FeatureQuery | None = None,
    ) -> messages.WrittenFile:
        """Write a file or folder: of `indices`, or of what the query matches."""
        record = self._model.readable(extraction_id)
        chosen: list[int] | None = None
        if indices is not None:
            chosen = [check_index(index, record.d_sae, owner=record.name) for index in indices]
        elif query is not None:
            chosen = [int(i) for i in self._order(record, query)]
        if chosen is not None and not chosen:
            raise ConfigError("No feature matches: there is nothing to export.", hint="Clear the filters.")
        written = self._write(record, what, path_from(path), chosen)
        files = written.rglob("*") if written.is_dir() else [written]
        size = sum(file.stat().st_size for file in files if file.is_file())
        return messages.WrittenFile(path=str(written), size_bytes=size)

    def _write(
        self, record: ExtractionRecord, what: messages.ExportKind, path: Path, indices: Sequence[int] | None
    ) -> Path:
        if what in ("labels_csv", "labels_jsonl"):
            suffix = f".{what.removeprefix('labels_')}"
            named = path if path.suffix == suffix else path.with_name(path.name + suffix)
            return Path(self._features.export_labels(record.id, named, indices=indices))
        names: dict[str, Any] = {}
        if what == "neuronpedia":  # people who mean to upload it name it themselves: ws.features.export
            names = {"model_id": _slug(shown_model(record.model)), "sae_set": _slug(record.name)}
        return Path(self._features.export(record.id, cast(Any, what), path, indices=indices, **names))

    @slow_command
    def steer_feature(self, extraction_id: str, index: Index) -> None:
        record = self._feature(extraction_id, index)
        if record.sae_id is None:
            raise StateError(
                f"{record.name} is not in the library yet.", hint="Press Import to SAEs in the training panel first."
            )
        self._widget.steer(record.sae_id, index)


def _around(order: Indices, row: int | None, index: int, query: messages.FeatureQuery) -> tuple[int, int]:
    """The rows before and after a feature; of one that is not in the list, its place in it if that is known."""
    if row is not None:
        return row - 1, row + 1
    if query.sort != "index":
        return len(order) - 1, 0
    sign = -1 if query.descending else 1
    place = int(np.searchsorted(sign * order, sign * index))
    return place - 1, place


def _some_text(text: str) -> str:
    if not text.strip():
        raise ConfigError("There is no text.", where="text", hint="Type or paste some.")
    return text


def _cut(effects: Sequence[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    return tuple((shorten(text, pages.PIECE_LENGTH), finite(value) or 0.0) for text, value in effects)


def _note(error: SAEWidgetsError) -> Note:
    return error_note(in_page_words(error))


def _slug(name: str) -> str:
    """The last part of a name as Neuronpedia's ids allow it."""
    text = re.sub(r"[^a-z0-9.-]+", "-", name.rstrip("/").split("/")[-1].lower()).strip("-.")
    return text[:100] or "unnamed"
