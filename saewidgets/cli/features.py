"""``saewidgets features …``: what an extraction found, and features read live."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from saewidgets.cli.extract import Source, source_of
from saewidgets.cli.options import Json
from saewidgets.cli.output import count, number, table, to_data, write, write_json
from saewidgets.cli.session import command, open_workspace
from saewidgets.errors import ConfigError

if TYPE_CHECKING:
    from saewidgets.feature_records import ExampleRecord, FeatureRecord
    from saewidgets.workspace import Workspace

Option = typer.Option
features = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
Index = Annotated[int, typer.Argument(metavar="FEATURE", min=0, help="Number of the feature.")]
Extracted = Annotated[str | None, Option("--extraction", help="Id of an extraction, else the newest of the SAE.")]
Limit = Annotated[int, Option(help="How many at most.", min=1)]
COLUMNS = ("feature", "label", "density", "max", "score", "")
_LABEL = 60  # characters of one in a table
_AROUND = 12  # tokens of an example on either side of its peak


@features.callback()
def group() -> None:
    """Look at features: lists, examples, and what fires on a text."""  # what `saewidgets features --help` begins with


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
    label = label if len(label) <= _LABEL else f"{label[: _LABEL - 1]}…"
    density = "–" if record.density is None else f"{100 * record.density:.2g} %"
    star = "★" if record.starred else ""
    return [str(record.index), label, density, number(record.max), number(record.score), star]


def _show(workspace: Workspace, wanted: str, json: bool, none: str, **asked: object) -> None:
    key = "extraction_id" if wanted.startswith("ext_") else "sae_id"
    found = list(workspace.features.list(**{key: wanted}, **asked))  # type: ignore[arg-type]
    if json:
        write_json(found)
    elif found:
        write(table(COLUMNS, map(row_of, found), right=(0, 2, 3, 4)))
    else:
        write(none)


@features.command("list")
@command
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
            workspace, wanted_of(workspace, sae, extraction), json, "No features match.", show=show, sort=sort,
            descending=descending, offset=offset, limit=limit,
        )  # fmt: skip


@features.command("search")
@command
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
        _show(
            workspace, wanted, json, "No features match.", search=words, limit=limit, **_densest(workspace, wanted)
        )


def _densest(workspace: Workspace, wanted: str) -> dict[str, object]:
    """The order of a search; without an extraction it is not known how often features fire."""
    known = wanted.startswith("ext_") or workspace.extractions.latest(wanted) is not None
    return {"sort": "density", "descending": True} if known else {}


@features.command("show")
@command
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
    if json:
        write_json({**to_data(record), "examples": to_data(found)})
        return
    for name, value in _facts(record):
        write(f"{name:<12}{value}")
    for label in record.labels:
        said = label.error or label.text
        write(f"{'label':<12}{said}" + (f"  ({label.by or label.source})" if label.source != "user" else ""))
    if found:
        write()
    for example in found:
        write(f"{example.value:>9.3f}  {marked(example)}")


def _facts(record: FeatureRecord) -> list[tuple[str, str]]:
    facts = [("id", record.id)]
    if record.extraction_id is not None:
        share = f"{100 * (record.density or 0):.3g} %"
        facts += [
            ("density", f"{share} of tokens ({count(record.fired)})"),
            ("activation", f"max {number(record.max)}, mean {number(record.mean)}"),
            ("top tokens", ", ".join(f"‘{token}’" for token in record.top_tokens)),
            ("extraction", record.extraction_id),
        ]
    if record.starred:
        facts.append(("starred", "yes"))
    if record.notes:
        facts.append(("notes", record.notes))
    return facts


def marked(example: ExampleRecord) -> str:
    """The text around a peak on one line, the peak marked «so»."""
    begin, end = max(0, example.peak - _AROUND), example.peak + _AROUND + 1
    before, after = "".join(example.tokens[begin : example.peak]), "".join(example.tokens[example.peak + 1 : end])
    return f"{before}«{example.tokens[example.peak]}»{after}".replace("\n", "↵").replace("\t", " ")


@features.command("run")
@command
def run(
    sae: Source,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to read.")],
    feature: Annotated[int | None, Option("--feature", help="This feature alone, on every token.", min=0)] = None,
    limit: Limit = 20,
    extraction: Extracted = None,
    json: Json = False,
) -> None:
    """Which features fire on a text; with --feature, one feature token by token."""
    with open_workspace() as workspace:
        wanted = wanted_of(workspace, sae, extraction)
        if feature is not None:
            one = workspace.features.on_feature(wanted, feature, text)
            if json:
                values = [float(value) for value in one.activations]
                write_json({"index": feature, "tokens": one.pieces, "activations": values, "note": one.note})
                return
            pairs = zip(one.pieces, one.activations.tolist(), strict=True)
            write(table(("token", "activation"), ([t, number(v) if v else ""] for t, v in pairs), right=(1,)))
            return
        reading = workspace.features.run_on(wanted, text)
        order = reading.ranked()[:limit]
        records = workspace.features.records(wanted, [int(reading.indices[place]) for place in order])
        data = [
            {
                "index": record.index, "label": record.label, "density": record.density, "max": float(values.max()),
                "token": reading.pieces[int(values.argmax())], "activations": [float(v) for v in values],
            }
            for record, values in zip(records, reading.activations[order], strict=True)
        ]  # fmt: skip
    if json:
        found = {"tokens": reading.pieces, "firing": len(reading.indices), "note": reading.note, "features": data}
        write_json(found)
        return
    write(f"{count(len(reading.indices))} features fire on {count(len(reading.pieces))} tokens. {reading.note}".strip())
    rows = [
        [*row_of(record)[:3], number(one["max"]), f"‘{one['token']}’"]
        for record, one in zip(records, data, strict=True)
    ]
    write(table(("feature", "label", "density", "max", "on"), rows, right=(0, 2, 3)))
