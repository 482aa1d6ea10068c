"""Defines ``saewidgets steer``: a model writes with features turned up, down or off."""

from __future__ import annotations

import re
from typing import Annotated, Any

from saewidgets.cli.extract import Source, source_of
from saewidgets.cli.options import Json, Option
from saewidgets.cli.output import answer, note
from saewidgets.cli.session import command, open_workspace
from saewidgets.errors import ConfigError

_FEATURE = re.compile(r"(\d+)=([+-]?[\d.]+(?:[eE][+-]?\d+)?)?(?::([a-z_]+))?")
_SHOW = "Write INDEX=STRENGTH, such as 7451=2.0, or INDEX=STRENGTH:MODE, such as 7451=0:clamp."


def _feature(sae: str, text: str) -> tuple[str, int, float] | tuple[str, int, float, str]:
    """"7451=2", "7451=0:clamp", "7451=:ablate" """
    match = _FEATURE.fullmatch(text.strip().replace("−", "-"))
    if match is None or (match[2] is None and match[3] != "ablate"):
        raise ConfigError(f"{text!r} is not a feature.", where="--feature", hint=_SHOW)
    try:
        strength = float(match[2] or 0)
    except ValueError:
        raise ConfigError(f"{match[2]!r} is not a strength.", where="--feature", hint=_SHOW) from None
    if match[3] == "ablate" and strength:
        raise ConfigError(
            f"{text!r} has a strength, but what is ablated has none.", where="--feature",
            hint=f"Write {match[1]}=:ablate, or another mode.",
        )
    return (sae, int(match[1]), strength, match[3]) if match[3] else (sae, int(match[1]), strength)


def _strengths(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.replace("−", "-").replace(",", " ").split())
    except ValueError as error:
        raise ConfigError(
            f"{text!r} are not strengths ({error}).", where="--strengths", hint='Write "-4 -2 0 2 4".'
        ) from None
    if not found:
        raise ConfigError("There is no strength.", where="--strengths", hint='Write "-4 -2 0 2 4".')
    return found


def _positions(text: str) -> Any:
    parts = text.replace(",", " ").split()
    return [int(part) for part in parts] if parts and all(part.isdigit() for part in parts) else text


@command
def steer(
    sae: Source,
    feature: Annotated[
        list[str], Option("--feature", "-f", metavar="INDEX=STRENGTH", help="A feature, repeatable; :MODE may follow.")
    ],
    prompt: Annotated[str, Option("--prompt", "-p", help="The text to continue.")],
    sweep: Annotated[bool, Option("--sweep", help="Also one text per strength of the first feature.")] = False,
    strengths: Annotated[str, Option(help="Of the sweep.")] = "-4 -2 0 2 4",
    new_tokens: Annotated[int, Option(help="At most so many.")] = 60,
    temperature: Annotated[float, Option(help="0 always takes the likeliest token.")] = 0.7,
    top_p: Annotated[float, Option(help="Sample from the likeliest tokens with this share.")] = 0.95,
    seed: Annotated[int, Option(help="Fixes the random choices.")] = 16,
    positions: Annotated[
        str, Option(help='all, generated, prompt, or numbers of prompt tokens such as "3 4".')
    ] = "all",
    model: Annotated[str | None, Option(help="The language model, else the SAE's own.")] = None,
    json: Json = False,
) -> None:
    """Write a text without and with features of an SAE, with the same random numbers."""
    if model is not None and not model.strip():
        raise ConfigError("The name of the model is empty.", where="--model", hint="Leave it out: the SAE names one.")
    with open_workspace() as workspace:
        (wanted,) = source_of(workspace, sae).values()
        features = [_feature(wanted, text) for text in feature]
        result = workspace.steer(
            model, features, prompt, new_tokens=new_tokens, temperature=temperature, top_p=top_p, seed=seed,
            positions=_positions(positions), strengths=_strengths(strengths) if sweep else (),
        )
    assert result.steered is not None
    lines = []
    for each in result.config.features:
        where = "" if each.a_max is None else f" (largest activation {each.a_max:.4g})"
        lines.append(f"Feature {each.index}: {each.mode} {each.strength:g}{where}")
    texts = [("Baseline", result.baseline), ("Steered", result.steered)]
    texts += [(f"{text.strength:g}", text) for text in result.sweep]
    for number, (name, text) in enumerate(texts):
        if number == 2:
            lines.append(f"\nStrength sweep of feature {result.config.features[0].index}")
        lines.append(f"\n{name}{_numbers(text)}\n{prompt}{text.text}")
    answer(json, result.to_data(), *lines)
    for said in () if json else result.notes:
        note(said)


def _numbers(text: Any) -> str:
    parts = [] if text.perplexity is None else [f"perplexity {text.perplexity:,.1f}"]
    parts.append(f"repetition {100 * text.repetition:.0f} %")
    if text.change_ratio is not None:
        parts.append(f"|Δ|/|h| {text.change_ratio:.2f}")
    return f" ({', '.join(parts)})"
