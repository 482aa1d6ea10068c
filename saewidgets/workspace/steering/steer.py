"""`ws.steering` and what `ws.steer` does: ids become SAEs, the work shares the device with whoever runs there."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from saewidgets.config import SteeringConfig, SteeringFeature
from saewidgets.config.arguments import readable
from saewidgets.errors import ConfigError, StateError
from saewidgets.jobs import compute_lane
from saewidgets.records import SAERecord
from saewidgets.workspace.checked import checks_arguments
from saewidgets.workspace.held import canonical, missing, take
from saewidgets.workspace.steering.presets import Presets
from saewidgets.workspace.steering.strengths import Maxima, Maximum, Strengths, Suggestion, needed
from saewidgets.workspace.subjects import Subject, find_subject

if TYPE_CHECKING:
    from saewidgets.lm import LoadedModel
    from saewidgets.steering import Steering as Attached
    from saewidgets.steering import SteeringResult, SteeringSource, TokenEvent
    from saewidgets.workspace.workspace import Workspace


class Loader:
    """Models and SAEs of a workspace by the SAE's record. Any thread may ask."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._seen: dict[str, weakref.ref[Any]] = {}  # SAE's id → its model, while somebody keeps that

    def model_of(self, record: SAERecord) -> LoadedModel:
        """The model that an SAE was made for: the user's own if it was trained on that, else loaded.

        Raises:
            StateError: it was handed in as an object that is no longer in memory.
            ConfigError: it is not known which model it is, or where in it the SAE belongs.
            NotFoundError, FormatError: it, or the SAE, cannot be loaded; the message says why.
        """
        lm = self._workspace.features.live.open(find_subject(self._workspace, record.id)).model.lm
        with self._lock:
            self._seen[record.id] = weakref.ref(lm.model)
        return lm

    def has(self, record: SAERecord) -> bool:
        """Whether its model is in memory."""
        with self._lock:
            seen = self._seen.get(record.id)
        return seen is not None and seen() is not None

    def named(self, name: str) -> LoadedModel:
        """A model by its name: the one that is in memory if it is that, else loaded in its place."""
        return self._workspace.features.live.named(name)

    def tokenizer_of(self, record: SAERecord) -> Any:
        """The tokenizer of the model that an SAE was made for, without the model. Raises as `model_of`."""
        # Torch: seconds to import.
        from saewidgets.demo import resolve_model
        from saewidgets.lm import load_tokenizer

        subject = find_subject(self._workspace, record.id)
        if subject.model_given:
            raise missing(record.id, "Pass its tokenizer=….")
        if subject.model is None:
            raise ConfigError(
                f"It is not known which model {record.name} was made for.", where="tokenizer",
                hint="Pass the model's tokenizer=….",
            )
        return load_tokenizer(resolve_model(subject.model), revision=subject.revision)

    def source(self, record: SAERecord, device: str | None) -> SteeringSource:
        """An SAE with its place in the model, on any device if None.

        Raises:
            NotFoundError, FormatError: as `ws.saes.load`.
        """
        from saewidgets.steering import SteeringSource  # torch: seconds to import

        subject = find_subject(self._workspace, record.id)
        sae = self._workspace.features.live.sae(subject, device)
        out = record.metadata.get("hook_name_out") or sae.metadata.get("hook_name_out")
        return SteeringSource(sae, subject.hook_name, out, name=record.name)

    def shares_model(self, one: SAERecord, other: SAERecord) -> bool:
        """Whether features of both can steer one model."""
        return _model(find_subject(self._workspace, one.id)) == _model(find_subject(self._workspace, other.id))

    def forget(self) -> None:
        """Let go of everything, also what live readings keep."""
        self._workspace.features.live.forget()


def _model(subject: Subject) -> tuple[str | None, str | None]:
    """Its name, and the training that was given its user's own."""
    return subject.model, subject.origin.training_id if subject.model_given else None


_FORM = "Write (sae_id, index, strength), (sae_id, index, strength, mode), or a SteeringFeature with its sae."


