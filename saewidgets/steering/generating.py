"""Generates text token by token: `Writer` continues one prompt, and `Sampler` draws its tokens."""

import inspect
import math
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from saewidgets.config.steering import SteeringConfig
from saewidgets.lm import LoadedModel, TokenText, input_device
from saewidgets.steering.positions import SteeringError
from saewidgets.steering.result import Candidate, Finish, Generation, NewToken, repetition
from saewidgets.steering.steered import Steering

_KEEP = ("logits_to_keep", "num_logits_to_keep")


class Decoder:
    """One sequence in one model. Gradients and autocast are off; the caller sets the model's mode."""

    def __init__(self, lm: LoadedModel) -> None:
        self._model = lm.model
        self._device = input_device(lm.model)
        parameters = inspect.signature(lm.model.forward).parameters
        self._keep = next((name for name in _KEEP if name in parameters), None)
        self._cache: Any = None
        self._ids: list[int] = []

    def __call__(self, tokens: Sequence[int], keep: int = 1) -> Tensor:
        """Append `tokens`; the logits ``[keep, vocabulary]`` of what follows the last `keep` of them."""
        self._ids.extend(tokens)
        # A model that keeps no cache reads everything again.
        given = list(tokens) if self._cache is not None else self._ids
        kwargs: dict[str, Any] = {"input_ids": torch.tensor([given], device=self._device), "use_cache": True}
        if self._cache is not None:
            kwargs["past_key_values"] = self._cache
        if self._keep is not None:
            kwargs[self._keep] = keep
        with torch.no_grad(), torch.autocast(self._device.type, enabled=False):
            out = self._model(**kwargs)
        self._cache = getattr(out, "past_key_values", None)
        logits: Tensor = out.logits[0, -keep:]
        if not bool(torch.isfinite(logits).any(-1).all()) or bool(torch.isnan(logits).any()):
            raise SteeringError(
                "The model's output is not a number.", where="model",
                hint="Use smaller strengths, or load the model in float32 or bfloat16.",
            )
        return logits


LOGIT_BYTES = 1 << 27  # most memory for one model's log-probabilities at once
TOP = 5


