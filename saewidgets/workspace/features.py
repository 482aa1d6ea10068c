"""Defines `Features`, which is `ws.features`: the latents of an SAE with their extracted examples and labels; and
`language_model`, which makes a language model for labels from a name."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pydantic import SecretStr

from saewidgets.config import arguments
from saewidgets.errors import ConfigError, FormatError, NotFoundError, SAEWidgetsError, StateError, StorageError
from saewidgets.events import Interruption, JobStatus, Request
from saewidgets.feature_records import ExampleRecord, FeatureRecord, LabelRecord, LabelSource, check_index
from saewidgets.features import labels as making
from saewidgets.features.labels import (
    Imported,
    Label,
    LabelOptions,
    LabelRun,
    LLMAnswerError,
    LLMServerError,
    Plan,
    Price,
    Sample,
    Score,
    ScoreRun,
)
from saewidgets.features.labels.label import HEURISTIC_RANK
from saewidgets.features.labels.labelling import LLMOptions
from saewidgets.features.labels.llm import Reader, named
from saewidgets.jobs import Job, JobContext
from saewidgets.records import JobRecord
from saewidgets.workspace.checked import checks_arguments, notes, numbers
from saewidgets.workspace.lookup import Ref
from saewidgets.workspace.reading.feature_reading import FeatureAccess, View
from saewidgets.workspace.tasks import Tasks, subscribe_to

if TYPE_CHECKING:
    from saewidgets.features.export import EffectsOf
    from saewidgets.workspace.reading.store_examples import StoreExamples
    from saewidgets.workspace.workspace import Workspace

Kind = Literal["html", "json", "csv", "interpretations", "neuronpedia", "vectors"]
_AT_ONCE = 200  # labels saved together,
_SECONDS = 2.0  # or all that came in so long
_NEGATIVES = 20
_SITE = re.compile(r"[\w.-]+/[\w.-]+")  # "model/source" on Neuronpedia
_ASKING = ("concurrency", "price", "max_cost", "spent", "max_failures", "control", "progress", "model")
_JUDGING = ("scorer", "n_pos", "n_neg", "seed", "per_prompt", "context")
_ABOUT = "a label of about as many words as models write"  # whose judging is planned
OPENAI = "https://api.openai.com/v1"
Evidence = Mapping[int, Sequence[ExampleRecord]]


@checks_arguments
class Features(FeatureAccess):
    """The features of a workspace.

    Features are named by the id of an SAE, of a training, or of one of its extractions; of the former the
    numbers are those of the newest extraction. A feature has the id ``feat_{SAE or training}_{number}``.
    """

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self._asked: dict[str, Callable[..., LabelRun]] = {}  # by job: what asks a language model, with its key
        self._label_tasks = Tasks(
            workspace, "labels", self._run_labels, key="extraction_id", is_local=True,
            ended=self._forget_model, check=self._require_model,
        )

    def subscribe(self, callback: Callable[[str | None], None]) -> Callable[[], None]:
        """Call `callback` after this process has changed labels, stars or notes, or a job that labels has changed,
        with the id of the SAE, training or extraction. What other processes change shows in `revision`. Returns the
        function that ends it."""
        return subscribe_to((self.changes.add, self._label_tasks.subscribe), callback)

    def label(
        self,
        feature_id: Ref,
        name: str,
        description: str = "",
        *,
        source: LabelSource = "user",
        extraction_id: Ref | None = None,
    ) -> FeatureRecord:
        """Label a feature. The label of a person wins; all others stay beside it.

        Args:
            name: a short phrase; ``""`` removes the label of this `source`.
            source: whose label it is: ``"user"``, ``"auto"`` or ``"imported"``.
            extraction_id: whose examples are kept with it; None takes the newest extraction's.

        Raises:
            ConfigError: it is too long, or holds characters that no file can hold.
            NotFoundError: there is no such feature.
        """
        view, index = self._place(feature_id, extraction_id)
        text = name.strip()
        label = Label.from_data(
            {"index": index, "text": text or "-", "description": description.strip(), "source": source}
        )
        if text:
            self.put_labels(view, [label], [index])
        else:
            self.rows.remove_label(view.origin, index, source)
        self.changes.tell(view.origin.id)
        return self.whole(view, index)

    def star(self, feature_id: Ref, starred: bool = True) -> FeatureRecord:
        """Mark a feature to come back to, or take the mark away."""
        return self._marked(feature_id, starred=bool(starred))

    def notes(self, feature_id: Ref, text: str) -> FeatureRecord:
        """Replace the notes on a feature. Raises `ConfigError` if they are too long, or hold characters that no file
        can hold."""
        return self._marked(feature_id, notes=notes(text))

    def _marked(self, feature_id: str, **marks: Any) -> FeatureRecord:
        view, index = self._place(feature_id, None)
        self.rows.mark(view.origin, index, **marks)
        self.changes.tell(view.origin.id)
        return self.whole(view, index)

    def suggest(self, wanted: Ref, index: int, llm: Any = None) -> Label:
        """A label for one feature, which is not saved; `llm` None takes the offline heuristic. Raises `LLMError` if
        there is no label; the message says why."""
        view = self.view(wanted)
        run = making.label_features([check_index(index, view.d_sae)], _llm(llm), _examples(view))
        if run.labels:
            return run.labels[0]
        why = run.failures[0].error if run.failures else "It did not fire on the text that was read."
        raise LLMAnswerError(f"There is no label for feature {index:,}. {why}", where="index")

    def auto_label(
        self,
        sae_id: Ref,
        llm: Any = None,
        *,
        indices: Iterable[int] | None = None,
        again: bool = False,
        limit: int | None = None,
        score: bool = False,
        **settings: Any,
    ) -> LabelRun:
        """Have the live features without a label labelled, in this thread; labels are saved as they come.

        For a language model, a feature with nothing but labels of the offline heuristic has no label. The new label is
        shown instead of them.

        Args:
            llm: a function of messages (`openai_compatible`, `transformers_local` of `saewidgets.features.labels`);
                None takes the offline heuristic, which needs no model.
            indices: these features instead, labelled or not.
            again: also those that have a label.
            limit: at most so many of them, in order of their numbers.
            score: then have the labels judged, see `score`; also those that the same question gave before.
            settings: ``options concurrency price max_cost max_failures control progress model`` of
                `saewidgets.features.labels.label_features`; the price may be two numbers, see `plan_labels`.

        Raises:
            StateError: it was not extracted.
            LLMError, ConfigError, Interruption: as `label_features`; labels that came before stay.
        """
        view, known = self.view(sae_id), _settings(settings, "options", *_ASKING)
        wanted = self._to_label(view, llm, indices, again, limit)
        examples = _examples(view, options=known.get("options") or LabelOptions())
        with self._saving(view, examples.kept, llm) as add:
            run = making.label_features(
                wanted, _llm(llm), examples, existing=self._labels(view, wanted), on_label=add, **known
            )
        if score and (labelled := [*(label.index for label in run.labels), *run.same]):
            asking = {name: value for name, value in known.items() if name != "options"} | {"spent": run.cost or 0.0}
            run.judged = self.score(sae_id, llm, indices=labelled, **asking)
        return run

    def start_labels(self, sae_id: Ref, llm: Any = None, **asking: Any) -> Job:
        """`auto_label` with the same arguments, as a job: it returns at once.

        Labels stay when it is cancelled. A pause ends it, too: the language model, with its key, is in memory only.
        """
        view, known = self.view(sae_id), dict(asking)
        wanted = self._to_label(view, llm, *(known.pop(name, None) for name in ("indices", "again", "limit")))
        settings = _settings({k: v for k, v in known.items() if k != "score"}, "options", *_ASKING)
        LLMOptions(**{k: v for k, v in settings.items() if k != "options"})  # what it refuses, it refuses now
        name, extraction_id = named(_llm(llm), settings.get("model")), view.extraction.id if view.extraction else ""
        ask = partial(self.auto_label, extraction_id, llm, indices=wanted, **known)
        # An SAE is deleted only when no job names it.
        payload = {"extraction_id": extraction_id, "model": name, "features": len(wanted), **asdict(view.origin)}
        return self._label_tasks.start(payload, "labels", lambda job_id: self._asked.update({job_id: ask}))

    def _forget_model(self, job: JobRecord) -> None:
        if job.status not in (JobStatus.FAILED, JobStatus.INTERRUPTED):  # which can go on here
            self._asked.pop(job.id, None)

    def _require_model(self, job: JobRecord) -> None:
        if job.id not in self._asked:
            what = "The language model of this labelling was in memory only, and this process does not have it."
            raise StateError(what, where=job.id, hint="Start the labelling again; labels that it has made stay.")

    def _run_labels(self, context: JobContext, ids: Sequence[str], held: Any) -> str:
        try:
            run = self._asked[context.job_id](control=context.control, progress=context.emit)
        except Interruption:  # another process could not go on with it
            raise Interruption(Request.CANCEL) from None
        errors = [*(one.error for one in run.failures), *(why for _, why in getattr(run.judged, "errors", ()))]
        if run.stopped == "failures" or (run.failures and not run.labels):
            raise LLMServerError(run.failures[-1].error, hint=f"All questions, or too many in a row, failed: {run}.")
        return f"{run}. For example: {errors[0][:300]}" if errors else f"{run}."

    def plan_labels(
        self,
        sae_id: Ref,
        llm: Any = None,
        *,
        indices: Iterable[int] | None = None,
        again: bool = False,
        limit: int | None = None,
        score: bool = False,
        **settings: Any,
    ) -> Plan:
        """What `auto_label` with the same arguments would ask, and what that would cost. Nothing is sent or saved.

        `settings` are ``options price first model`` of `saewidgets.features.labels.plan`: `price` per million tokens as
        ``(in, out)`` or a `Price`; `first` prompts (3) are in the plan, word for word.

        Returns:
            A `Plan`: `.n_questions`, `.tokens_in`, `.tokens_out` and `.cost` (estimates), `.first` (the prompts); it
            prints, and shows in a notebook.
        """
        view, known = self.view(sae_id), _settings(settings, "options", "price", "first", "model")
        wanted = self._to_label(view, llm, indices, again, limit)
        planned = making.plan(wanted, _llm(llm), _examples(view), existing=self._labels(view, wanted), **known)
        if not score or not planned.sent:
            return planned
        skipped, judge = {*planned.same, *planned.dead, *planned.broken}, making.echo("[0, 0, 0]")
        labels = [Label(index, _ABOUT) for index in wanted if index not in skipped]
        labels += [label for label in self._counting(view, planned.same) if not label.scores]
        judged = making.score_labels(labels, _examples(view, _NEGATIVES), judge, price=known.get("price"))
        return replace(
            planned, n_judgements=len(judge.seen), tokens_in=planned.tokens_in + judged.tokens_in,
            tokens_out=planned.tokens_out + judged.tokens_out,
            cost=None if planned.cost is None else planned.cost + (judged.cost or 0.0),
        )

    def score(
        self, sae_id: Ref, llm: Any = None, *, indices: Iterable[int] | None = None, **settings: Any
    ) -> ScoreRun:
        """Have the labels that count judged on text they were not made from; scores are saved as they come.

        `indices` None takes all that have a label; `settings` are ``scorer n_pos n_neg seed per_prompt context
        concurrency price max_cost control progress model`` of `saewidgets.features.labels.score_labels`.
        """
        view, known = self.view(sae_id), _settings(settings, *_JUDGING, *_ASKING)
        negatives = max(_NEGATIVES, arguments.count(known.get("n_neg", 0), "n_neg", "a number", most=10_000))
        with self._saving(view, {}, llm) as add:
            return making.score_labels(
                self._counting(view, indices), _examples(view, negatives), _llm(llm), on_label=add, **known
            )

    def judged(self, wanted: Ref, index: int, score_at: float) -> tuple[LabelRecord, list[Sample]]:
        """The label of a feature with a score made at `score_at`, and the windows that it was judged on. Raises
        `NotFoundError`, and `StateError` if that was another extraction's, or what the judge said was not recorded."""
        view = self.view(wanted)
        for record in self.rows.labels(view.origin, [check_index(index, view.d_sae)]):
            for score in from_record(record).scores:
                if score.created_at == score_at:
                    return record, making.judged_windows(record.text, score, _examples(view, _NEGATIVES).of(index))
        raise NotFoundError("There is no such score any more.", where="score_at")

    def import_labels(self, sae_id: Ref, source: str | Path, *, on_error: str | None = None) -> Imported:
        """Take in labels from a file or from Neuronpedia.

        A person's label in a file never replaces one that a person wrote here: it is kept as an imported one.

        Args:
            source: a ``.csv`` or ``.jsonl`` file, an export of Neuronpedia's, or ``"model/source"`` on its site
                (``"gemma-2-2b/12-gemmascope-res-16k"``).
            on_error: ``"raise"``: nothing is taken if a line is wrong; ``"skip"``: such lines are left out. None: the
                former for a table, the latter for an export.

        Raises:
            NotFoundError: there is no such file.
            FormatError: not a table of labels, or one of another SAE; lines and fields are named.
        """
        view = self.view(sae_id, open_store=False)
        text = arguments.path_text(source, "source", "a file of labels, or MODEL/SOURCE on Neuronpedia")
        file = arguments.path(text, "source", "a file of labels")
        if not file.exists() and _SITE.fullmatch(text) and not text.endswith((".csv", ".jsonl")):
            model_id, source_id = text.split("/")
            imported = making.fetch_neuronpedia(
                model_id, source_id, view.d_sae, on_error=on_error or "skip",  # type: ignore[arg-type]
            )
        else:
            imported = making.read_labels(file, view.d_sae, on_error=on_error)  # type: ignore[arg-type]
        if not imported.labels and not imported.problems:
            raise FormatError("There are no labels in it.", where=Path(text).name, hint="Choose another file.")
        own = {label.index: label.text for label in self._labels(view, None) if label.source == "user"}
        for at, label in enumerate(imported.labels):
            if label.source == "user" and own.get(label.index, label.text) != label.text:
                imported.labels[at] = replace(label, source="imported", method=label.method or "a person's")
        self.put_labels(view, imported.labels)
        self.changes.tell(view.origin.id)
        return imported

    def export_labels(self, sae_id: Ref, path: str | Path, *, indices: Iterable[int] | None = None) -> Path:
        """Write all labels to a ``.csv`` or ``.jsonl`` file, whole or not at all. Raises `ConfigError` if the name ends
        in neither, and `StorageError`."""
        view = self.view(sae_id, open_store=False)
        return making.write_labels(self._labels(view, _inside(indices, view)), Path(path).expanduser())

    def interpretations(self, wanted: Ref, path: str | Path, *, indices: Iterable[int] | None = None) -> dict[str, int]:
        """Write what is known of every latent to one JSON file; returns how many are active and dead in it."""
        view = self.view(wanted)
        labels = making.by_feature(self._labels(view, None))
        chosen = _inside(indices, view)
        found = making.interpret_features(_examples(view), range(view.d_sae) if chosen is None else chosen, labels)
        return making.write_interpretations(found, Path(path).expanduser())

    def put_labels(self, view: View, labels: Sequence[Label], with_evidence: Sequence[int] = ()) -> None:
        """Save labels, those of `with_evidence` with the examples of the view's extraction."""
        found: dict[int, Sequence[ExampleRecord]] = {}
        if view.store is not None and with_evidence:
            from saewidgets.workspace.reading.store_examples import kept_examples  # torch: seconds to import

            examples = _examples(view)
            for index in with_evidence:
                with suppress(SAEWidgetsError):  # its text or a file is gone: the label itself matters
                    found[index] = kept_examples(examples.of(index).top)
        self._put(view, labels, found)

    def _put(self, view: View, labels: Sequence[Label], evidence: Evidence) -> None:
        extraction_id = view.extraction.id if view.extraction is not None else None
        self.rows.put_labels(
            view.origin, map(to_record, labels), newer, evidence=evidence, extraction_id=extraction_id
        )

    @contextmanager
    def _saving(self, view: View, evidence: Evidence, llm: Any) -> Iterator[Callable[[Label], None]]:
        """What takes labels as they come: it saves those of a language model at once, since they may have cost money,
        and those of the heuristic a few at a time. All that came are saved, however the work ends."""
        waiting: list[Label] = []
        at_once = _AT_ONCE if isinstance(_llm(llm), Reader) else 1
        announced = time.monotonic()

        def announce() -> None:
            nonlocal announced
            announced = time.monotonic()
            self.changes.tell(view.origin.id)

        def save() -> None:
            if waiting:
                self._put(view, waiting, evidence)
                waiting.clear()

        def add(label: Label) -> None:
            waiting.append(label)
            if (late := time.monotonic() - announced > _SECONDS) or len(waiting) >= at_once:
                save()
            if late:
                announce()

        try:
            yield add
        finally:
            save()
            announce()

    def unlabelled(self, wanted: str, llm: Any = None) -> list[int]:
        """The live features that `auto_label` has `llm` label: those without a label. Labels of the offline heuristic
        count only if `llm` is this heuristic (None)."""
        named(_llm(llm))  # refuses what cannot be asked
        return self._to_label(self.view(wanted), llm, None, False, None)

    def _to_label(
        self, view: View, llm: Any, indices: Iterable[int] | None, again: bool | None, limit: int | None
    ) -> list[int]:
        if limit is not None:
            arguments.count(limit, "limit", "a number of features", least=1)
        fired = view.read.fired
        if (chosen := _inside(indices, view)) is not None:
            return chosen[:limit]
        live = set((fired > 0).nonzero()[0].tolist())
        if not again:
            standing = HEURISTIC_RANK if isinstance(_llm(llm), Reader) else HEURISTIC_RANK - 1
            live -= self.rows.labelled(view.origin, standing)
        return sorted(live)[:limit]

    def _labels(self, view: View, indices: Iterable[int] | None) -> list[Label]:
        return [from_record(record) for record in self.rows.labels(view.origin, indices)]

    def _counting(self, view: View, indices: Iterable[int] | None) -> list[Label]:
        """Of each of these features the label that counts, where there is one."""
        counting = map(making.shown, making.by_feature(self._labels(view, _inside(indices, view))).values())
        return [label for label in counting if label is not None]

    def export(
        self,
        wanted: Ref,
        what: Kind,
        path: str | PathLike[str],
        *,
        indices: Iterable[int] | None = None,
        logits: bool | None = None,
        title: str = "",
        **names: Any,
    ) -> Path:
        """Write what an extraction found. Files and folders appear whole or not at all.

        Args:
            wanted: an extraction, an SAE or a training (then its newest extraction).
            what: ``html`` (one page that needs no network, at most 2,000 features), ``json`` (as SAEDashboard writes),
                ``csv`` (a table), ``interpretations`` (JSON as of `analyze_sae`), ``neuronpedia`` (a folder that its
                importer reads) or ``vectors`` (decoder rows as safetensors).
            logits: effects on the next token, for which the model is loaded: None has them in pages and files of other
                tools where the model can be loaded here or tables are stored (`ws.extractions.compute_logits`) and they
                are defined (not for an encoder, nor for an SAE on attention heads), True insists, False leaves them
                out.
            title: of the page; "" takes the SAE's name.
            **names: ``neuronpedia`` only: fields of `NeuronpediaTarget`, ``model_id`` and ``sae_set`` at least.

        Returns:
            The file or folder.

        Raises:
            ConfigError: a kind that does not exist, no feature, an unknown one, too many for one page; names missing.
            StateError: it was not extracted.
            StorageError: the disk refuses, or the place holds something else.
        """
        from saewidgets.features import export as kinds  # torch: seconds to import

        if what not in get_args(Kind):
            arguments.refuse(what, "what", "a kind of export", f"Use {', '.join(get_args(Kind))}.")
        if names and what != "neuronpedia":
            raise ConfigError(f"{next(iter(names))} is for Neuronpedia only.", where="what", hint="Leave it out.")
        view = self.view(wanted)
        store, notes = view.read, self._noted(view)[1]
        target = Path(path).expanduser()
        if what in ("html", "json", "csv", "interpretations") and target.is_dir():
            raise StorageError("This is a folder.", where=str(target), hint=f"Name a file in it: features.{what}.")
        if what == "interpretations":
            self.interpretations(wanted, target, indices=indices)
            return target
        if what == "csv":
            return kinds.export_table(store, indices, notes, target)
        if what == "html":
            chosen = range(store.d_sae) if indices is None else indices
            return kinds.export_html(store, chosen, notes, target, self._effects(view, logits), title=title)
        if what == "neuronpedia":
            for name in ("model_id", "sae_set"):
                if not names.get(name):
                    hint = 'For example model_id="gpt2-small", sae_set="res-16k".'
                    raise ConfigError(f"Neuronpedia needs {name}.", where=name, hint=hint)
            try:
                named = kinds.NeuronpediaTarget(**names)
            except TypeError as error:
                raise ConfigError(f"{error}.", where="names", hint="Use the fields of NeuronpediaTarget.") from error
        sae = self.live.sae(self._subject(view))
        if what == "vectors":
            return kinds.export_vectors(store, sae, indices, notes, target)
        effects = self._effects(view, logits)
        if what == "json":
            return kinds.export_dashboard(store, indices, target, logits=effects, sae=sae)
        return kinds.export_neuronpedia(store, indices, notes, target, named, logits=effects, sae=sae)

    def _effects(self, view: View, logits: bool | None) -> EffectsOf | None:
        # Torch: seconds to import.
        from saewidgets.features.export import computed_effects, stored_effects
        from saewidgets.features.logit_effects import check_directions
        from saewidgets.lm import HookError

        if logits is False:
            return None
        assert view.extraction is not None  # there is something to export
        if view.extraction.other_weights or self.can_read(view.extraction.id):
            if (stored := stored_effects(view.read)) is not None:
                return stored
            if logits is None:
                return None
        opened = self.open_live(view)
        try:
            check_directions(opened.sae)
            return computed_effects(opened.sae, opened.model.head, opened.model.text)
        except (ConfigError, HookError):
            if logits:
                raise
            return None  # not defined: heads, an encoder


