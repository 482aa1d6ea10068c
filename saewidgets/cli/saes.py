"""``saewidgets saes …``: the library of SAEs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saewidgets.cli.options import Json, SubtractBDec, TokenStdin
from saewidgets.cli.output import count, moment, note, number, printable, size, table, to_data, write, write_json
from saewidgets.cli.session import command, open_workspace
from saewidgets.cli.tokens import ask_token
from saewidgets.errors import ConfigError

if TYPE_CHECKING:
    from saewidgets.records import SAERecord

saes = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
SAEId = Annotated[
    str,
    typer.Argument(metavar="SAE", help="Id of the SAE, a unique beginning of it (4 characters or more), or its name."),
]
COLUMNS = ("id", "name", "source", "model", "hook", "architecture", "d_sae", "d_in", "size", "added")
Only = typer.Option


@saes.callback()
def group() -> None:
    """Look after the library of SAEs."""  # what `saewidgets saes --help` begins with


def _row(record: SAERecord) -> list[str]:
    mark = {"ok": "", "missing": " (files missing)", "changed": " (files changed)"}[record.state]
    return [
        record.id, record.name + mark, record.source, record.model or "–", record.hook_name or "–", record.architecture,
        count(record.d_sae), count(record.d_in), size(record.size_bytes), moment(record.created_at),
    ]  # fmt: skip


@saes.command("list")
@command
def list_saes(
    source: Annotated[str | None, Only(help="trained, huggingface, gemma_scope or local.")] = None,
    model: Annotated[str | None, Only(help="Only SAEs of this model.")] = None,
    layer: Annotated[int | None, Only(help="Only SAEs of this layer.")] = None,
    architecture: Annotated[str | None, Only(help="Only SAEs of this architecture.")] = None,
    format: Annotated[str | None, Only(help="Only SAEs kept in this format.")] = None,
    tag: Annotated[str | None, Only(help="Only SAEs with this tag.")] = None,
    search: Annotated[str | None, Only(help="Words that are all in name, model, repository, tags, notes, …")] = None,
    sort: Annotated[str, Only(help="newest, oldest, name, model, layer, d_sae or size.")] = "newest",
    json: Json = False,
) -> None:
    """List the SAEs of the workspace."""
    asked = {
        "source": source, "model": model, "layer": layer, "architecture": architecture, "format": format, "tag": tag,
        "search": search,
    }  # fmt: skip
    with open_workspace() as workspace:
        records = list(workspace.saes.list(sort=sort, **asked))  # type: ignore[arg-type]
    if json:
        write_json(records)
    elif records:
        write(table(COLUMNS, map(_row, records), right=(6, 7, 8)))
    else:
        write("No SAEs match." if any(v is not None for v in asked.values()) else "No SAEs yet.")


@saes.command("show")
@command
def show(
    sae: SAEId,
    statistics: Annotated[bool, Only("--statistics", help="Also what the weights tell: norms, densities.")] = False,
    json: Json = False,
) -> None:
    """Show one SAE: what it is, where it came from, how to load it."""
    with open_workspace() as workspace:
        record = workspace.saes.find(sae)
        code = workspace.saes.load_code(record.id)
        numbers = workspace.saes.statistics(record.id) if statistics else dict(record.statistics)
    if json:
        write_json({**to_data(record), "statistics": to_data(numbers), "load": code})
        return
    for label, value in _facts(record):
        write(f"{label:<14}{value}")
    if statistics:
        write()
        for name in ("decoder_norms", "encoder_norms", "threshold", "density"):
            if found := numbers.get(name):
                write(f"{name:<14}{number(found['min'])} to {number(found['max'])}, mean {number(found['mean'])}")
    write("\n" + code["saewidgets"].strip())


def _facts(record: SAERecord) -> list[tuple[str, str]]:
    origin = record.metadata.get("origin", {})
    place = f"{record.repo_id}@{(record.revision or '')[:7]} {record.repo_path}" if record.repo_id else None
    facts = [
        ("id", record.id),
        ("name", record.name),
        ("source", record.source),
        ("model", f"{record.model or '–'}, {record.hook_name or '–'}"),
        ("architecture", f"{record.architecture}, {count(record.d_in)} → {count(record.d_sae)}"),
        ("format", f"{record.format}, {record.dtype or '–'}, {size(record.size_bytes)}"),
        ("added", moment(record.created_at)),
        ("folder", record.path),
    ]
    optional = (
        ("came as", origin.get("format") if origin.get("format") != record.format else None),
        ("came from", place or origin.get("where")),
        ("training", record.training_name or record.training_id),
        ("tags", ", ".join(record.tags)),
        ("notes", record.notes),
        ("files", record.state_note),
    )
    return facts + [(label, str(value)) for label, value in optional if value]


@saes.command("add")
@command
def add(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A folder of an SAE, a file of one, or a .zip of them.")],
    name: Annotated[str | None, Only(help="What to call it, else like its folder.")] = None,
    model: Annotated[str | None, Only(help="The model it was trained on, if its files do not say.")] = None,
    hook_name: Annotated[str | None, Only("--hook-name", help="The hook point, if its files do not say.")] = None,
    apply_b_dec_to_input: SubtractBDec = None,
    json: Json = False,
) -> None:
    """Copy an SAE from this machine into the library, checked and in SAELens' format where that can express it."""
    with open_workspace() as workspace:
        record = workspace.saes.add_local(
            path, name=name, model=model, hook_name=hook_name, apply_b_dec_to_input=apply_b_dec_to_input
        )
    if json:
        write_json(record)
        return
    write(f"Added {record.name} ({record.id}): {record.architecture}, {count(record.d_in)} → {count(record.d_sae)}")
    if kept := record.metadata.get("origin", {}).get("kept"):
        note(f"Kept in its own format, {record.format}: {kept}")