# What the steered and the unsteered model think of one text: a distribution each, at every new token.
#
# Both read the whole text (teacher forcing), so that the two distributions of a place have the same text before it,
# also behind the point where baseline and steered text part.
def score(
    lm: LoadedModel, prompt: Sequence[int], new: Sequence[int], steering: Steering | None, text: TokenText
) -> tuple[NewToken, ...]:
    """The new tokens with their probabilities under both models; `steering` is fresh, with `prompt_tokens` set, or
    None."""
    plain, other = Decoder(lm), Decoder(lm) if steering is not None and not steering.changes_nothing else None
    pieces = text.pieces(new)
    most = max(1, LOGIT_BYTES // (4 * lm.vocab_size))
    found: list[NewToken] = []
    given: list[int] = list(prompt)  # read next; its last position predicts the next new token
    while len(found) < len(new):
        # After the prompt, which predicts one token, as many at once as memory allows.
        ahead = 1 if not found else len(given)
        baseline = plain(given, ahead).float().log_softmax(-1)
        if other is None:
            changed = baseline
        else:
            with steering.attached() if steering is not None else nullcontext():
                changed = other(given, ahead).float().log_softmax(-1)
        for row in range(ahead):
            at = len(found)
            found.append(_token(new[at], pieces[at], baseline[row], changed[row], text))
        given = list(new[len(found) - 1 : min(len(found) - 1 + most, len(new) - 1)])
    return tuple(found)


def _token(token: int, piece: str, baseline: Tensor, steered: Tensor, text: TokenText) -> NewToken:
    likely = dict.fromkeys([*baseline.topk(min(TOP, len(baseline))).indices.tolist(),
                            *steered.topk(min(TOP, len(steered))).indices.tolist()])  # fmt: skip
    candidates = [
        Candidate(each, text.text([each]), math.exp(float(baseline[each])), math.exp(float(steered[each])))
        for each in likely
    ]
    candidates.sort(key=lambda each: (-max(each.baseline, each.steered), each.token))
    p = steered.exp()
    kl = float((p * (steered - baseline)).nansum())  # 0 · (−∞) counts nothing
    return NewToken(
        token, piece, math.exp(float(baseline[token])), math.exp(float(steered[token])), max(0.0, kl), tuple(candidates)
    )


def perplexity(tokens: Sequence[NewToken]) -> float | None:
    """exp of the mean −log probability in the unsteered model; None without tokens."""
    if not tokens:
        return None
    # A probability too small for a float64 counts as its smallest number, so that the result stays one too.
    return math.exp(-sum(math.log(max(each.baseline, sys.float_info.min)) for each in tokens) / len(tokens))


# Choosing the next token so that two runs differ only where their distributions do.
#
# Both runs draw with the same random numbers: step t of every run with the same seed adds the same Gumbel noise to the
# log-probabilities and takes the largest (Gumbel 1954; the same as sampling from the softmax). A token then changes
# only if steering makes another one more likely by more than the noise lets it lead, while drawing from the two
# distributions with one uniform number would let a shift anywhere in the vocabulary change the outcome.
class Sampler:
    """Draws tokens, one after another, from a generator of its own: the likeliest at temperature 0, else from the
    smallest set of likeliest tokens that together have probability `top_p` (Holtzman et al. 2020), after the penalty on
    what was written and the temperature."""

    def __init__(self, temperature: float, top_p: float, seed: int, penalty: float = 0.0) -> None:
        self._temperature, self._top_p, self._penalty = temperature, top_p, penalty
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, logits: Tensor, written: Sequence[int] = ()) -> int:
        logits = logits.float()
        if self._penalty and written:
            logits = logits - self._penalty * torch.bincount(torch.tensor(written), minlength=len(logits)).to(logits)
        if self._temperature == 0:
            return int(logits.argmax())
        logits = logits / self._temperature
        noise = torch.empty(len(logits)).exponential_(generator=self._generator).log_().neg_().to(logits.device)
        return int((self._likeliest(logits) + noise).argmax())

    def _likeliest(self, logits: Tensor) -> Tensor:
        if self._top_p >= 1:
            return logits
        ordered, order = logits.sort(descending=True)
        # A token stays if those above it have less than top_p together; the first always does.
        before = ordered.softmax(0).cumsum(0) - ordered.softmax(0)
        dropped = before >= self._top_p
        dropped[0] = False
        return logits.masked_fill(torch.zeros_like(dropped).scatter(0, order, dropped), float("-inf"))


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """A token was generated. `text` is all that was generated so far; a character that is not whole yet ends it as
    U+FFFD. `strength` is that of the swept feature, in a sweep."""

    run: Literal["baseline", "steered", "sweep"]
    step: int
    token: int
    text: str
    strength: float | None = None


@dataclass(eq=False)
class Writer:
    """A text in the making. `steering` has `prompt_tokens` set; None for the model itself."""

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
        config = self.config
        self._sampler = Sampler(config.temperature, config.top_p, config.seed, config.frequency_penalty)
        ends: Any = getattr(getattr(self.lm.model, "generation_config", None), "eos_token_id", None)
        ends = self.lm.tokenizer.eos_token_id if ends is None else ends
        self._ends = {int(each) for each in (ends if isinstance(ends, list | tuple) else [ends]) if each is not None}
        self._text = TokenText(self.lm.tokenizer)

    def step(self) -> TokenEvent | None:
        if self.finish is not None:
            return None
        with self.steering.attached() if self.steering is not None else nullcontext():
            logits = self._decoder(self.ids[-1:] or self.prompt)
        token = self._sampler(logits[-1], self.ids)
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