@dataclass(frozen=True, slots=True)
class Named:
    """A feature before its SAE and its largest activation are looked up.

    Attributes:
        sae: an id, a beginning of one, or a name.
        a_max: where it was given.
    """

    sae: str
    index: int
    strength: float
    mode: str = "add_max"
    a_max: float | None = None
    label: str = ""

    @property
    def needs_maximum(self) -> bool:
        """Whether its strength is in units of its largest activation, which was not given."""
        return self.mode == "add_max" and self.a_max is None

    def feature(self, sae_id: str, largest: Mapping[tuple[str, int], float]) -> SteeringFeature:
        """With the id of its SAE, and its largest activation from `largest` by id and index."""
        a_max = largest[sae_id, self.index] if self.needs_maximum else self.a_max
        return SteeringFeature.from_data(
            {"sae": sae_id, "index": self.index, "strength": self.strength, "mode": self.mode, "a_max": a_max,
             "label": self.label}
        )  # fmt: skip


def named(features: Sequence[Any], sae: str | None) -> list[Named]:
    """Every feature with the name of its SAE.

    Args:
        features: each a `SteeringFeature`, its fields as a mapping, or a tuple ``(sae, index, strength)``,
            ``(sae, index, strength, mode)``; with `sae` also ``(index, strength)``, ``(index, strength, mode)``.
        sae: the SAE of features that name none.

    Raises:
        ConfigError: a feature is not one, or names no SAE.
    """
    if isinstance(features, SteeringFeature | Mapping | str) or not isinstance(features, Sequence):
        raise ConfigError(f"features is a {type(features).__name__}.", where="features", hint=f"Give a list. {_FORM}")
    return [_named(item, sae, f"features.{number}") for number, item in enumerate(features)]


def _named(item: Any, sae: str | None, where: str) -> Named:
    fields = _fields(item, where)
    own = fields.pop("sae", None) or sae
    if not isinstance(own, str):
        raise ConfigError("The feature does not say which SAE it belongs to.", where=f"{where}.sae", hint=_FORM)
    if isinstance(fields.get("index"), bool):  # pydantic takes it for 1
        raise ConfigError("index is a truth value.", where=f"{where}.index", hint=_FORM)
    # Checked as it will be used; the largest activation may be found later.
    given = fields.get("a_max") is not None
    stand_in = {} if given else {"a_max": 1.0}
    try:
        checked = SteeringFeature.from_data({**fields, "sae": own, **stand_in})
    except ConfigError as error:
        place = f"{where}.{error.where}" if error.where else where
        raise ConfigError(error.what, where=place, hint=error.hint) from error
    a_max = checked.a_max if given else None
    return Named(own, checked.index, checked.strength, checked.mode, a_max, checked.label)


def _fields(item: Any, where: str) -> dict[str, Any]:
    if isinstance(item, SteeringFeature):
        return item.model_dump()
    if isinstance(item, Mapping):
        return dict(item)
    parts = list(item) if isinstance(item, tuple | list) else []
    fields = {"sae": parts.pop(0)} if parts and isinstance(parts[0], str) else {}
    if len(parts) not in (2, 3):
        raise ConfigError(f"{type(item).__name__} of this form is not a feature.", where=where, hint=_FORM)
    return fields | dict(zip(("index", "strength", "mode"), parts, strict=False))


T = TypeVar("T")
SLICE = 0.03
"""Seconds of work between two batches of a job: one token where a token takes longer, a few where it is quick."""


@dataclass(frozen=True, slots=True)
class PromptToken:
    """A token of a prompt: its text, and whether it is BOS, which is left alone unless it is chosen."""

    id: int
    piece: str
    is_bos: bool


