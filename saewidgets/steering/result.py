"""Defines `SteeringResult`: the text with and without steering, token by token, and how far they differ."""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from saewidgets.config.steering import ADDITIVE, ChatTurn, Side, SteeringConfig, SteeringFeature
from saewidgets.render import Html, tag

_CELL = "text-align:left;vertical-align:top;padding:6px 8px;white-space:pre-wrap;overflow-wrap:anywhere"
_SMALL = "opacity:.75;font-size:12px"
_MARK = "text-decoration:underline;text-decoration-thickness:2px"


def result_html(result: SteeringResult) -> Html:
    """The texts side by side, then the sweep and the notes."""
    parts = [tag("div", _summary(result), style=_SMALL)]
    parts += [tag("div", feature_text(feature), style=_SMALL) for feature in result.config.features]
    columns = [("Baseline", result.baseline)] + ([("Steered", result.steered)] if result.steered else [])
    heads = tag("tr", *(tag("th", tag("b", name), " ", tag("small", text.numbers), scope="col", style=_CELL)
                        for name, text in columns))  # fmt: skip
    cells = tag("tr", *(tag("td", *_text(result, text), style=_CELL) for _, text in columns))
    parts.append(tag("table", heads, cells, style="width:100%;table-layout:fixed"))
    if result.sweep:
        rows = [
            tag("tr", tag("th", f"{text.strength:g}", scope="row", style=_CELL), tag("td", text.text, style=_CELL),
                tag("td", text.numbers, style=_CELL))
            for text in result.sweep
        ]
        head = tag("tr", *(tag("th", name, scope="col", style=_CELL) for name in ("Strength", "Text", "")))
        parts.append(tag("table", head, *rows, style="width:100%"))
    parts += [tag("p", f"⚠ {note}") for note in result.notes]
    return tag("div", *parts)


def _summary(result: SteeringResult) -> str:
    config = result.config
    # The first token is called 1, as readers count.
    at = result.first_difference
    apart = "" if result.steered is None else ("no difference" if at is None else f"first difference at token {at + 1}")
    warm = f"temperature {config.temperature:g}, top-p {config.top_p:g}, seed {config.seed}"
    sampling = "likeliest token" if config.temperature == 0 else warm
    stopped = "stopped" if result.stopped else ""
    return ", ".join(filter(None, [result.model, sampling, apart, stopped]))


def _text(result: SteeringResult, text: Generation) -> list[Html]:
    other = result.steered if text is result.baseline else result.baseline
    side: Side = "baseline" if text is result.baseline else "steered"
    prompt = [tag("span", "".join(result.prompt_pieces), style="opacity:.65")]
    if result.config.chat:
        said = result.config.messages(side)
        prompt = [tag("div", tag("b", each["role"]), " ", each["content"], style="opacity:.65") for each in said]
    if other is None:
        return [*prompt, tag("span", text.text)]
    theirs = other.ids
    same = [at < len(theirs) and theirs[at] == token.token for at, token in enumerate(text.tokens)]
    return prompt + [
        tag("span", token.piece, style=None if equal else _MARK)
        for token, equal in zip(text.tokens, same, strict=True)
    ]


def feature_text(feature: SteeringFeature) -> str:
    """ "feature 7451, ships: add 2 × max" """
    words = {
        "add_max": f"add {feature.strength:g} × max", "add": f"add {feature.strength:g}",
        "clamp": f"clamp to {feature.strength:g}", "conditional_clamp": f"clamp to {feature.strength:g} where it fires",
        "scale": f"scale by {feature.strength:g}", "ablate": "ablate",
    }
    label = f", {feature.label}" if feature.label else ""
    return f"feature {feature.index}{label}: {words[feature.mode]}"


Finish = Literal["length", "end", "stopped"]

STRONG, BREAKS = 0.5, 1.0
"""‖Δ‖/‖h‖ from which a change is strong, and from which text usually breaks."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that could have come next, with its probability without and with steering, given the same text before it;
    at temperature 1, before top-p."""

    token: int
    piece: str
    baseline: float
    steered: float


