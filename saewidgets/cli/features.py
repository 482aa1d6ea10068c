"""Defines ``saewidgets features``, what an extraction found and features read live, and ``saewidgets export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saewidgets.cli.extract import Source, source_of
from saewidgets.cli.options import Json, Option
from saewidgets.cli.output import answer, count, cut, facts, listed, number, plural, size, table, to_data
from saewidgets.cli.session import Group, command, open_workspace
from saewidgets.errors import ConfigError

if TYPE_CHECKING:
    from saewidgets.feature_records import ExampleRecord, FeatureRecord
    from saewidgets.workspace import Workspace

features = Group("Look at features: lists, examples, and what fires on a text.")
Index = Annotated[int, typer.Argument(metavar="FEATURE", min=0, help="Number of the feature.")]
Extracted = Annotated[str | None, Option("--extraction", help="Id of an extraction, else the newest of the SAE.")]
Limit = Annotated[int, Option(help="How many at most.", min=1)]
COLUMNS = ("feature", "label", "density", "max", "score", "")
_LABEL = 60  # characters of one in a table
_AROUND = 12  # tokens of an example on either side of its peak


def wanted_of(workspace: Workspace, sae: str, extraction: str | None = None) -> str:
    """The id by which `ws.features` finds the features that were named."""
    (found,) = source_of(workspace, sae).values()
    if extraction is None:
        return found
    record = workspace.extractions.get(extraction).record
    if found not in (record.sae_id, record.training_id):
        raise ConfigError(f"{extraction} is an extraction of another SAE.", where="--extraction")
    return extraction


def row_of(record: FeatureRecord) -> list[str]:
    """One line of a list."""
    label = record.label or ", ".join(f"‘{token}’" for token in record.top_tokens)
    density = "–" if record.density is None else f"{100 * record.density:.2g} %"
    star = "★" if record.starred else ""
    return [str(record.index), cut(label, _LABEL), density, number(record.max), number(record.score), star]


def _show(workspace: Workspace, wanted: str, json: bool, **asked: Any) -> None:
    key = "extraction_id" if wanted.startswith("ext_") else "sae_id"
    found = list(workspace.features.list(**{key: wanted, **asked}))
    listed(json, found, COLUMNS, row_of, (0, 2, 3, 4), "No features match.")


@features.verb("list")
def list_features(
    sae: Source,
    show: Annotated[str, Option(help="all, labelled, unlabelled, starred, dead, live or dense.")] = "all",
    sort: Annotated[str, Option(help="index, density, max, label or score.")] = "index",
    descending: Annotated[bool, Option("--descending", help="The largest first.")] = False,
    limit: Limit = 50,
    offset: Annotated[int, Option(help="Leave out so many first.", min=0)] = 0,
    extraction: Extracted = None,
    json: Json = False,
) -> None:
    """List the features of an SAE (or of what a run has left)."""
    with open_workspace() as workspace:
        _show(
            workspace, wanted_of(workspace, sae, extraction), json, show=show, sort=sort, descending=descending,
            offset=offset, limit=limit,
        )  # fmt: skip


@features.verb("search")
def search(
    sae: Source,
    words: Annotated[str, typer.Argument(metavar="WORDS", help="In the label, or in one of the top tokens.")],
    limit: Limit = 50,
    extraction: Extracted = None,
    json: Json = False,
) -> None:
    """Find features by their labels and top tokens, the densest first."""
    with open_workspace() as workspace:
        wanted = wanted_of(workspace, sae, extraction)
        # Without an extraction it is not known how often features fire.
        is_read = wanted.startswith("ext_") or workspace.extractions.latest(wanted) is not None
        order = {"sort": "density", "descending": True} if is_read else {}
        _show(workspace, wanted, json, search=words, limit=limit, **order)


@features.verb("show")
def show(
    sae: Source,
    index: Index,
    examples: Annotated[int, Option(help="How many examples.", min=0)] = 5,
    extraction: Extracted = None,
    json: Json = False,
) -> None:
    """Show one feature: its labels, its numbers, and the text it fires on most."""
    with open_workspace() as workspace:
        wanted = wanted_of(workspace, sae, extraction)
        record = workspace.features.feature(wanted, index)
        found = list(
            workspace.features.examples(record.id, extraction_id=extraction, limit=examples)
            if record.extraction_id is not None else ()
        )  # fmt: skip
    lines = _facts(record)
    for label in record.labels:
        said = label.error or label.text
        lines.append(f"{'label':<12}{said}" + (f"  ({label.by or label.source})" if label.source != "user" else ""))
    lines += ["", *(f"{each.value:>9.3f}  {marked(each)}" for each in found)] if found else []
    answer(json, {**to_data(record), "examples": to_data(found)}, *lines)


def _facts(record: FeatureRecord) -> list[str]:
    pairs: list[tuple[str, object]] = [("id", record.id)]
    if record.extraction_id is not None:
        pairs += [
            ("density", f"{100 * (record.density or 0):.3g} % of tokens ({count(record.fired)})"),
            ("activation", f"max {number(record.max)}, mean {number(record.mean)}"),
            ("top tokens", ", ".join(f"‘{token}’" for token in record.top_tokens)),
            ("extraction", record.extraction_id),
        ]
    return facts([*pairs, ("starred", "yes" if record.starred else ""), ("notes", record.notes)], width=12)


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
    json: Json = False,
) -> None:
    """Which features fire on a text; with --feature, one feature token by token."""
    with open_workspace() as workspace:
        wanted = wanted_of(workspace, sae, extraction)
        if feature is not None:
            one = workspace.features.on_feature(wanted, feature, text)
            values = [float(value) for value in one.activations]
            data = {"index": feature, "tokens": one.pieces, "activations": values, "note": one.note}
            rows = [(piece, number(value) if value else "") for piece, value in zip(one.pieces, values, strict=True)]
            answer(json, data, table(("token", "activation"), rows, right=(1,)))
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
    answer(json, found, said, table(("feature", "label", "density", "max", "on"), lines, right=(0, 2, 3)))


@command
def export(
    sae: Source,
    what: Annotated[str, typer.Argument(metavar="KIND", help="html, json, csv, neuronpedia or vectors.")],
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
    json: Json = False,
) -> None:
    """Write what an extraction found: a page to share, a table, or files that other tools read."""
    names: dict[str, Any] = {"model_id": model_id, "sae_set": sae_set, "creator": creator}
    with open_workspace() as workspace:
        wanted = wanted_of(workspace, sae, extraction)
        if features is not None:
            indices = _numbers(features)
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
    answer(json, data, f"{plural(len(indices), 'feature')} written to {written} ({size(total)}).")


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.replace(" ", "").split(",")]
    except ValueError:
        hint = "For example --features 12,7451."
        raise ConfigError(f"{text!r} are not numbers.", where="--features", hint=hint) from None
