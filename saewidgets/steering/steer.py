"""Defines `steer` and `sweep`, a prompt continued twice, without and with steering, and over a range of strengths; and
`loss_effect`, what a feature does to the model's loss on the token that follows one token.
"""

import copy
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from saewidgets.activations.packing import text_encoder
from saewidgets.config.arguments import readable
from saewidgets.config.steering import ChatTurn, Positions, Side, SteeringConfig, SteeringFeature
from saewidgets.errors import ConfigError
from saewidgets.evaluation.ce import CrossEntropy
from saewidgets.lm import LoadedModel, TokenText, evaluating, special_tokens
from saewidgets.steering.features import Chosen, Sources, SteeringSource, choose
from saewidgets.steering.generating import TokenEvent, Writer
from saewidgets.steering.result import Generation, SteeringResult
from saewidgets.steering.steered import Steering

Messages = Sequence[Mapping[str, str]]


def chat_problems(tokenizer: Any, name: str) -> tuple[str, str]:
    """Why the tokenizer of model `name` cannot write a chat, and why no system prompt; "" where it can."""
    if not getattr(tokenizer, "chat_template", None):
        return (f"The tokenizer of {name} has no chat template.",) * 2
    with suppress(Exception):  # whatever a template raises for a role that it does not know
        probe = [{"role": "system", "content": "A system prompt"}, {"role": "user", "content": "Hello"}]
        if "A system prompt" in copy.deepcopy(tokenizer).apply_chat_template(probe, tokenize=False):
            return "", ""
    return "", f"The chat template of {name} has no system role."


def _chat_ids(lm: LoadedModel, messages: Messages) -> list[int]:
    chat, system = chat_problems(lm.tokenizer, lm.name)
    if chat:
        raise ConfigError(chat, where="chat", hint="Choose a chat model, or switch Chat off.")
    if system and messages[0]["role"] == "system":
        raise ConfigError(system, where="system", hint="Write it into the first message instead.")
    rows = [{**each, "content": readable(each["content"], "prompt")} for each in messages]
    tokenizer = copy.deepcopy(lm.tokenizer)
    try:
        ids: list[int] = tokenizer.apply_chat_template(rows, add_generation_prompt=True, return_dict=False)
    except Exception as error:  # whatever a template raises, it is of the model's repository
        raise ConfigError(f"The chat template of {lm.name} refuses these messages: {error}", where="prompt") from error
    return ids


def prompt_ids(
    lm: LoadedModel, prompt: str | Sequence[int] | Messages, prepend_bos: bool, chat: bool = False
) -> list[int]:
    """Token ids of `prompt`; ids are taken as they are. A special token that is spelled out in a text is text, as in
    the corpora that SAEs are trained on; for messages, and with `chat`, the tokenizer's template decides."""
    ids: list[int]
    if chat and isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    if not isinstance(prompt, str) and len(prompt) and isinstance(prompt[-1], Mapping):
        ids = _chat_ids(lm, prompt) if prompt[-1]["content"].strip() else []  # type: ignore[arg-type]
    elif isinstance(prompt, str):
        readable(prompt, "prompt")
        # Of a copy: others may be using the tokenizer.
        (ids,) = text_encoder(copy.deepcopy(lm.tokenizer))([prompt])
        ids = [bos, *ids] if (bos := special_tokens(lm.tokenizer).bos) is not None and prepend_bos else ids
    else:
        ids = [int(each) for each in prompt]  # type: ignore[arg-type]
        if wrong := [each for each in ids if not 0 <= each < lm.vocab_size]:
            raise ConfigError(
                f"There is no token {wrong[0]}: the vocabulary has {lm.vocab_size:,}.", where="prompt",
                hint="Use the model's own tokenizer.",
            )
    if not ids:
        raise ConfigError("The prompt is empty.", where="prompt", hint="Write at least one word.")
    return ids


def config_ids(lm: LoadedModel, config: SteeringConfig, side: Side = "steered") -> list[int]:
    """Token ids of the prompt of `config`, in a chat with the earlier turns of this side."""
    return prompt_ids(lm, config.messages(side) if config.chat else config.prompt, config.prepend_bos)


def check_fits(n_prompt: int, n_new: int, context: int | None) -> None:
    """Raises `ConfigError` with the numbers where prompt and new tokens exceed the context."""
    if context is None or n_prompt + n_new <= context:
        return
    over, room = n_prompt + n_new - context, context - n_prompt
    raise ConfigError(
        f"the prompt is {_count(n_prompt, 'token')} and {n_new:,} new {'one is' if n_new == 1 else 'ones are'} asked "
        f"for, but the context is {context:,}.",
        where="Nothing was generated",
        hint=f"Shorten the prompt by {_count(over, 'token')}{f' or ask for {room:,}' if room > 0 else ''}.",
    )


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