@saes.command("convert")
@command
def convert(
    sae: SAEId,
    dest: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder, or an SAE of that format.")],
    to: Annotated[str, Only("--to", metavar="FORMAT", help="The format to write.")] = "saelens",
    json: Json = False,
) -> None:
    """Write an SAE into a folder, in any format that can express it."""
    with open_workspace() as workspace:
        record = workspace.saes.find(sae)
        written = workspace.saes.export(record.id, dest, to)
    if json:
        write_json({"id": record.id, "format": to, "path": written})
    else:
        write(f"Wrote {record.name} to {written} ({to})")


@saes.command("delete")
@command
def delete(
    sae: SAEId,
    yes: Annotated[bool, Only("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Delete an SAE with its files. The training it came from stays."""
    with open_workspace() as workspace:
        record = workspace.saes.find(sae)
        if not yes:
            if not sys.stdin.isatty():
                raise ConfigError("Nobody is there to confirm.", where=record.id, hint="Say --yes to delete it.")
            typer.confirm(f"Delete {printable(record.name)} ({record.id}), {size(record.size_bytes)}?", abort=True)
        freed = workspace.saes.delete(record.id)
    if json:
        write_json({"id": record.id, "name": record.name, "deleted": True, "freed_bytes": freed})
    else:
        write(f"Deleted {record.name} ({record.id})")


@saes.command("push")
@command
def push(
    sae: SAEId,
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The repository on the Hugging Face hub.")],
    path: Annotated[str, Only("--path", metavar="FOLDER", help="The folder in the repository, else its root.")] = "",
    license: Annotated[
        str, Only("--license", metavar="ID", help="The licence of a new model card as the hub spells it, e.g. mit.")
    ] = "unknown",
    public: Annotated[bool, Only("--public", help="Make the repository public; a new one is private.")] = False,
    token_stdin: TokenStdin = False,
    json: Json = False,
) -> None:
    """Publish an SAE on the Hugging Face hub, with a model card."""
    token = ask_token(token_stdin)
    with open_workspace() as workspace:
        record = workspace.saes.find(sae)
        url = workspace.saes.push_to_hub(
            record.id, repo, token=token, private=not public, path=path, license=license
        )
    if json:
        write_json({"id": record.id, "repo_id": repo, "path": path, "url": url})
    else:
        write(f"Published {record.name}: {url}")
