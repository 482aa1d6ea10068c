"""One text, generated token by token."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

from saewidgets.config.steering import SteeringConfig
from saewidgets.lm import LoadedModel, TokenText
from saewidgets.steering.decoder import Decoder
from saewidgets.steering.result import Finish, Generation, repetition
from saewidgets.steering.sampling import Sampler
from saewidgets.steering.scoring import perplexity, score
from saewidgets.steering.steered import Steering


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """A token was generated.

    Attributes:
        run: which of the texts.
        step: number of the token, from 0.
        token: its id.
        text: all that was generated so far (without the prompt); a character that is not whole yet ends it as U+FFFD.
        strength: of the swept feature, in a sweep.
    """

    run: Literal["baseline", "steered", "sweep"]
    step: int
    token: int
    text: str
    strength: float | None = None


@dataclass(eq=False)
class Writer:
    """A text in the making.

    Args:
        lm: the language model.
        prompt: token ids.
        config: how to sample.
        run, strength: for events.
        steering: with `prompt_tokens` set; None for the model itself.
    """

    lm: LoadedModel
    prompt: Sequence[int]
    config: SteeringConfig
    run: Literal["baseline", "steered", "sweep"]
    steering: Steering | None = None
    strength: float | None = None
    ids: list[int] = field(default_factory=list)
    finish: Finish | None = None

    def __post_init__(self) -> None:
        self._decoder = Decoder(self.lm)
        self._sampler = Sampler(self.config.temperature, self.config.top_p, self.config.seed)
        self._ends = end_tokens(self.lm)
        self._text = TokenText(self.lm.tokenizer)

    def step(self) -> TokenEvent | None:
        """Generate one token; None once the text has ended."""
        if self.finish is not None:
            return None
        with self.steering.attached() if self.steering is not None else nullcontext():
            logits = self._decoder(self.ids[-1:] or self.prompt)
        token = self._sampler(logits[-1])
        self.ids.append(token)
        if token in self._ends:
            self.finish = "end"
        elif len(self.ids) == self.config.new_tokens:
            self.finish = "length"
        shown = self.ids[:-1] if self.finish == "end" else self.ids
        return TokenEvent(self.run, len(self.ids) - 1, token, self._text.text(shown), self.strength)

    def done(self, against: Steering | None) -> Generation:
        """The text as far as it came, with the probabilities that the model itself and `against` (fresh) give it."""
        tokens = score(self.lm, self.prompt, self.ids, against, self._text)
        return Generation(
            tokens=tokens, finish=self.finish or "stopped", perplexity=perplexity(tokens),
            repetition=repetition(self.ids), kl_first=tokens[0].kl if tokens else None, strength=self.strength,
            change_ratio=self.steering.change_ratio if self.steering is not None else None,
            steered_tokens=self.steering.steered_tokens if self.steering is not None else 0,
        )


def end_tokens(lm: LoadedModel) -> frozenset[int]:
    """Ids that end a text: what the model's generation configuration says, else the tokenizer."""
    configured: Any = getattr(getattr(lm.model, "generation_config", None), "eos_token_id", None)
    if configured is None:
        configured = lm.tokenizer.eos_token_id
    if configured is None:
        return frozenset()
    return frozenset(int(each) for each in (configured if isinstance(configured, list | tuple) else [configured]))