Stop = Callable[[], bool]
OnToken = Callable[[TokenEvent], None]
Steps = Generator[None, None, SteeringResult]


def steer(
    lm: LoadedModel,
    sae: Sources | None,
    features: Sequence[Any],
    prompt: str | Sequence[int] | Messages,
    *,
    new_tokens: int = 60,
    temperature: float = 0.7,
    top_p: float = 0.95,
    seed: int = 16,
    positions: Positions | Sequence[int] = "all",
    steer_bos: bool = False,
    prepend_bos: bool = True,
    chat: bool = False,
    system: str = "",
    turns: Sequence[ChatTurn] = (),
    multiplier: float = 1.0,
    frequency_penalty: float = 0.0,
    strengths: Sequence[float] | None = None,
    swept: int = 0,
    stop: Stop | None = None,
    on_token: OnToken | None = None,
) -> SteeringResult:
    """Continue `prompt` without and with steering, token by token in turns, and compare.

    Both use the same random numbers (see `Sampler`). Only temperature and top-p shape the distribution: of the model's
    generation configuration nothing but the end-of-text tokens is used. Settings are those of `SteeringConfig`.

    Args:
        sae: the SAE of the features, or a mapping from the names that they use (see `choose`).
        prompt: a text, token ids that are taken as they are, or the messages ``{"role": …, "content": …}`` of a chat.
        turns: earlier turns of the chat, such as the ``turns`` of a result: each side goes on from its own answers.
        strengths: also run a sweep, one text per strength of the feature number `swept`.
        stop: called between tokens; True ends it, and the result has what is there.
        on_token: called with every token.

    Raises:
        ConfigError, NotFoundError, HookError: something does not fit; nothing was generated.
        SteeringError: the model could not be steered as asked."""
    return _finished(steps(
        lm, sae, features, prompt, swept=swept, stop=stop, on_token=on_token, new_tokens=new_tokens,
        temperature=temperature, top_p=top_p, seed=seed, positions=positions, steer_bos=steer_bos,
        prepend_bos=prepend_bos, chat=chat, system=system, turns=tuple(turns), multiplier=multiplier,
        frequency_penalty=frequency_penalty, strengths=tuple(strengths or ()),
    ))  # fmt: skip


def sweep(
    lm: LoadedModel,
    sae: Sources | None,
    features: Sequence[Any],
    prompt: str | Sequence[int] | Messages,
    strengths: Sequence[float],
    **settings: Any,
) -> SteeringResult:
    """The baseline, and one text per strength of the feature number `swept`; other settings as for `steer`."""
    return _finished(steps(lm, sae, features, prompt, steered=False, strengths=tuple(strengths), **settings))


def steps(
    lm: LoadedModel,
    sae: Sources | None,
    features: Sequence[Any],
    prompt: str | Sequence[int] | Messages,
    *,
    steered: bool = True,
    swept: int = 0,
    stop: Stop | None = None,
    on_token: OnToken | None = None,
    **settings: Any,
) -> Steps:
    """`steer` (without `steered`: `sweep`) in small pieces: each ``next`` generates one token, or compares one text.

    For callers that share a device: between two pieces nothing is attached to the model, and every piece may run in
    another thread. The value of the generator is the result. What does not fit is refused at the call."""
    if not steered and not settings.get("strengths"):
        raise ConfigError("There is no strength to try.", where="strengths", hint="Give some, such as −4 −2 0 2 4.")
    lm.check_causal("Steering")
    chosen = choose(features, sae)
    given = not isinstance(prompt, str) and len(prompt) > 0 and not isinstance(prompt[0], Mapping)
    text: Any = "" if given else prompt
    config = SteeringConfig(features=tuple(feature for _, feature in chosen), prompt=text, **settings)
    ids: dict[Side, list[int]] = {
        side: prompt_ids(lm, prompt, False) if given else config_ids(lm, config, side)
        for side in get_args(Side)
    }
    check_fits(max(map(len, ids.values())), config.new_tokens, lm.context)
    fewest = min(map(len, ids.values()))
    if isinstance(config.positions, tuple) and config.positions[-1] >= fewest:
        raise ConfigError(
            f"Token {config.positions[-1]} is to be steered, but the prompt has {fewest} tokens.", where="positions",
            hint=f"Choose from 0 to {fewest - 1}.",
        )
    session = _Session(lm, chosen, config, ids, stop, on_token)
    return session.run(steered, swept, [session.with_strength(swept, each) for each in config.strengths])


def _finished(work: Steps) -> SteeringResult:
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: SteeringResult = end.value
            return result