def to_record(label: Label) -> LabelRecord:
    """The record of a label for the catalog."""
    score = label.score
    return LabelRecord(
        index=label.index, text=label.text, description=label.description, source=label.source, method=label.method,
        model=label.model, prompt_hash=label.prompt_hash, scores=tuple(asdict(one) for one in label.scores),
        score=score.value if score is not None else None, n_judged=label.n_judged, n_asked=label.n_asked, by=label.by,
        error=label.error, created_at=label.created_at, standing=label.rank,
        identity=hashlib.sha256(repr(label.identity).encode()).hexdigest(),
    )  # fmt: skip


def from_record(record: LabelRecord) -> Label:
    """What `to_record` was given."""
    return Label(
        index=record.index, text=record.text, description=record.description, source=record.source,
        method=record.method, model=record.model, prompt_hash=record.prompt_hash, created_at=record.created_at,
        scores=tuple(Score(**score) for score in record.scores), error=record.error,
    )


def newer(there: LabelRecord, new: LabelRecord) -> LabelRecord:
    """The one that stays of two versions of a label, see `merge`."""
    (label,) = making.merge([from_record(there)], [from_record(new)])
    return to_record(label)


def _examples(view: View, negatives: int = 0, options: LabelOptions | None = None) -> StoreExamples:
    from saewidgets.workspace.reading.store_examples import StoreExamples  # torch: seconds to import

    return StoreExamples(view.read, negatives, options)


