"""What a steering widget says: a result as messages, everything as plain text, errors as notes. No threads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

from saewidgets.config import SteeringConfig
from saewidgets.errors import SAEWidgetsError
from saewidgets.widgets.messages.steering import (
    NextToken,
    SteeringNextData,
    SteeringText,
    SteeringTexts,
    SweptText,
    TextName,
)
from saewidgets.widgets.messages.wire import Note

NOTHING = "Nothing was generated"
_ALIGNED = 1000  # longest text that is aligned: a long repetitive one would take minutes
# First words that are written small inside a sentence; anything else may be a name.
_SMALL = frozenset("A An Both Feature It No None Nothing One Several The There This Token Two Without You".split())


def texts_of(result: Any, number: int, swept: str) -> SteeringTexts:
    """A `SteeringResult` as the page gets it: `number` is that of its run, `swept` the key of the swept row."""
    changed = changes(result.baseline.ids, result.steered.ids) if result.steered is not None else ((), ())
    name = "" if result.swept is None else f"feature {result.config.features[result.swept].index}"
    return SteeringTexts.of(
        result,
        number=number,
        prompt_pieces=_prompt(result),
        baseline=_text(result.baseline, changed[0]),
        steered=_text(result.steered, changed[1]) if result.steered is not None else None,
        sweep=tuple(map(SweptText.of, result.sweep)),
        swept=swept,
        swept_name=name,
    )


def _prompt(result: Any) -> tuple[str, ...]:
    """The pieces of the prompt as it was written: without the BOS that was put before it."""
    pieces: tuple[str, ...] = tuple(result.prompt_pieces)
    return pieces[1:] if "".join(pieces[1:]) == result.config.prompt else pieces


def _text(text: Any, changed: Sequence[int]) -> SteeringText:
    return SteeringText.of(text, pieces=tuple(text.pieces), changed=tuple(changed))


def changes(one: Sequence[int], other: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which tokens of each of two texts the other does not have at the corresponding place.

    Texts are aligned, so that what comes again after a difference is not marked; very long ones are compared place by
    place.
    """
    if max(len(one), len(other)) > _ALIGNED:
        same = {at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a == b}
        return tuple(at for at in range(len(one)) if at not in same), tuple(
            at for at in range(len(other)) if at not in same
        )
    left: list[int] = []
    right: list[int] = []
    for kind, a, b, c, d in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        if kind != "equal":
            left += range(a, b)
            right += range(c, d)
    return tuple(left), tuple(right)


def next_of(result: Any, number: int, text: TextName, token: int) -> SteeringNextData | None:
    """What could have come at a token of the baseline or the steered text; None if there is no such token."""
    generation = result.steered if text == "steered" else result.baseline
    if generation is None or token >= len(generation.tokens):
        return None
    found = generation.tokens[token]
    rows = tuple(map(NextToken.of, found.candidates))
    return SteeringNextData(number=number, text=text, token=token, piece=found.piece, rows=rows)


def copied(config: SteeringConfig, names: dict[str, str], generated: Any, swept: Any) -> str:
    """Everything as plain text: the configuration as JSON, with the names of its SAEs by id, then the last results.

    Each result says what it was made with where that differs from the configuration as it is set now.
    """
    parts = ["# Steering", _settings(config, names)]
    if generated is not None:
        parts.append(f"\n## Texts of {generated.model}, seed {generated.config.seed}")
        if _made_with(generated.config) != _made_with(config):
            parts.append("made with\n" + _settings(generated.config, names))
        prompt = "".join(_prompt(generated))
        parts.append(f"\n### Baseline ({_numbers(generated.baseline)})\n{prompt}{generated.baseline.text}")
        if generated.steered is not None:
            parts.append(f"\n### Steered ({_numbers(generated.steered)})\n{prompt}{generated.steered.text}")
        parts += list(generated.notes)
    if swept is not None and swept.sweep:
        feature = swept.config.features[swept.swept]
        parts.append(f"\n## Strength sweep of feature {feature.index}, seed {swept.config.seed}")
        if _made_with(swept.config) != _made_with(config):
            parts.append("made with\n" + _settings(swept.config, names))
        parts += [f"\n### {each.strength:g} ({_numbers(each)})\n{each.text}" for each in swept.sweep]
    return "\n".join(parts) + "\n"


def _made_with(config: SteeringConfig) -> dict[str, Any]:
    data = config.to_data()
    data.pop("strengths")
    return data


def _settings(config: SteeringConfig, names: dict[str, str]) -> str:
    data = config.to_data()
    used = {feature.sae for feature in config.features}
    data = {"saes": {sae: name for sae, name in names.items() if sae in used}, **data}
    return json.dumps(data, ensure_ascii=False, indent=1)


def _numbers(text: Any) -> str:
    parts = [] if text.perplexity is None else [f"perplexity {text.perplexity:,.1f}"]
    parts.append(f"repetition {100 * text.repetition:.0f} %")
    if text.kl_first is not None and text.strength is None:
        parts.append(f"KL at first token {text.kl_first:.2f}")
    if text.change_ratio is not None:
        parts.append(f"‖Δ‖/‖h‖ {text.change_ratio:.2f}")
    return ", ".join(parts)


def failed_note(error: BaseException, tokens: int) -> Note:
    """Why a run ended early; `tokens` is how many there were by then."""
    where: str | None = None
    what, hint = f"{type(error).__name__}: {error}", "The traceback is in the log of the kernel."
    if isinstance(error, SAEWidgetsError):
        what, where, hint = error.what, error.where, error.hint or ""
    lead = NOTHING if tokens == 0 else f"An error ended it after {tokens:,} token{'s' * (tokens != 1)}"
    first, blank, rest = what.partition(" ")
    if first in _SMALL:
        what = f"{first.lower()}{blank}{rest}"
    return Note(what=f"{lead}: {what}", where=None if where == NOTHING else where, hint=hint or None)