class _Session:
    """One call: the runs that belong together."""

    def __init__(
        self, lm: LoadedModel, chosen: list[Chosen], config: SteeringConfig, ids: dict[Side, list[int]],
        stop: Stop | None, on_token: OnToken | None,
    ) -> None:
        self._lm, self._chosen, self._config, self._ids = lm, chosen, config, ids
        self._stop, self._on_token = stop, on_token
        self._stopped = False

    def run(self, steered: bool, swept: int, variants: list[tuple[float, list[Chosen]]]) -> Steps:
        start = time.perf_counter()
        ids, prompt = self._ids["baseline"], self._ids["steered"]
        baseline = Writer(self._lm, ids, self._config, "baseline")
        main = Writer(self._lm, prompt, self._config, "steered", self._steering(prompt)) if steered else None
        yield from self._advance([baseline, main] if main is not None else [baseline])
        plain = self._done(baseline, self._steering(ids) if steered else None)
        yield
        changed = self._done(main, self._steering(prompt)) if main is not None else None
        yield
        found: list[Generation] = []
        for strength, chosen in variants:
            if self._stopped:
                break
            writer = Writer(self._lm, prompt, self._config, "sweep", self._steering(prompt, chosen), strength)
            yield from self._advance([writer])
            found.append(self._done(writer, self._steering(prompt, chosen)))
            yield
        return SteeringResult(
            config=self._config, model=self._lm.name, prompt_ids=tuple(ids),
            prompt_pieces=tuple(TokenText(self._lm.tokenizer).pieces(ids)), baseline=plain, steered=changed,
            sweep=tuple(found), swept=swept if variants else None, seconds=time.perf_counter() - start,
        )

    def _done(self, writer: Writer, against: Steering | None) -> Generation:
        with evaluating(self._lm.model):
            return writer.done(against)

    def _steering(self, prompt: Sequence[int], chosen: list[Chosen] | None = None) -> Steering:
        return Steering(
            self._lm, self._chosen if chosen is None else chosen, positions=self._config.positions,
            steer_bos=self._config.steer_bos, prompt_tokens=len(prompt), multiplier=self._config.multiplier,
        )

    def _advance(self, writers: Sequence[Writer]) -> Generator[None, None, None]:
        """A token each in turns, until all have ended or it is stopped."""
        while any(writer.finish is None for writer in writers):
            for writer in writers:
                if self._stop is not None and not self._stopped:
                    self._stopped = bool(self._stop())
                if self._stopped:
                    return
                with evaluating(self._lm.model):  # per token: in between the model belongs to others
                    event = writer.step()
                if event is not None and self._on_token is not None:
                    self._on_token(event)
                yield

    def with_strength(self, swept: int, strength: float) -> tuple[float, list[Chosen]]:
        if not 0 <= swept < len(self._chosen):
            raise ConfigError(
                f"There is no feature number {swept} to sweep over: there are {len(self._chosen)}.", where="swept",
                hint="Choose the place of a feature in the list, from 0.",
            )
        source, feature = self._chosen[swept]
        if feature.mode == "ablate":
            raise ConfigError(
                f"Feature {feature.index} is ablated, which has no strength.", where="swept",
                hint="Choose another mode to sweep over its strengths.",
            )
        changed: SteeringFeature = feature.replace(strength=strength)
        return strength, [*self._chosen[:swept], (source, changed), *self._chosen[swept + 1 :]]


# loss effect = CE(next | the model as it is) − CE(next | the feature ablated at this token), in nats
#
# with CE = −log p of the token that comes next. Ablated is h ← h − f · d at the one token whose effect it is: what the
# SAE does not explain of h stays, and every other token keeps its own h at the hook. Negative: the feature helps to
# predict what comes; positive: it hurts; 0 where it does not fire.
@dataclass(frozen=True, slots=True)
class LossEffect:
    """Nats that a feature at a token adds to the loss on the next one (negative helps), and that loss without a
    change."""

    effect: float
    loss: float


def loss_effect(
    lm: LoadedModel, source: SteeringSource, index: int, ids: Tensor, at: int, losses: CrossEntropy | None = None
) -> LossEffect:
    """The loss effect of a feature at token `at` of `ids` ``[n]``, BOS included where the model reads one: two forwards
    over the text up to it. `losses` are of `lm`, where several are computed."""
    if ids.dim() != 1 or not 0 <= at < len(ids) - 1:
        raise ConfigError(
            "No token follows this one, so there is no loss.", where="position", hint="Choose one before the last."
        )
    losses = losses or CrossEntropy(lm)
    part = ids[None, : at + 2]
    counted = torch.zeros_like(part, dtype=torch.bool)
    counted[0, at + 1] = True
    feature = SteeringFeature(index=index, strength=0.0, mode="ablate")
    with evaluating(lm.model), torch.no_grad():
        loss, _ = losses.sums(part, counted)
        steering = Steering(lm, choose([feature], source), positions=(at,), prompt_tokens=part.shape[1])
        with steering.attached():
            ablated, _ = losses.sums(part, counted)
        steering.check_used()
    return LossEffect(loss - ablated, loss)
