"""Defines ``saewidgets features`` (features of an extraction, and features read live), ``saewidgets export`` and
``saewidgets steer`` (a model writes with features turned up, down or off)."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saewidgets.cli.extract import Source, source_of
from saewidgets.cli.options import Option, settings
from saewidgets.cli.output import count, cut, facts, number, plural, size, table, to_data
from saewidgets.cli.session import CommandGroup, answer, command, listed, session
from saewidgets.config import SteeringConfig
from saewidgets.config.base import require
from saewidgets.config.packing import whole_numbers
from saewidgets.errors import ConfigError

if TYPE_CHECKING:
    from saewidgets.feature_records import ExampleRecord, FeatureRecord

features = CommandGroup("Look at features: lists, examples, and what fires on a text.")
Index = Annotated[int, typer.Argument(metavar="FEATURE", min=0, help="Number of the feature.")]
Extracted = Annotated[str | None, Option("--extraction", help="Id of an extraction, else the newest of the SAE.")]
Limit = Annotated[int, Option(help="How many at most.", min=1)]
COLUMNS = ("feature", "label", "density", "max", "score", "")
_LABEL = 60  # characters of one in a table
_AROUND = 12  # tokens of an example on either side of its peak


def wanted_of(sae: str, extraction: str | None = None) -> str:
    """The id by which `ws.features` finds the features that were named."""
    (found,) = source_of(sae).values()
    if extraction is None:
        return found
    record = session.workspace.extractions.get(extraction).record
    if found not in (record.sae_id, record.training_id):
        raise ConfigError(f"{extraction} is an extraction of another SAE.", where="--extraction")
    return extraction


def row_of(record: FeatureRecord) -> list[str]:
    """One line of a list."""
    label = record.label or ", ".join(f"‘{token}’" for token in record.top_tokens)
    density = "–" if record.density is None else f"{100 * record.density:.2g} %"
    star = "★" if record.starred else ""
    return [str(record.index), cut(label, _LABEL), density, number(record.max), number(record.score), star]


def _show(wanted: str, **asked: Any) -> None:
    key = "extraction_id" if wanted.startswith("ext_") else "sae_id"
    found = list(session.workspace.features.list(**{key: wanted, **asked}))
    listed(found, COLUMNS, row_of, (0, 2, 3, 4), "No features match.")


@features.verb("list")
def list_features(
    sae: Source,
    show: Annotated[str, Option(help="all, labelled, unlabelled, starred, dead, live or dense.")] = "all",
    sort: Annotated[str, Option(help="index, density, max, label or score.")] = "index",
    descending: Annotated[bool, Option("--descending", help="The largest first.")] = False,
    limit: Limit = 50,
    offset: Annotated[int, Option(help="Skip this many features first.", min=0)] = 0,
    extraction: Extracted = None,
) -> None:
    """List the features of an SAE (or of what a run has left)."""
    wanted = wanted_of(sae, extraction)
    _show(wanted, show=show, sort=sort, descending=descending, offset=offset, limit=limit)


@features.verb("search")
def search(
    sae: Source,
    words: Annotated[str, typer.Argument(metavar="WORDS", help="In the label, or in one of the top tokens.")],
    limit: Limit = 50,
    extraction: Extracted = None,
) -> None:
    """Find features by their labels and top tokens, the densest first."""
    wanted = wanted_of(sae, extraction)
    # Without an extraction it is not known how often features fire.
    is_read = wanted.startswith("ext_") or session.workspace.extractions.latest(wanted) is not None
    order = {"sort": "density", "descending": True} if is_read else {}
    _show(wanted, search=words, limit=limit, **order)


@features.verb("show")
def show(
    sae: Source,
    index: Index,
    examples: Annotated[int, Option(help="How many examples.", min=0)] = 5,
    extraction: Extracted = None,
) -> None:
    """Show one feature: its labels, its numbers, and the text it fires on most."""
    namespace = session.workspace.features
    record = namespace.feature(wanted_of(sae, extraction), index)
    is_read = record.extraction_id is not None
    found = list(namespace.examples(record.id, extraction_id=extraction, limit=examples)) if is_read else []
    pairs: list[tuple[str, object]] = [("id", record.id)]
    if is_read:
        pairs += [
            ("density", f"{100 * (record.density or 0):.3g} % of tokens ({count(record.fired)})"),
            ("activation", f"max {number(record.max)}, mean {number(record.mean)}"),
            ("top tokens", ", ".join(f"‘{token}’" for token in record.top_tokens)),
            ("extraction", record.extraction_id),
        ]
    lines = facts([*pairs, ("starred", "yes" if record.starred else ""), ("notes", record.notes)], width=12)
    for label in record.labels:
        said = label.error or label.text
        lines.append(f"{'label':<12}{said}" + (f"  ({label.by or label.source})" if label.source != "user" else ""))
    lines += ["", *(f"{each.value:>9.3f}  {marked(each)}" for each in found)] if found else []
    answer({**to_data(record), "examples": to_data(found)}, *lines)


def marked(example: ExampleRecord) -> str:
    """The text around a peak on one line, the peak marked «so»."""
    begin, end = max(0, example.peak - _AROUND), example.peak + _AROUND + 1
    before, after = "".join(example.tokens[begin : example.peak]), "".join(example.tokens[example.peak + 1 : end])
    return f"{before}«{example.tokens[example.peak]}»{after}".replace("\n", "↵").replace("\t", " ")


@features.verb("run")
def run(
    sae: Source,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to read.")],
    feature: Annotated[int | None, Option(help="This feature alone, on every token.", min=0)] = None,
    limit: Limit = 20,
    extraction: Extracted = None,
) -> None:
    """Which features fire on a text; with --feature, one feature token by token."""
    workspace = session.workspace
    wanted = wanted_of(sae, extraction)
    if feature is not None:
        one = workspace.features.on_feature(wanted, feature, text)
        values = [float(value) for value in one.activations]
        data = {"index": feature, "tokens": one.pieces, "activations": values, "note": one.note}
        rows = [(piece, number(value) if value else "") for piece, value in zip(one.pieces, values, strict=True)]
        answer(data, table(("token", "activation"), rows, right=(1,)))
        return
    reading = workspace.features.run_on(wanted, text)
    order = reading.ranked()[:limit]
    records = workspace.features.records(wanted, [int(reading.indices[place]) for place in order])
    shown = [
        {
            "index": record.index, "label": record.label, "density": record.density, "max": float(values.max()),
            "token": reading.pieces[int(values.argmax())], "activations": [float(v) for v in values],
        }
        for record, values in zip(records, reading.activations[order], strict=True)
    ]  # fmt: skip
    said = f"{count(len(reading.indices))} features fire on {count(len(reading.pieces))} tokens. {reading.note}".strip()
    lines = [
        [*row_of(record)[:3], number(one["max"]), f"‘{one['token']}’"]
        for record, one in zip(records, shown, strict=True)
    ]
    found = {"tokens": reading.pieces, "firing": len(reading.indices), "note": reading.note, "features": shown}
    answer(found, said, table(("feature", "label", "density", "max", "on"), lines, right=(0, 2, 3)))


@command()
def export(
    sae: Source,
    what: Annotated[
        str, typer.Argument(metavar="KIND", help="html, json, csv, interpretations, neuronpedia or vectors.")
    ],
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="A file, replaced if it is there; of neuronpedia and vectors a folder."),
    ],
    features: Annotated[str | None, Option(help="Numbers of features, with commas; else those that match.")] = None,
    show: Annotated[str, Option(help="all, labelled, unlabelled, starred, dead, live or dense.")] = "all",
    search: Annotated[str, Option(help="Words in labels or top tokens.")] = "",
    sort: Annotated[str, Option(help="index, density, max, label or score.")] = "index",
    descending: Annotated[bool, Option("--descending", help="The largest first.")] = False,
    limit: Annotated[int | None, Option(help="How many at most.", min=1)] = None,
    logits: Annotated[
        bool | None, Option("--logits/--no-logits", help="Effects on the next token; else if the model is here.")
    ] = None,
    title: Annotated[str, Option(help="Of the page.")] = "",
    model_id: Annotated[str | None, Option(help="Neuronpedia's id of the model.")] = None,
    sae_set: Annotated[str | None, Option(help="Neuronpedia's name of the set of SAEs.")] = None,
    creator: Annotated[str | None, Option(help="Author, for Neuronpedia.")] = None,
    extraction: Extracted = None,
) -> None:
    """Write what an extraction found: a page to share, a table, or files that other tools read."""
    names: dict[str, Any] = {"model_id": model_id, "sae_set": sae_set, "creator": creator}
    workspace = session.workspace
    wanted = wanted_of(sae, extraction)
    if features is not None:
        indices = whole_numbers(features) or []
        require((indices, "--features", f"{features!r} is not a list of numbers.", "For example --features 12,7451."))
    else:
        found = workspace.features.indices(wanted, search=search, show=show, sort=sort, descending=descending)
        indices = found[:limit].tolist()
    given = {name: value for name, value in names.items() if value is not None}
    written = workspace.features.export(
        wanted, what, path, indices=indices, logits=logits, title=title, **given,  # type: ignore[arg-type]
    )  # fmt: skip
    files = [written] if written.is_file() else [file for file in written.rglob("*") if file.is_file()]
    total = sum(file.stat().st_size for file in files)
    data = {"path": str(written), "features": len(indices), "size_bytes": total}
    answer(data, f"{plural(len(indices), 'feature')} written to {written} ({size(total)}).")


_FEATURE = re.compile(r"(\d+)=([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)?(?::([a-z_]+))?")
_SHOW = "Write INDEX=STRENGTH, such as 7451=2.0, or INDEX=STRENGTH:MODE, such as 7451=0:clamp."


def _feature(sae: str, text: str) -> tuple[str, int, float] | tuple[str, int, float, str]:
    """"7451=2", "7451=0:clamp", "7451=:ablate" """
    match = _FEATURE.fullmatch(text.strip().replace("−", "-"))
    if match is None or (match[2] is None and match[3] != "ablate"):
        raise ConfigError(f"{text!r} is not a feature.", where="--feature", hint=_SHOW)
    strength = float(match[2] or 0)
    if match[3] == "ablate" and strength:
        raise ConfigError(
            f"{text!r} has a strength, but an ablated feature takes none.", where="--feature",
            hint=f"Write {match[1]}=:ablate, or another mode.",
        )
    return (sae, int(match[1]), strength, match[3]) if match[3] else (sae, int(match[1]), strength)


def _strengths(text: str) -> tuple[float, ...]:
    found: tuple[float, ...] = ()
    with suppress(ValueError):
        found = tuple(float(part) for part in text.replace("−", "-").replace(",", " ").split())
    if not found:
        raise ConfigError(f"{text!r} is not a list of strengths.", where="--strengths", hint='Write "-4 -2 0 2 4".')
    return found


@command(settings=settings(SteeringConfig, "new_tokens", "temperature", "top_p", "seed"))
def steer(
    sae: Source,
    feature: Annotated[
        list[str], Option("--feature", "-f", metavar="INDEX=STRENGTH", help="A feature, repeatable; :MODE may follow.")
    ],
    prompt: Annotated[str, Option("--prompt", "-p", help="The text to continue.")],
    sweep: Annotated[bool, Option("--sweep", help="Also one text per strength of the first feature.")] = False,
    strengths: Annotated[str, Option(help="Of the sweep.")] = "-4 -2 0 2 4",
    positions: Annotated[
        str, Option(help='all, generated, prompt, or numbers of prompt tokens such as "3 4".')
    ] = "all",
    model: Annotated[str | None, Option(help="The language model, else the SAE's own.")] = None,
) -> None:
    """Write a text without and with features of an SAE, with the same random numbers."""
    if model is not None and not model.strip():
        raise ConfigError("The name of the model is empty.", where="--model", hint="Leave it out: the SAE names one.")
    (wanted,) = source_of(sae).values()
    features = [_feature(wanted, text) for text in feature]
    result = session.workspace.steer(
        model, features, prompt, positions=whole_numbers(positions) or positions,
        strengths=_strengths(strengths) if sweep else (), **session.settings,
    )
    assert result.steered is not None
    lines = []
    for each in result.config.features:
        where = "" if each.a_max is None else f" (largest activation {each.a_max:.4g})"
        lines.append(f"Feature {each.index}: {each.mode} {each.strength:g}{where}")
    texts = [("Baseline", result.baseline), ("Steered", result.steered)]
    texts += [(f"{text.strength:g}", text) for text in result.sweep]
    for place, (name, text) in enumerate(texts):
        if place == 2:
            lines.append(f"\nStrength sweep of feature {result.config.features[0].index}")
        lines.append(f"\n{name} ({text.numbers})\n{prompt}{text.text}")
    answer(result.to_data(), *lines, notes=result.notes)