@checks_arguments
class Steering:
    """Steering in a workspace. Features name their SAE by its id, a beginning of it, or its name; a
    training stands for the SAE that was imported from it.

    Attributes:
        presets: settings that were saved.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._loader = Loader(workspace)
        self._maxima = Maxima(workspace)
        self._strengths = Strengths(self._maxima)
        self.presets = Presets(workspace)

    # ------------------------------------------------------------------------------------------------ generate

    def steer(
        self, model: Any, features: Sequence[Any], prompt: str, *, sae: str | None = None, tokenizer: Any = None,
        swept: int = 0, stop: Callable[[], bool] | None = None, on_token: Callable[[TokenEvent], None] | None = None,
        **settings: Any,
    ) -> SteeringResult:
        """See `Workspace.steer`."""
        if unknown := sorted(settings.keys() - SteeringConfig.model_fields.keys()):
            raise ConfigError(
                f"There is no setting {unknown[0]!r}.", where=unknown[0],
                hint=f"There is {', '.join(sorted(SteeringConfig.model_fields.keys() - {'features', 'prompt'}))}.",
            )
        if not isinstance(prompt, str):
            raise ConfigError(f"The prompt is a {type(prompt).__name__}.", where="prompt", hint="Give a text.")
        config = SteeringConfig(prompt=readable(prompt, "prompt"), **settings)
        found = named(features, sae)
        return self._run(
            found, config, model=model, tokenizer=tokenizer, steered=True, swept=swept, stop=stop, on_token=on_token,
            on_phase=None,
        )

    def run(
        self,
        config: SteeringConfig,
        *,
        model: Any = None,
        tokenizer: Any = None,
        steered: bool = True,
        swept: int = 0,
        stop: Callable[[], bool] | None = None,
        on_token: Callable[[TokenEvent], None] | None = None,
        on_phase: Callable[[str], None] | None = None,
    ) -> SteeringResult:
        """Baseline, steered text and sweep as `config` says; see `Workspace.steer`.

        Args:
            config: every feature names its SAE.
            model, tokenizer: as in `Workspace.steer`.
            steered: False writes the baseline and the sweep only.
            swept: which feature ``config.strengths`` are for.
            stop, on_token: see `saewidgets.steering.steer`. They are called from a background thread, between two
                batches of a job: they must be quick.
            on_phase: told what is being done: ``"loading"``, ``"measuring"``, ``"writing"``.
        """
        return self._run(
            named(config.features, None), config, model=model, tokenizer=tokenizer, steered=steered, swept=swept,
            stop=stop, on_token=on_token, on_phase=on_phase,
        )

    def _run(
        self, found: Sequence[Named], config: SteeringConfig, *, model: Any, tokenizer: Any, steered: bool, swept: int,
        stop: Callable[[], bool] | None, on_token: Callable[[TokenEvent], None] | None,
        on_phase: Callable[[str], None] | None,
    ) -> SteeringResult:
        from saewidgets.steering import steps  # torch: seconds to import

        records = self._records(found)
        _tell(on_phase, "loading")
        lm = self._model(records, model, tokenizer)
        sources = self._sources(records, str(lm.device))
        _tell(on_phase, "measuring")
        features = self._complete(found, records, sources, lambda: lm)
        settings = {name: getattr(config, name) for name in type(config).model_fields if name != "features"}
        _tell(on_phase, "writing")
        work = steps(
            lm, sources, features, settings.pop("prompt"), steered=steered, swept=swept, stop=stop, on_token=on_token,
            **settings,
        )
        while True:
            done = self._between(lm, partial(_advance, work))
            if done is not None:
                return done[0]

    def tokens(self, sae_id: str, prompt: str, *, prepend_bos: bool = True) -> list[PromptToken]:
        """The tokens that positions count, of the model of an SAE.

        Raises:
            ConfigError: the prompt is empty.
            StateError, NotFoundError: there is no such SAE, or its model cannot be loaded.
        """
        # Torch: seconds to import.
        from saewidgets.lm import TokenText, special_tokens
        from saewidgets.steering.steer import prompt_ids

        lm = self._loader.model_of(self.record(sae_id))
        ids = prompt_ids(lm, prompt, prepend_bos)
        bos = special_tokens(lm.tokenizer).bos
        pieces = TokenText(lm.tokenizer).pieces(ids)
        return [PromptToken(token, piece, token == bos) for token, piece in zip(ids, pieces, strict=True)]

    def probe(self, config: SteeringConfig) -> float | None:
        """Mean ‖Δ‖/‖h‖ over the tokens of the prompt that `config` steers: one forward.

        None where it steers none, or where the answer would need work first: a model that is not in memory, a largest
        activation that is not known.
        """
        # Torch: seconds to import.
        from saewidgets.lm import evaluating
        from saewidgets.steering import choose
        from saewidgets.steering.generating import Decoder
        from saewidgets.steering.steer import prompt_ids
        from saewidgets.steering.steered import Steering as Attached

        found = named(config.features, None)
        records = self._records(found)
        if not found or not config.prompt or config.positions == "generated":
            return None
        if not all(self._loader.has(record) for record in records.values()):
            return None
        for each in found:
            record = records[each.sae]
            if each.mode == "add_max" and each.a_max is None and not self._maxima.known(record, [each.index]):
                return None
        lm = self._loader.model_of(next(iter(records.values())))
        ids = prompt_ids(lm, config.prompt, config.prepend_bos)
        chosen = config.positions if isinstance(config.positions, tuple) else (0,)
        if chosen[-1] >= len(ids) or (lm.context is not None and len(ids) > lm.context):
            return None  # what is wrong is said when it is generated
        sources = self._sources(records, str(lm.device))
        features = self._complete(found, records, sources, lambda: lm)
        steering = Attached(
            lm, choose(features, sources), positions=config.positions, steer_bos=config.steer_bos,
            prompt_tokens=len(ids),
        )  # fmt: skip

        def forward() -> float | None:
            with evaluating(lm.model), steering.attached():
                Decoder(lm)(ids)
            return steering.change_ratio

        return 0.0 if steering.changes_nothing else self._between(lm, forward)

    def maximum(self, sae_id: str, index: int) -> Maximum:
        """The largest activation of a feature, from the newest extraction of its SAE, else estimated (seconds).

        Raises:
            ConfigError: the SAE has no such feature.
            NotFoundError, StateError: there is no such SAE, or its model cannot be loaded.
        """
        record = self.record(sae_id)
        check_index(record, index)
        measured = self._maxima.measured(record, [index])
        if index in measured:
            return measured[index]
        lm = self._loader.model_of(record)
        source = self._loader.source(record, str(lm.device))
        return self._maxima.find(record, [index], source, lambda: lm, self._between)[index]

    def suggest(self, sae_id: str, index: int) -> Suggestion:
        """A strength to begin with for mode ``add_max``: the change is a moderate part of the hidden state, so that
        text changes and stays text. The rule is in `docs/steering.md`.

        From the newest extraction of the SAE where there is one (which loads the SAE and not its model), else measured
        on a little text (seconds).

        Raises:
            ConfigError: the SAE has no such feature.
            NotFoundError, StateError, FormatError: there is no such SAE, or it cannot be loaded.
        """
        record = self.record(sae_id)
        maximum = self.maximum(record.id, index)
        return self._strengths.suggest(
            record, index, maximum, lambda: self._loader.source(record, None), lambda: self._loader.model_of(record),
            self._between,
        )

    def resolve(self, features: Sequence[Any], sae: str | None = None) -> list[tuple[SAERecord, Named]]:
        """Features as `Workspace.steer` takes them, each with its SAE; nothing is loaded.

        Raises:
            ConfigError, NotFoundError: a feature is not one, or its SAE is not there.
        """
        found = named(features, sae)
        records = self._records(found)
        return [(records[each.sae], each) for each in found]

    def record(self, wanted: str) -> SAERecord:
        """The SAE of an id, a beginning of one or a name; of a training the SAE that was imported from it.

        Raises:
            NotFoundError: there is none.
            StateError: it is a training that is not in the library.
        """
        if not wanted.startswith("train_"):
            return self._workspace.saes.find(wanted)
        run = self._workspace.trainings.get(wanted)
        sae_id = self._workspace.catalog.extractions.origin(run.id).sae_id
        if sae_id is None:
            raise StateError(
                f"The SAE of {run.record.name} is not in the library.", where=run.id,
                hint="Press Import to SAEs on its card, or call run.import_to_saes().",
            )
        return self._workspace.saes.get(sae_id)

    def is_loaded(self, sae_id: str) -> bool:
        """Whether the model of an SAE is in memory."""
        return self._loader.has(self.record(sae_id))

    def unload(self) -> None:
        """Let go of the language model and the SAEs that were loaded, also those of live readings."""
        self._loader.forget()

    # ------------------------------------------------------------------------------------------------ attach

    @contextmanager
    def attached(
        self, model: Any, features: Sequence[Any], *, sae: str | None = None, tokenizer: Any = None, **settings: Any
    ) -> Iterator[Attached]:
        """Steer `model` inside a ``with`` block; see `Workspace.steered`."""
        # Torch: seconds to import.
        from saewidgets.lm import LoadedModel, input_device, wrap_model
        from saewidgets.steering import steered

        found = named(features, sae)
        records = self._records(found)
        if model is None or isinstance(model, str | LoadedModel):
            model = self._model(records, model, tokenizer)
            device = model.device
        else:
            device = input_device(model)
        sources = self._sources(records, str(device))

        def read_with() -> LoadedModel:  # its text is only read where a largest activation has to be estimated
            if isinstance(model, LoadedModel):
                return model
            return wrap_model(model, tokenizer or self._loader.tokenizer_of(next(iter(records.values()))))

        complete = self._complete(found, records, sources, read_with)
        with steered(model, complete, sae=sources, tokenizer=tokenizer, **settings) as steering:
            yield steering

    # ------------------------------------------------------------------------------------------------ inside

    def _sources(self, records: Mapping[str, SAERecord], device: str) -> dict[str, SteeringSource]:
        return {record.id: self._loader.source(record, device) for record in records.values()}

    def _complete(
        self, found: Sequence[Named], records: Mapping[str, SAERecord], sources: Mapping[str, SteeringSource],
        model: Callable[[], LoadedModel],
    ) -> list[SteeringFeature]:
        """The features with the ids of their SAEs and their largest activations."""
        largest: dict[tuple[str, int], float] = {}
        for record in {each.id: each for each in records.values()}.values():
            asked = [each.index for each in found if each.needs_maximum and records[each.sae].id == record.id]
            known = self._maxima.find(record, asked, sources[record.id], model, self._between)
            largest |= {(record.id, index): needed(known[index], record.name, index) for index in asked}
        return [each.feature(records[each.sae].id, largest) for each in found]

    def _records(self, found: Sequence[Named]) -> dict[str, SAERecord]:
        """By what the features call them; every feature is there."""
        records = {name: self.record(name) for name in dict.fromkeys(each.sae for each in found)}
        for number, each in enumerate(found):
            check_index(records[each.sae], each.index, f"features.{number}.index")
        return records

    def _model(self, records: dict[str, SAERecord], model: Any, tokenizer: Any) -> LoadedModel:
        # Torch: seconds to import.
        from saewidgets.lm import LoadedModel, wrap_model

        if isinstance(model, LoadedModel):
            return model
        if isinstance(model, str):
            return self._loader.named(model)
        if model is not None:
            held = take(model, tokenizer)
            assert held is not None
            return wrap_model(held.model, held.tokenizer)
        if not records:
            raise ConfigError(
                "Without a feature the model is not known.", where="features",
                hint="Give a feature such as (sae_id, 7451, 2.0), or the model.",
            )
        saes = list(records.values())
        first = saes[0]
        if not all(self._loader.shares_model(first, each) for each in saes[1:]):
            names = ", ".join(f"{each.name} ({each.model or 'unknown'})" for each in saes)
            raise ConfigError(
                f"The SAEs were made for different models: {names}.", where="features",
                hint="Choose features of SAEs of one model.",
            )
        return self._loader.model_of(first)

    def _between(self, lm: LoadedModel, fn: Callable[[], T]) -> T:
        """Run `fn` on the model's device between the batches of the job that runs there."""
        lane = compute_lane(self._workspace.settings.host, canonical(str(lm.device)))
        return self._workspace.manager.run_between(lane, fn).result()


def _tell(on_phase: Callable[[str], None] | None, phase: str) -> None:
    if on_phase is not None:
        on_phase(phase)


def _advance(work: Any) -> tuple[SteeringResult] | None:
    """A slice of the work; the result once it is all done."""
    end = time.perf_counter() + SLICE
    while True:
        try:
            next(work)
        except StopIteration as stopped:
            return (stopped.value,)
        if time.perf_counter() >= end:
            return None


def check_index(record: SAERecord, index: int, where: str = "index") -> None:
    """Raise `ConfigError` unless the SAE has this feature."""
    if not 0 <= index < record.d_sae:
        raise ConfigError(
            f"There is no feature {index}: {record.name} has {record.d_sae:,}.", where=where,
            hint=f"Enter one from 0 to {record.d_sae - 1}.",
        )
