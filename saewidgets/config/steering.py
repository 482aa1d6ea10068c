"""Defines `SteeringConfig` and `SteeringFeature`: how a model is steered with features of an SAE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, model_validator

from saewidgets.config.arguments import shown
from saewidgets.config.base import Config, Seed, require
from saewidgets.errors import ConfigError

SteeringMode = Literal["add_max", "add", "clamp", "conditional_clamp", "scale", "ablate"]
MODES: tuple[SteeringMode, ...] = get_args(SteeringMode)
ADDITIVE: tuple[SteeringMode, ...] = ("add_max", "add")

Side = Literal["baseline", "steered"]
PositionKind = Literal["all", "generated", "prompt"]
Positions = PositionKind | tuple[Annotated[int, Field(ge=0)], ...]

MAX_FEATURES = 256
MAX_STRENGTH = 1e6
_MAX_PROMPT = 1_000_000  # characters


class SteeringFeature(Config):
    """One latent and what is done with it. With f its activation at a token and d its decoder direction there:

    | mode | what happens to the hidden state | unit of `strength` |
    |---|---|---|
    | ``add_max`` | + strength · a_max · d | share of the feature's largest activation |
    | ``add`` | + strength · d | activation |
    | ``clamp`` | + (strength − f) · d | activation |
    | ``conditional_clamp`` | the same, only where f > 0 | activation |
    | ``scale`` | + (strength − 1) · f · d | factor; 1 changes nothing |
    | ``ablate`` | − f · d | none |
    """

    index: int = Field(ge=0, le=2**24, title="Feature", description="Number of the latent.")
    strength: float = Field(
        ge=-MAX_STRENGTH, le=MAX_STRENGTH, title="Strength", description="How strongly; 0 adds nothing."
    )
    mode: SteeringMode = Field(default="add_max", title="Mode", description="What is done with the feature.")
    a_max: float | None = Field(
        default=None, gt=0, le=1e30, title="Largest activation", description='Of the feature; "Add × max" needs it.'
    )
    sae: str | None = Field(
        default=None, min_length=1, max_length=300, title="SAE", description="Its id; empty where there is only one."
    )
    label: str = Field(default="", max_length=10_000, title="Label", description="What the feature is about.")

    @model_validator(mode="before")
    @classmethod
    def _ablation_has_no_strength(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("mode") == "ablate":
            return {**data, "strength": 0.0}
        return data

    @model_validator(mode="after")
    def _has_its_maximum(self) -> Self:
        require((
            self.mode != "add_max" or self.a_max is not None, "a_max",
            f"Feature {self.index} is to be added in units of its largest activation, which is not known.",
            'Give a_max (estimate_max finds it), or use mode "add".',
        ))  # fmt: skip
        return self

    @property
    def changes_nothing(self) -> bool:
        """Whether the hidden state stays what it is, whatever it is."""
        return (self.mode in ADDITIVE and self.strength == 0) or (self.mode == "scale" and self.strength == 1)

    @property
    def alpha(self) -> float | None:
        """What is added along the decoder direction, in activation units; None where that depends on the token."""
        if self.mode == "add_max":
            return self.strength * (self.a_max or 0.0)
        return self.strength if self.mode == "add" else None


class WantedFeature(SteeringFeature):
    """A feature whose largest activation may still have to be found."""

    @model_validator(mode="after")
    def _has_its_maximum(self) -> WantedFeature:
        return self

    @property
    def needs_maximum(self) -> bool:
        """Whether its strength is in units of its largest activation, which was not given."""
        return self.mode == "add_max" and self.a_max is None


_FORMS = "Write SteeringFeature(…), (index, strength), (index, strength, mode), or the same with an SAE first."


def feature_fields(features: Any) -> list[dict[str, Any]]:
    """The fields of every feature, however it was written; `sae` is what was named or given, None for nothing.

    Args:
        features: each a `SteeringFeature`, its fields as a mapping, or a tuple ``(index, strength)``,
            ``(index, strength, mode)``, ``(sae, index, strength)`` or ``(sae, index, strength, mode)``. A
            `FeatureRecord` stands for ``sae, index``.

    Raises:
        ConfigError: not a list, or one of them has another form.
    """
    if isinstance(features, SteeringFeature | Mapping | str) or not isinstance(features, Sequence):
        raise ConfigError(
            f"Expected a list of features, got {type(features).__name__}.", where="features",
            hint='Give a list, such as [SteeringFeature(index=7451, strength=2, a_max=41.7)] or [(7451, 80.0, "add")].',
        )
    return [_fields(item, f"features.{number}") for number, item in enumerate(features)]


def _fields(item: Any, where: str) -> dict[str, Any]:
    if isinstance(item, SteeringFeature | Mapping):
        found = {"sae": None} | (item.model_dump() if isinstance(item, SteeringFeature) else dict(item))
    else:
        parts = list(item) if isinstance(item, tuple | list) else []
        own = parts.pop(0) if parts and not hasattr(parts[0], "__index__") else None
        if own is not None and isinstance(own_index := getattr(own, "index", None), int):  # the record of a feature
            own, parts = own.sae_id or own.training_id, [own_index, *parts]
        if len(parts) not in (2, 3):
            raise ConfigError(f"Not a feature: {shown(item)}.", where=where, hint=_FORMS)
        found = {"sae": own} | dict(zip(("index", "strength", "mode"), parts, strict=False))
    if isinstance(found.get("index"), bool):  # pydantic takes it for 1
        raise ConfigError("Expected a number, got True or False.", where=f"{where}.index", hint=_FORMS)
    return found


def as_positions(value: Any) -> Positions:
    """One of the words, or ascending numbers of prompt tokens. Raises `ConfigError`, also for an empty list."""
    if isinstance(value, str) and value in get_args(PositionKind):
        return value  # type: ignore[return-value]  # just looked up
    hint = f"Use {', '.join(map(repr, get_args(PositionKind)))}, or a list of numbers of prompt tokens such as [3, 4]."
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise ConfigError(f"Not a choice of positions: {shown(value)}.", where="positions", hint=hint)
    found = list(value)
    if not found:
        raise ConfigError("No position is chosen.", where="positions", hint=hint)
    for each in found:
        if isinstance(each, bool) or not hasattr(each, "__index__") or each.__index__() < 0:
            raise ConfigError(f"Not a position: {shown(each)}.", where="positions", hint=hint)
    return tuple(sorted({each.__index__() for each in found}))


class ChatTurn(Config):
    """An earlier turn of a chat: the user's message, and the answers without and with steering."""

    user: str = Field(max_length=_MAX_PROMPT)
    baseline: str = Field(default="", max_length=_MAX_PROMPT)
    steered: str = Field(default="", max_length=_MAX_PROMPT)


