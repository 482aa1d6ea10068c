"""A steering result as static HTML: two columns, differences underlined, nothing interpreted as markup."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saewidgets.config.steering import SteeringFeature
from saewidgets.render import Html, tag

if TYPE_CHECKING:
    from saewidgets.steering.result import Generation, SteeringResult

_CELL = "text-align:left;vertical-align:top;padding:6px 8px;white-space:pre-wrap;overflow-wrap:anywhere"
_SMALL = "opacity:.75;font-size:12px"
_MARK = "text-decoration:underline;text-decoration-thickness:2px"


def result_html(result: SteeringResult) -> Html:
    """The texts side by side, then the sweep and the notes."""
    parts = [tag("div", _summary(result), style=_SMALL)]
    parts += [tag("div", feature_text(feature), style=_SMALL) for feature in result.config.features]
    columns = [("Baseline", result.baseline)] + ([("Steered", result.steered)] if result.steered else [])
    heads = tag("tr", *(tag("th", tag("b", name), " ", tag("small", _numbers(text)), scope="col", style=_CELL)
                        for name, text in columns))  # fmt: skip
    cells = tag("tr", *(tag("td", *_text(result, text), style=_CELL) for _, text in columns))
    parts.append(tag("table", heads, cells, style="width:100%;table-layout:fixed"))
    if result.sweep:
        rows = [
            tag("tr", tag("th", f"{text.strength:g}", scope="row", style=_CELL), tag("td", text.text, style=_CELL),
                tag("td", _numbers(text), style=_CELL))
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


def _numbers(text: Generation) -> str:
    ratio = "" if text.change_ratio is None else f"‖Δ‖/‖h‖ {text.change_ratio:.2f}"
    if text.perplexity is None:
        return ratio
    return ", ".join(
        filter(None, [ratio, f"perplexity {text.perplexity:,.1f}", f"repetition {100 * text.repetition:.0f} %"])
    )


def _text(result: SteeringResult, text: Generation) -> list[Html]:
    other = result.steered if text is result.baseline else result.baseline
    prompt = tag("span", "".join(result.prompt_pieces), style="opacity:.65")
    if other is None:
        return [prompt, tag("span", text.text)]
    theirs = other.ids
    same = [at < len(theirs) and theirs[at] == token.token for at, token in enumerate(text.tokens)]
    return [prompt] + [
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
