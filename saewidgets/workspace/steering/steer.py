"""`ws.steering`, and what `ws.steer` does: looks up the SAEs, and shares the device with running jobs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from saewidgets.config import SteeringConfig, SteeringFeature
from saewidgets.config.arguments import readable
from saewidgets.config.base import Config
from saewidgets.config.steering import WantedFeature, feature_fields
from saewidgets.errors import ConfigError
from saewidgets.feature_records import check_index
from saewidgets.workspace.checked import checks_arguments
from saewidgets.workspace.steering.presets import Presets
from saewidgets.workspace.steering.strengths import LargestActivation, Strengths
from saewidgets.workspace.subjects import KnownSAE
from saewidgets.workspace.user_models import missing

if TYPE_CHECKING:
    from saewidgets.lm import LoadedModel
    from saewidgets.steering import Steering as Attached
    from saewidgets.steering import SteeringResult, SteeringSource, TokenEvent
    from saewidgets.workspace.workspace import Workspace

Found = Sequence[tuple[KnownSAE, WantedFeature]]
SLICE = 0.03
"""Seconds of work between two batches of a job: one token where a token takes longer, a few where it is quick."""


@dataclass(frozen=True, slots=True)
class PromptToken:
    """A token of a prompt: its text, and whether it is BOS, which is left alone unless it is chosen."""

    id: int
    piece: str
    is_bos: bool


class _Features(Config):
    features: tuple[WantedFeature, ...]


@checks_arguments
class Steering(Strengths):
    """Steering in a workspace. Features name their SAE by its id, a beginning of it, or its name; or a training, which
    stands for the SAE that was imported from it, else for the one that it has left.

    Attributes:
        presets: settings that were saved.
    """

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(workspace)
        self.presets = Presets(workspace)

    # ------------------------------------------------------------------------------------------------ generate

    def steer(
        self, model: Any, features: Sequence[Any], prompt: str, *, sae: str | None = None, tokenizer: Any = None,
        swept: int = 0, stop: Callable[[], bool] | None = None, on_token: Callable[[TokenEvent], None] | None = None,
        **settings: Any,
    ) -> SteeringResult:
        """See `Workspace.steer`."""
        config = SteeringConfig(prompt=readable(prompt, "prompt"), **settings)
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
        """Baseline, steered text and sweep as `config` says; see `Workspace.steer`.

        Args:
            config: every feature names its SAE.
            steered: False writes the baseline and the sweep only.
            stop, on_token: called from a background thread, between two batches of a job: they must be quick.
            on_phase: called with what is being done: ``"loading"``, ``"measuring"``, ``"writing"``.
        """
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

    def tokens(self, sae_id: str, prompt: str, *, prepend_bos: bool = True) -> list[PromptToken]:
        """The tokens that positions count, of the model of an SAE.

        Raises:
            ConfigError: the prompt is empty.
            StateError, NotFoundError: there is no such SAE, or its model cannot be loaded.
        """
        # Torch: seconds to import.
        from saewidgets.lm import special_tokens
        from saewidgets.steering.steer import prompt_ids

        model = self._live.open(self.subject(sae_id)).model
        ids = prompt_ids(model.lm, prompt, prepend_bos)
        bos, pieces = special_tokens(model.lm.tokenizer).bos, model.text.pieces(ids)
        return [PromptToken(token, piece, token == bos) for token, piece in zip(ids, pieces, strict=True)]

    def probe(self, config: SteeringConfig) -> float | None:
        """Mean ‖Δ‖/‖h‖ over the tokens of the prompt that `config` steers: one forward.

        None where it steers none, or where the model is not in memory.
        """
        # Torch: seconds to import.
        from saewidgets.lm import evaluating
        from saewidgets.steering import choose
        from saewidgets.steering.generating import Decoder
        from saewidgets.steering.steer import prompt_ids
        from saewidgets.steering.steered import Steering as Attached

        found = self.resolve(config.features)
        if not found or not config.prompt or config.positions == "generated":
            return None
        subjects = [subject for subject, _ in found]
        if not all(map(self._live.has_model, subjects)):
            return None
        lm = self._live.open(subjects[0]).model.lm
        ids = prompt_ids(lm, config.prompt, config.prepend_bos)
        chosen = config.positions if isinstance(config.positions, tuple) else (0,)
        if chosen[-1] >= len(ids) or (lm.context is not None and len(ids) > lm.context):
            return None  # errors come up when it is generated
        sources = self._sources(found, str(lm.device))
        features = self._complete(found, lambda: lm)
        steering = Attached(
            lm, choose(features, sources), positions=config.positions, steer_bos=config.steer_bos,
            prompt_tokens=len(ids),
        )  # fmt: skip

        def forward() -> float | None:
            with evaluating(lm.model), steering.attached():
                Decoder(lm)(ids)
            return steering.change_ratio

        return 0.0 if steering.changes_nothing else self._between(lm, forward)

    def resolve(self, features: Sequence[Any], sae: str | None = None) -> list[tuple[KnownSAE, WantedFeature]]:
        """Features as `Workspace.steer` takes them, each with its SAE; nothing is loaded.

        Raises:
            ConfigError, NotFoundError: a feature is not one, or its SAE is not there.
        """
        rows = [fields | {"sae": fields["sae"] or sae} for fields in feature_fields(features)]
        for number, fields in enumerate(rows):
            if not isinstance(fields["sae"], str):
                raise ConfigError(
                    "The feature does not say which SAE it belongs to.", where=f"features.{number}.sae",
                    hint="Write (sae_id, index, strength) or (sae_id, index, strength, mode), or name it as sae=….",
                )
        wanted = _Features.from_data({"features": rows}).features
        subjects = {name: self.subject(name) for name in dict.fromkeys(each.sae or "" for each in wanted)}
        found = [(subjects[each.sae or ""], each) for each in wanted]
        for number, (subject, each) in enumerate(found):
            check_index(each.index, subject.d_sae, f"features.{number}.index", subject.name)
        return found

    def is_loaded(self, sae_id: str) -> bool:
        return self._live.has_model(self.subject(sae_id))

    def unload(self) -> None:
        """Let go of the language model and the SAEs that were loaded, also those of live readings."""
        self._live.forget()

    # ------------------------------------------------------------------------------------------------ attach

    @contextmanager
    def attached(
        self, model: Any, features: Sequence[Any], *, sae: str | None = None, tokenizer: Any = None, **settings: Any
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


def _subjects(found: Found) -> list[KnownSAE]:
    """The SAEs of the features, each once."""
    return list({subject.id: subject for subject, _ in found}.values())