def _llm(llm: Any) -> Any:
    return making.offline() if llm is None else llm


def _inside(indices: Iterable[int] | None, view: View) -> list[int] | None:
    if indices is None:
        return None
    return [check_index(index, view.d_sae, "indices") for index in numbers(indices, "indices")]


def _settings(settings: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The settings, if there are such ones; a price of two numbers is made one."""
    for name in settings:
        if name not in names:
            raise ConfigError("There is no such setting.", where=name, hint=f"Use {', '.join(names)}.")
    if isinstance(price := settings.get("price"), Price | None):
        return dict(settings)
    if not isinstance(price, list | tuple) or len(price) != 2:
        hint = "Give (per million tokens in, per million tokens out)."
        arguments.refuse(price, "price", "a price of two numbers", hint)
    return {**settings, "price": Price(*price)}


def language_model(
    workspace: Workspace,
    kind: str = "heuristic",
    *,
    model: str | None = None,
    base_url: str | None = None,
    key_env: str | None = None,
    key: SecretStr | None = None,
    load: bool = True,
) -> Any:
    """A language model as `ws.features.auto_label`, `score` and `plan_labels` take it, from what somebody has typed.

    The key of `key_env` None is ``OPENAI_API_KEY`` for OpenAI's own server, and none for others, so that a key goes
    nowhere it was not meant for; `key` is the key itself. `load` False is for a plan: a model of transformers is then
    not loaded.
    """
    used = {"heuristic": (), "openai": ("model", "base_url", "key_env"), "transformers": ("model",)}
    if kind not in used:
        raise ConfigError(f"There is no language model {kind!r}.", where="llm", hint=f"Use {', '.join(used)}.")
    for name, value in (("model", model), ("base_url", base_url), ("key_env", key_env)):
        if value is not None and name not in used[kind]:
            raise ConfigError(
                f"This is not for the language model {kind!r}.", where="model_name" if name == "model" else name,
                hint="Leave it out, or choose llm=openai." if name != "model" else "Choose llm=openai or transformers.",
            )
    if kind == "heuristic":
        return None
    if not model:
        example = "gpt-4o-mini" if kind == "openai" else "Qwen/Qwen2.5-0.5B-Instruct"
        raise ConfigError("No model to ask is named.", where="model_name", hint=f"For example {example}.")
    if kind == "openai":
        default = "OPENAI_API_KEY" if base_url in (None, OPENAI) else None
        return making.openai_compatible(base_url or OPENAI, model, api_key_env=key or key_env or default)
    if not load:
        planned = making.echo()
        planned.model = model
        return planned
    loaded = workspace.features.live.model(None, model=model).lm
    return making.transformers_local(loaded.model, loaded.tokenizer, name=loaded.name)