@dataclass(frozen=True, slots=True)
class NewToken:
    """A generated token, with its probability without and with steering. `kl` is the divergence of the steered from the
    unsteered distribution at this place, in nats; `candidates` the five likeliest tokens of both."""

    token: int
    piece: str
    baseline: float
    steered: float
    kl: float
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Generation:
    """One generated text.

    Attributes:
        tokens: what was generated, the end-of-text token included where it came.
        finish: why it ended: as many tokens as asked, the model's end of text, or `stop`.
        perplexity: exp of the mean −log probability of the new tokens in the unsteered model; None without tokens.
        repetition: share of its runs of four tokens that were there before (Welleck et al. 2020, seq-rep-4).
        kl_first: KL divergence in nats at the first new token; None without tokens.
        strength: of the swept feature; None outside of a sweep.
        change_ratio: mean ‖Δ‖/‖h‖ over the tokens that were changed while generating; None where there was none.
        steered_tokens: how many were.
    """

    tokens: tuple[NewToken, ...]
    finish: Finish
    perplexity: float | None
    repetition: float
    kl_first: float | None = None
    strength: float | None = None
    change_ratio: float | None = None
    steered_tokens: int = 0

    @property
    def ids(self) -> list[int]:
        return [each.token for each in self.tokens]

    @property
    def pieces(self) -> list[str]:
        return [each.piece for each in self.tokens]

    @property
    def numbers(self) -> str:
        """How far it is from the baseline and from text, in one line."""
        parts = [] if self.perplexity is None else [f"perplexity {self.perplexity:,.1f}"]
        parts.append(f"repetition {100 * self.repetition:.0f} %")
        if self.kl_first is not None and self.strength is None:
            parts.append(f"KL at first token {self.kl_first:.2f}")
        if self.change_ratio is not None:
            parts.append(f"‖Δ‖/‖h‖ {self.change_ratio:.2f}")
        return ", ".join(parts)

    @property
    def text(self) -> str:
        """The generated text, without the prompt and the end-of-text token."""
        return "".join(self.pieces[:-1] if self.finish == "end" else self.pieces)


@dataclass(frozen=True, slots=True)
class SteeringResult:
    """Baseline and steered texts of one prompt.

    Attributes:
        config: everything that was set; for a prompt given as tokens its text is empty.
        model: name of the language model.
        prompt_ids, prompt_pieces: the prompt's tokens, BOS included; of a chat those of the baseline.
        baseline, steered: the two texts; `steered` is None in a sweep.
        sweep: one text per strength, in the order of ``config.strengths`` (fewer where it was stopped).
        swept: position in ``config.features`` of the swept feature.
        seconds: how long it took.
    """

    config: SteeringConfig
    model: str
    prompt_ids: tuple[int, ...]
    prompt_pieces: tuple[str, ...]
    baseline: Generation
    steered: Generation | None
    sweep: tuple[Generation, ...] = ()
    swept: int | None = None
    seconds: float = 0.0

    @property
    def stopped(self) -> bool:
        texts = [self.baseline, *self.sweep, *([self.steered] if self.steered else [])]
        missing = len(self.sweep) < len(self.config.strengths)
        return missing or any(each.finish == "stopped" for each in texts)

    @property
    def turns(self) -> tuple[ChatTurn, ...]:
        """The chat with its new answers: the `turns` with which a chat goes on."""
        steered = (self.steered or self.baseline).text
        return *self.config.turns, ChatTurn(user=self.config.prompt, baseline=self.baseline.text, steered=steered)

    @property
    def first_difference(self) -> int | None:
        """Number of the first new token that differs (0 is the first one); None where none does."""
        if self.steered is None:
            return None
        pairs = itertools.zip_longest(self.baseline.ids, self.steered.ids)
        return next((number for number, (one, other) in enumerate(pairs) if one != other), None)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know, in full sentences: a change so large that text usually breaks."""
        ratio = self.steered.change_ratio if self.steered else None
        if ratio is None or ratio <= BREAKS:
            return ()
        text = f"The change is large: ‖Δ‖ / ‖h‖ is {ratio:.2f}. Text usually breaks above {BREAKS:g}."
        active = [each for each in self.config.features if not each.changes_nothing]
        if len(active) == 1 and active[0].mode in ADDITIVE:
            most = math.floor(10 * BREAKS * abs(active[0].strength) / ratio) / 10
            if most > 0:
                text += f" For feature {active[0].index}, try strengths between −{most:g} and {most:g}."
        return (text,)

    def to_data(self) -> dict[str, Any]:
        data: dict[str, Any] = asdict(self) | {"config": self.config.to_data()}
        data |= {"first_difference": self.first_difference, "stopped": self.stopped, "notes": list(self.notes)}
        for entry, text in ((data["baseline"], self.baseline), (data["steered"], self.steered)):
            if text is not None:
                entry["text"] = text.text
        for entry, text in zip(data["sweep"], self.sweep, strict=True):
            entry["text"] = text.text
        return data

    def __str__(self) -> str:
        lines = [f"Baseline: {self.baseline.text}"]
        if self.steered is not None:
            lines.append(f"Steered:  {self.steered.text}")
        lines += [f"{each.strength:g}: {each.text}" for each in self.sweep]
        return "\n".join([*lines, *self.notes])

    def _repr_html_(self) -> Html:
        return result_html(self)


def repetition(tokens: list[int], n: int = 4) -> float:
    """Share of the runs of `n` tokens that occurred before; 0 for fewer than two runs."""
    runs = [tuple(tokens[at : at + n]) for at in range(len(tokens) - n + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0