def _chat_fields(messages: Any) -> dict[str, Any]:
    """The fields of `SteeringConfig` for a list of messages; both answers of a turn are the assistant's."""
    rows = list(messages) if isinstance(messages, Sequence) else []
    roles, texts = [[isinstance(each, Mapping) and each.get(key) for each in rows] for key in ("role", "content")]
    system = texts.pop(0) if roles[:1] == ["system"] else ""
    if len(texts) % 2 == 0 or roles[-len(texts) :] != (["user", "assistant"] * len(texts))[: len(texts)]:
        raise ConfigError(
            "The prompt is neither a text nor a list of messages that ends with the user's.", where="prompt",
            hint="Write {'role': …, 'content': …} for each: system or not, then user and assistant in turns.",
        )
    turns = [{"user": user, "baseline": text, "steered": text} for user, text in zip(texts[:-1:2], texts[1::2])]
    return {"chat": True, "system": system, "turns": turns, "prompt": texts[-1]}


class SteeringConfig(Config):
    """Everything that defines a steered generation besides the model and the SAEs' weights.

    `positions` says which tokens are steered: ``"all"``, ``"prompt"``, ``"generated"``, or a list of numbers of prompt
    tokens (0 is the first one, BOS included where the prompt has one, padding not counted). BOS is left alone unless
    `steer_bos` is set or its number is chosen.

    `prompt` may be a list of messages ``{"role": …, "content": …}``, which sets `chat`, `system` and `turns`.
    """

    features: tuple[SteeringFeature, ...] = Field(default=(), max_length=MAX_FEATURES, title="Features")
    positions: Annotated[Positions, BeforeValidator(as_positions)] = Field(
        default="all", title="Positions", description="Which tokens are steered."
    )
    steer_bos: bool = Field(
        default=False, title="Steer BOS", description="Also the beginning-of-sequence token, an attention sink."
    )
    prompt: str = Field(default="", max_length=_MAX_PROMPT, title="Prompt", description="The text to continue.")
    prepend_bos: bool = Field(
        default=True, title="Begin with BOS", description="Put BOS before the prompt, as SAEs are trained."
    )
    chat: bool = Field(
        default=False, title="Chat", description="The prompt is a user's message, in the model's chat template."
    )
    system: str = Field(
        default="", max_length=_MAX_PROMPT, title="System prompt", description="Stands before a chat; empty for none."
    )
    turns: tuple[ChatTurn, ...] = Field(default=(), title="Turns", description="Earlier turns of the chat.")
    multiplier: float = Field(
        default=1.0, ge=-100, le=100, title="Multiplier", description="Of all features' change; 0 changes nothing."
    )
    new_tokens: int = Field(default=60, ge=1, le=100_000, title="New tokens", description="At most so many.")
    temperature: float = Field(
        default=0.7, ge=0, le=100, title="Temperature", description="0 always takes the likeliest token."
    )
    top_p: float = Field(
        default=0.95, gt=0, le=1, title="Top-p", description="Sample from the likeliest tokens with this share."
    )
    frequency_penalty: float = Field(
        default=0.0, ge=-10, le=10, title="Frequency penalty",
        description="Taken off a token's logit for each time it was written.",
    )
    seed: Seed = Field(default=16, description="Fixes the random choices.")
    strengths: tuple[float, ...] = Field(
        default=(), max_length=64, title="Strengths", description="For a sweep over one feature."
    )

    @model_validator(mode="before")
    @classmethod
    def _messages_are_a_chat(cls, data: Any) -> Any:
        if not isinstance(data, dict) or isinstance(data.get("prompt", ""), str):
            return data
        return data | _chat_fields(data["prompt"])

    @model_validator(mode="after")
    def _only_chats_have_turns(self) -> Self:
        require((self.chat or not (self.system or self.turns), "chat",
                 "A system prompt and turns belong to a chat.", "Set chat=True."))  # fmt: skip
        return self

    def messages(self, side: Side) -> list[dict[str, str]]:
        """The chat up to the prompt, with the answers of this side."""
        texts = [("system", self.system)] if self.system.strip() else []
        for turn in self.turns:
            texts += [("user", turn.user), ("assistant", getattr(turn, side))]
        return [{"role": role, "content": text} for role, text in [*texts, ("user", self.prompt)]]
