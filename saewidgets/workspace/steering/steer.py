"""`ws.steering`, and what `ws.steer` does: looks up the SAEs, and shares the device with running jobs.

A strength is in units of the feature's largest activation: what an extraction has measured, else an estimate on a
little text. The strength to begin with is one at which steering shows and text is still text: what `add_max` adds at
strength s is s · a_max · ‖d‖ long, with a_max the feature's largest activation and d its decoder direction in the units
of the hidden state h. Text changes visibly from about a quarter of ‖h‖ on and usually breaks at about all of it,
whatever the model. So the first strength is the one at which that share is `MODERATE`:

    s = MODERATE · ‖h‖ / (a_max · ‖d‖)

‖h‖ is the median over the tokens that an extraction has counted; without one it is measured on a little text.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from saewidgets.config import DemoCorpus, SteeringConfig, SteeringFeature, TextCorpus
from saewidgets.config.arguments import readable
from saewidgets.config.base import Config
from saewidgets.config.steering import WantedFeature, feature_fields
from saewidgets.errors import ConfigError, SAEWidgetsError, StateError
from saewidgets.feature_records import ExtractionRecord, check_index
from saewidgets.records import SAERecord
from saewidgets.workspace.checked import checks_arguments
from saewidgets.workspace.lookup import Ref, find_id
from saewidgets.workspace.steering.presets import Presets
from saewidgets.workspace.subjects import KnownSAE, files_of, find_subject
from saewidgets.workspace.user_models import canonical, missing

if TYPE_CHECKING:
    from saewidgets.lm import LoadedModel
    from saewidgets.steering import Steering as Attached
    from saewidgets.steering import SteeringResult, SteeringSource, TokenEvent
    from saewidgets.workspace.workspace import Workspace

T = TypeVar("T")
Found = Sequence[tuple[KnownSAE, WantedFeature]]
SLICE = 0.03
"""Seconds of work between two batches of a job: one token where a token takes longer, a few where it is quick."""
CONTEXTS, LENGTH, BATCH = 64, 128, 8
_DOCUMENT = 20_000  # characters of one document: text from many is better than much of one
MODERATE = 0.45  # a share of ‖h‖: just below what the gauge calls strong
LARGEST = 4.0  # weak features are not blown up beyond what is usual
UNKNOWN = 1.0  # the strength if ‖h‖ is unknown: the feature's largest activation


@dataclass(frozen=True, slots=True)
class LargestActivation:
    """The largest activation of a feature, in the SAE's units; 0 if it did not fire.

    `exact`: an extraction measured it; else it is a lower bound. `basis`: over which text, as the end of a sentence:
    ``"over 65,536 tokens (extraction)"``.
    """

    value: float
    exact: bool
    basis: str

    def needed(self, name: str, index: int) -> float:
        """Its value. Raises `StateError` if the feature never fired: then there is nothing to scale a strength by."""
        if self.value > 0:
            return self.value
        raise StateError(
            f"Feature {index} of {name} did not fire {self.basis}, so its largest activation is not known.",
            where="a_max", hint='Use mode "add", whose strength is an activation, or give a_max.',
        )


@dataclass(frozen=True, slots=True)
class StrengthSuggestion:
    """How strongly to begin with a feature."""

    strength: float  # in units of its largest activation (mode ``add_max``); 0 if it never fired
    ratio: float | None  # ‖Δ‖/‖h‖ at strength 1 on a typical token; None if it is not known
    maximum: LargestActivation


@dataclass(frozen=True, slots=True)
class PromptToken:
    """A token of a prompt: its text, and whether it is BOS, which is left alone unless it is chosen."""

    id: int
    piece: str
    is_bos: bool


class _Features(Config):
    features: tuple[WantedFeature, ...]


@checks_arguments
class Steering:
    """Steering in a workspace. Features name their SAE as `subject` finds it."""

    NAMED: ClassVar = dict.fromkeys(("sae_id", "wanted", "sae"), ("sae", "training"))

    def __init__(self, workspace: Workspace) -> None:
        self._workspace, self._live = workspace, workspace.features.live
        self.presets = Presets(workspace)
        self._estimated: dict[tuple[str, float], dict[int, LargestActivation]] = {}  # see `_key`
        self._norms: dict[tuple[str, float], float] = {}

    # ------------------------------------------------------------------------------------------------ find

    def subject(self, wanted: Ref) -> KnownSAE:
        """The SAE of an id, a beginning of one or a name; of a training the one that was imported from it, else the one
        that it has left. Raises `NotFoundError` if there is none."""
        return find_subject(self._workspace, self._workspace.catalog.features.origin(wanted).id)

    def record(self, wanted: Ref) -> SAERecord:
        """As `subject`, of the library. Raises `StateError` for a training whose SAE is not there."""
        subject = self.subject(wanted)
        if subject.of_training:
            raise StateError(
                f"The SAE of {subject.name} is not in the library.", where=subject.id,
                hint="Press Import to SAEs on its card, or call run.import_to_saes().",
            )
        return self._workspace.saes.get(subject.id)

    def maximum(self, sae_id: Ref, index: int) -> LargestActivation:
        """The largest activation of a feature, from the newest extraction of its SAE (see `subject`), else estimated
        (seconds). Raises `ConfigError` if the SAE has no such feature, `NotFoundError` or `StateError` if there is no
        such SAE, or its model cannot be loaded."""
        subject = self.subject(sae_id)
        check_index(index, subject.d_sae, owner=subject.name)
        return self._maxima(subject, [index], lambda: self._live.open(subject).model.lm)[index]

    def suggest(self, sae_id: Ref, index: int) -> StrengthSuggestion:
        """A strength to begin with for mode ``add_max``: the change is a moderate part of the hidden state, so that
        text changes and stays text. The rule is in `docs/steering.md`.

        From the newest extraction of the SAE where there is one (which loads the SAE and not its model), else measured
        on a little text (seconds). Arguments and errors are those of `maximum`.
        """
        subject = self.subject(sae_id)
        maximum = self.maximum(subject.id, index)
        if maximum.value <= 0:
            return StrengthSuggestion(0.0, None, maximum)
        source = self._source(subject)
        try:
            norm = self._norm(subject, source)
        except SAEWidgetsError:  # neither an extraction nor the model is here: the error comes up when it is generated
            norm = None
        ratio = _ratio_at_one(source, index, maximum.value, norm) if norm else None
        if ratio is None or not math.isfinite(ratio) or ratio <= 0:
            return StrengthSuggestion(UNKNOWN, ratio, maximum)
        wanted = min(LARGEST, MODERATE / ratio)
        return StrengthSuggestion(round(wanted, 1) if wanted >= 0.1 else float(f"{wanted:.1g}"), ratio, maximum)

    # ------------------------------------------------------------------------------------------------ generate

    def steer(
        self, model: Any, features: Sequence[Any], prompt: str | Sequence[Mapping[str, str]], *, sae: Ref | None = None,
        tokenizer: Any = None, swept: int = 0, stop: Callable[[], bool] | None = None,
        on_token: Callable[[TokenEvent], None] | None = None, **settings: Any,
    ) -> SteeringResult:
        """See `Workspace.steer`."""
        text: Any = readable(prompt, "prompt") if isinstance(prompt, str) else prompt
        config = SteeringConfig(prompt=text, **settings)
        return self._run(
            self.resolve(features, sae), config, model, tokenizer, swept=swept, stop=stop, on_token=on_token
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
        """Baseline, steered text and sweep (`steered` False leaves the text out) as `config` says, in which every
        feature names its SAE; see `Workspace.steer`. `on_phase` is called with ``"loading"``, ``"measuring"`` and
        ``"writing"``."""
        return self._run(
            self.resolve(config.features), config, model, tokenizer, on_phase, steered=steered, swept=swept, stop=stop,
            on_token=on_token,
        )

    def _run(
        self, found: Found, config: SteeringConfig, model: Any, tokenizer: Any,
        on_phase: Callable[[str], None] | None = None, **how: Any,
    ) -> SteeringResult:
        from saewidgets.steering import steps  # torch: seconds to import

        tell = on_phase or (lambda phase: None)
        tell("loading")
        lm = self._model(found, model, tokenizer)
        sources = self._sources(found, str(lm.device))
        tell("measuring")
        features = self._complete(found, lambda: lm)
        settings = {name: getattr(config, name) for name in type(config).model_fields if name != "features"}
        tell("writing")
        work = steps(lm, sources, features, settings.pop("prompt"), **how, **settings)

        def advance() -> SteeringResult | None:
            end = time.perf_counter() + SLICE
            try:
                while time.perf_counter() < end:
                    next(work)
            except StopIteration as stopped:
                result: SteeringResult = stopped.value
                return result
            return None

        while (result := self._between(lm, advance)) is None:
            pass
        return result

    def chat_problems(self, sae_id: Ref) -> tuple[str, str]:
        """Why the model of an SAE takes no chat, and why no system prompt, as sentences; "" if it does. Only the
        tokenizer is loaded. Raises as `maximum`."""
        from saewidgets.steering.steer import chat_problems  # torch: seconds to import

        subject = self.subject(sae_id)
        loaded = subject.model_given or self._live.has_model(subject)
        tokenizer = self._live.open(subject).model.lm.tokenizer if loaded else self._tokenizer_of(subject)
        return chat_problems(tokenizer, subject.model or subject.name)

    def tokens(
        self, sae_id: Ref, prompt: str | Sequence[Mapping[str, str]], *, prepend_bos: bool = True, chat: bool = False,
        **settings: Any,
    ) -> list[PromptToken]:
        """The tokens that positions count, of the model of an SAE; in a chat (`system` and `turns` as in
        `SteeringConfig`) those of the steered side. Raises as `maximum`, and `ConfigError` if the prompt is empty or
        the model has no chat template."""
        # Torch: seconds to import.
        from saewidgets.lm import special_tokens
        from saewidgets.steering.steer import config_ids

        text: Any = prompt
        config = SteeringConfig(prompt=text, prepend_bos=prepend_bos, chat=chat, **settings)
        model = self._live.open(self.subject(sae_id)).model
        ids = config_ids(model.lm, config)
        bos, pieces = special_tokens(model.lm.tokenizer).bos, model.text.pieces(ids)
        return [PromptToken(token, piece, token == bos) for token, piece in zip(ids, pieces, strict=True)]

    def probe(self, config: SteeringConfig) -> float | None:
        """Mean ‖Δ‖/‖h‖ over the tokens of the prompt that `config` steers: one forward. None where it steers none, or
        where the model is not in memory."""
        # Torch: seconds to import.
        from saewidgets.lm import evaluating
        from saewidgets.steering import choose
        from saewidgets.steering.generating import Decoder
        from saewidgets.steering.steer import config_ids
        from saewidgets.steering.steered import Steering as Attached

        found = self.resolve(config.features)
        if not found or not config.prompt or config.positions == "generated":
            return None
        subjects = [subject for subject, _ in found]
        if not all(map(self._live.has_model, subjects)):
            return None
        lm = self._live.open(subjects[0]).model.lm
        ids = config_ids(lm, config)
        chosen = config.positions if isinstance(config.positions, tuple) else (0,)
        if chosen[-1] >= len(ids) or (lm.context is not None and len(ids) > lm.context):
            return None  # errors come up when it is generated
        sources = self._sources(found, str(lm.device))
        features = self._complete(found, lambda: lm)
        steering = Attached(
            lm, choose(features, sources), positions=config.positions, steer_bos=config.steer_bos,
            prompt_tokens=len(ids), multiplier=config.multiplier,
        )  # fmt: skip

        def forward() -> float | None:
            with evaluating(lm.model), steering.attached():
                Decoder(lm)(ids)
            return steering.change_ratio

        return 0.0 if steering.changes_nothing else self._between(lm, forward)

    def resolve(self, features: Sequence[Any], sae: Ref | None = None) -> list[tuple[KnownSAE, WantedFeature]]:
        """Features as `Workspace.steer` takes them, each with its SAE; nothing is loaded. Raises `ConfigError` or
        `NotFoundError` where a feature is not one, or its SAE is not there."""
        rows = [fields | {"sae": fields["sae"] or sae} for fields in feature_fields(features)]
        for number, fields in enumerate(rows):
            if fields["sae"] is None:
                raise ConfigError(
                    "The feature does not say which SAE it belongs to.", where=f"features.{number}.sae",
                    hint="Write (sae_id, index, strength) or (sae_id, index, strength, mode), or name it as sae=….",
                )
            fields["sae"] = find_id(self._workspace, self.NAMED["sae"], fields["sae"], f"features.{number}.sae")
        wanted = _Features.from_data({"features": rows}).features
        subjects = {name: self.subject(name) for name in dict.fromkeys(each.sae or "" for each in wanted)}
        found = [(subjects[each.sae or ""], each) for each in wanted]
        for number, (subject, each) in enumerate(found):
            check_index(each.index, subject.d_sae, f"features.{number}.index", subject.name)
        return found

    def is_loaded(self, sae_id: Ref) -> bool:
        return self._live.has_model(self.subject(sae_id))

    def unload(self) -> None:
        """Let go of the language model and the SAEs that were loaded, also those of live readings."""
        self._live.forget()

    # ------------------------------------------------------------------------------------------------ attach

    @contextmanager
    def attached(
        self, model: Any, features: Sequence[Any], *, sae: Ref | None = None, tokenizer: Any = None, **settings: Any
    ) -> Iterator[Attached]:
        """Steer `model` inside a ``with`` block; see `Workspace.steered`."""
        # Torch: seconds to import.
        from saewidgets.lm import LoadedModel, input_device, wrap_model
        from saewidgets.steering import steered

        found = self.resolve(features, sae)
        if model is None or isinstance(model, str | LoadedModel):
            model = self._model(found, model, tokenizer)
            device = model.device
        else:
            device = input_device(model)
        sources = self._sources(found, str(device))

        def read_with() -> LoadedModel:  # its text is only read where a largest activation has to be estimated
            if isinstance(model, LoadedModel):
                return model
            return wrap_model(model, tokenizer or self._tokenizer_of(found[0][0]))

        complete = self._complete(found, read_with)
        with steered(model, complete, sae=sources, tokenizer=tokenizer, **settings) as steering:
            yield steering

    # ------------------------------------------------------------------------------------------------ inside

    def _tokenizer_of(self, subject: KnownSAE) -> Any:
        """Without the model."""
        # Torch: seconds to import.
        from saewidgets.lm import load_tokenizer

        if subject.model_given:
            raise missing(subject.id, "Pass its tokenizer=….")
        name = subject.own_model("Pass the model's tokenizer=….", where="tokenizer")
        return load_tokenizer(name, revision=subject.revision)

    def _sources(self, found: Found, device: str) -> dict[str, SteeringSource]:
        return {subject.id: self._source(subject, device) for subject in _subjects(found)}

    def _complete(self, found: Found, model: Callable[[], LoadedModel]) -> list[SteeringFeature]:
        """The features with the ids of their SAEs and their largest activations."""
        known: dict[str, Mapping[int, LargestActivation]] = {}
        for subject in _subjects(found):
            indices = [each.index for own, each in found if own.id == subject.id and each.needs_maximum]
            known[subject.id] = self._maxima(subject, indices, model)
        complete = []
        for subject, each in found:
            fields = each.model_dump() | {"sae": subject.id}
            if each.needs_maximum:
                fields["a_max"] = known[subject.id][each.index].needed(subject.name, each.index)
            complete.append(SteeringFeature.from_data(fields))
        return complete

    def _model(self, found: Found, model: Any, tokenizer: Any) -> LoadedModel:
        if model is not None:
            return self._live.model(None, model=model, tokenizer=tokenizer).lm
        if not found:
            raise ConfigError(
                "Without a feature the model is not known.", where="features",
                hint="Give a feature such as (sae_id, 7451, 2.0), or the model.",
            )
        subjects = _subjects(found)
        # Features of one model share its name, and the training that was given its user's own.
        if len({(one.model, one.model_given and one.origin.training_id) for one in subjects}) > 1:
            names = ", ".join(f"{each.name} ({each.model or 'unknown'})" for each in subjects)
            raise ConfigError(
                f"The SAEs were made for different models: {names}.", where="features",
                hint="Choose features of SAEs of one model.",
            )
        return self._live.open(subjects[0]).model.lm

    def _key(self, subject: KnownSAE) -> tuple[str, float]:
        """Differs where its files do."""
        return subject.id, files_of(self._workspace, subject).stat().st_mtime

    def _source(self, subject: KnownSAE, device: str | None = None) -> SteeringSource:
        """An SAE with its place in the model, on any device if None."""
        from saewidgets.steering import SteeringSource  # torch: seconds to import

        sae = self._live.sae(subject, device)
        out = subject.hook_name_out or sae.metadata.get("hook_name_out")
        return SteeringSource(sae, subject.hook_name, out, name=subject.name)

    def _between(self, lm: LoadedModel, fn: Callable[[], T]) -> T:
        lane = self._workspace.manager.lane(canonical(str(lm.device)))
        return self._workspace.manager.run_between(lane, fn).result()

    def _maxima(
        self, subject: KnownSAE, indices: Sequence[int], model: Callable[[], LoadedModel]
    ) -> Mapping[int, LargestActivation]:
        """From the newest extraction of the SAE; where there is none, or it is of other weights, estimated on 8,192
        tokens of the text that it was trained on, else the demo's: with `model`, which is only then asked for."""
        if (latest := self._latest(subject)) is not None:
            store = self._workspace.extractions.open(latest.id)
            basis = f"over {store.manifest.n_tokens:,} tokens (extraction)"
            return {index: LargestActivation(float(store.max[index]), True, basis) for index in indices}
        estimated = self._estimated.setdefault(self._key(subject), {})
        if left := [index for index in dict.fromkeys(indices) if index not in estimated]:
            from saewidgets.steering import estimate_max  # torch: seconds to import

            lm = model()
            source = self._source(subject, str(lm.device))
            contexts, label = self._contexts(subject, lm)
            largest = dict.fromkeys(left, 0.0)
            for part in contexts.split(BATCH):
                one = partial(estimate_max, source, lm, part, left, batch_size=BATCH)
                for index, value in self._between(lm, one).items():
                    largest[index] = max(largest[index], value)
            basis = f"over {contexts.numel():,} tokens of {label} (an estimate)"
            estimated |= {index: LargestActivation(value, False, basis) for index, value in largest.items()}
        return estimated

    def _latest(self, subject: KnownSAE) -> ExtractionRecord | None:
        latest = self._workspace.extractions.latest(subject.id)
        return latest if latest is not None and latest.has_data and not latest.other_weights else None

    def _norm(self, subject: KnownSAE, source: SteeringSource) -> float:
        """The typical length of what is steered; 0 where that is nothing."""
        if not source.sae.is_transcoder and (latest := self._latest(subject)) is not None:
            limit = self._workspace.extractions.open(latest.id).manifest.norm_limit
            ratio = latest.config.get("max_norm_ratio")
            if limit and ratio:
                return float(limit) / float(ratio)  # the limit is so many times the median
        from saewidgets.steering.change import typical_norm  # torch: seconds to import

        if (key := self._key(subject)) not in self._norms:
            lm = self._live.open(subject).model.lm
            contexts, _ = self._contexts(subject, lm)
            self._norms[key] = self._between(lm, lambda: typical_norm(source, lm, contexts[:8]))
        return self._norms[key]

    def _contexts(self, subject: KnownSAE, lm: LoadedModel) -> tuple[Any, str]:
        """Token ids ``[n, length]`` to measure on and what to call the text: that of its training, else the demo's."""
        import torch  # seconds to import, and so are these

        from saewidgets.activations import open_corpus
        from saewidgets.lm import special_tokens
        from saewidgets.steering.steer import prompt_ids

        data = subject.corpus
        corpus: DemoCorpus | TextCorpus = DemoCorpus()
        label = "the demo corpus"  # any English text gives a bound
        if isinstance(data, Mapping) and data.get("kind") == "text" and data.get("files"):
            corpus = TextCorpus.from_data(data)
            label = f"the corpus {corpus.label}"
        bos = special_tokens(lm.tokenizer).bos
        length = min(LENGTH, lm.context or LENGTH)
        rows: list[list[int]] = []
        head = [] if bos is None else [bos]
        for document in open_corpus(corpus).documents():
            if not (text := document.text[:_DOCUMENT]).strip():
                continue
            ids = prompt_ids(lm, text, prepend_bos=False)
            step = length - len(head)
            rows += [head + ids[at : at + step] for at in range(0, len(ids) - step + 1, step)][: CONTEXTS // 4]
            if len(rows) >= CONTEXTS:
                break
        if not rows:
            raise StateError(
                f"{label} has no text of {length} tokens, so largest activations cannot be estimated.",
                where=subject.id, hint='Give a_max, use mode "add", or extract the features of this SAE.',
            )
        return torch.tensor(rows[:CONTEXTS]), label


def _subjects(found: Found) -> list[KnownSAE]:
    """The SAEs of the features, each once."""
    return list({subject.id: subject for subject, _ in found}.values())


def _ratio_at_one(source: SteeringSource, index: int, a_max: float, norm: float) -> float:
    """‖Δ‖/‖h‖ at strength 1 on a token of this norm: also for SAEs whose directions are as long as the token is."""
    # Torch: seconds to import.
    import torch

    from saewidgets.steering.change import LatentChange

    sae: Any = source.sae
    change = LatentChange(sae, [SteeringFeature(index=index, strength=1.0, a_max=a_max)])
    signs = 1.0 - 2.0 * (torch.arange(sae.d_in, device=sae.W_dec.device) % 2)  # its mean is 0, as layer norms have it
    typical = signs * (norm / math.sqrt(sae.d_in))
    with torch.no_grad():
        return float(change(typical[None].to(sae.W_dec.dtype)).float().norm()) / norm
