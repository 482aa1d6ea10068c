"""``saewidgets activations …``: activations captured once to disk, to train from many times."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saewidgets.cli.follow_capture import follow_capture
from saewidgets.cli.options import Json, Quiet
from saewidgets.cli.output import count, moment, note, number, printable, size, table, write, write_json
from saewidgets.cli.session import command, command_line, open_workspace
from saewidgets.errors import ConfigError

if TYPE_CHECKING:
    from saewidgets.activation_records import ActivationStoreRecord
    from saewidgets.workspace.capture.capture import Capture

Only = typer.Option
activations = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
StoreId = Annotated[
    str,
    typer.Argument(
        metavar="STORE", help="Id of the store, a unique beginning of it (4 characters or more), or its name."
    ),
]
Name = Annotated[str | None, Only(help="What to call the store.")]
Dtype = Annotated[str | None, Only(help="Number format of the store: float32, bfloat16 or float16.")]
COLUMNS = ("id", "name", "status", "model", "hooks", "tokens", "size", "created")


@activations.callback()
def group() -> None:
    """Look after stores of activations: capture once, train many times."""  # what `--help` begins with


@activations.command("capture")
@command
def capture(
    model: Annotated[str, typer.Argument(metavar="MODEL", help='A Hugging Face id, a local folder, or "demo".')],
    corpus: Annotated[str, Only(help='The text: a file, a folder, a dataset of the hub, or "demo".')],
    hook_name: Annotated[list[str], Only("--hook-name", help="Which activations; may be given several times.")],
    tokens: Annotated[int, Only(help="How many tokens; all of a text that has fewer.")],
    dtype: Dtype = None,
    name: Name = None,
    context_size: Annotated[int, Only("--context-size", help="Tokens per context.")] = 256,
    batch_size: Annotated[int, Only("--batch-size", help="Contexts the model reads at once.")] = 16,
    prepend_bos: Annotated[bool, Only("--prepend-bos/--no-prepend-bos", help="Start contexts with BOS.")] = True,
    join: Annotated[bool, Only("--join/--no-join", help="Off: every context is the beginning of a document.")] = True,
    separator: Annotated[str, Only(help="Between documents: eos, bos, sep, none, or a token id.")] = "eos",
    model_revision: Annotated[str | None, Only("--model-revision", help="Branch, tag or commit.")] = None,
    model_dtype: Annotated[str, Only("--model-dtype", help="Of the model: float32, bfloat16 or float16.")] = "float32",
    device: Annotated[str, Only(help="cpu, cuda:0, … or auto.")] = "auto",
    model_compile: Annotated[
        str | None, Only("--model-compile", help="Compile the model with this mode of torch.compile: default, …")
    ] = None,
    estimate: Annotated[bool, Only("--estimate", help="Say how much disk it takes, and start nothing.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Capture activations of a model on a text. Ctrl-C pauses it with a checkpoint."""
    settings: dict[str, Any] = {
        "dtype": dtype, "context_size": context_size, "model_batch_size": batch_size, "prepend_bos": prepend_bos,
        "join_documents": join, "separator": separator,
        "model_revision": model_revision, "model_dtype": model_dtype, "device": device,
        "model_compile": model_compile,
    }  # fmt: skip
    with open_workspace() as workspace:
        if estimate:
            found = workspace.activations.estimate(model, corpus, hook_name, tokens, **settings)
            if json:
                write_json(found)
                return
            free = f"{size(found.disk_free_bytes)} free" + ("" if found.fits else ": it does not fit")
            write(f"{size(found.size_bytes)} in {found.dtype}, {count(found.bytes_per_token)} bytes per token; {free}")
            return
        handle = workspace.activations.capture(model, corpus, hook_name, tokens, name=name, **settings)
        note(f"Capturing {handle.record.name} ({handle.id})")
        _run_here(handle, json=json, quiet=quiet)


@activations.command("import")
@command
def import_states(
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="Files such as layer_6_states.pt, or a folder of them.")
    ],
    hook_name: Annotated[
        list[str] | None,
        Only("--hook-name", help="Of each file in their order, else blocks.LAYER.hook_resid_post as the file says."),
    ] = None,
    model: Annotated[str | None, Only(help="The model that the states are from.")] = None,
    corpus: Annotated[str, Only(help="What to call the text.")] = "imported states",
    dtype: Dtype = None,
    name: Name = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Import hidden states that a script has saved. Nothing in the files is run."""
    with open_workspace() as workspace:
        handle = workspace.activations.import_states(
            paths[0] if len(paths) == 1 else paths, hook_names=hook_name or None, model=model, corpus=corpus,
            dtype=dtype, name=name,
        )
        note(f"Importing {handle.record.name} ({handle.id})")
        _run_here(handle, json=json, quiet=quiet)


@activations.command("resume")
@command
def resume(store: StoreId, json: Json = False, quiet: Quiet = False) -> None:
    """Go on with a paused, cancelled, failed or interrupted capture, in this process. Ctrl-C pauses it again."""
    with open_workspace() as workspace:
        handle = workspace.activations.get(store)
        handle.resume()
        note(f"Resuming {handle.record.name} ({handle.id})")
        _run_here(handle, json=json, quiet=quiet)


def _run_here(handle: Capture, *, json: bool, quiet: bool) -> None:
    record = follow_capture(handle, quiet=quiet)
    if json:
        write_json(record)
        return
    hooks = ", ".join(record.hook_names)
    write(f"{record.name}: {count(record.n_tokens)} tokens of {hooks}, {size(record.size_bytes)}")
    note(f"Train from it with: {command_line('train', '--corpus', record.id, '--hook-name', record.hook_names[0])}")


def _row(record: ActivationStoreRecord) -> list[str]:
    mark = {"missing": " (files missing)", "changed": " (files changed)"}.get(record.state, "")
    return [
        record.id, record.name + mark, record.status.value, record.model or "–", ", ".join(record.hook_names),
        count(record.n_tokens or record.tokens_total), size(record.size_bytes), moment(record.created_at),
    ]  # fmt: skip


@activations.command("list")
@command
def list_stores(
    status: Annotated[str | None, Only(help="Only those in this state, e.g. running or completed.")] = None,
    model: Annotated[str | None, Only(help="Only stores of this model.")] = None,
    hook_name: Annotated[str | None, Only("--hook-name", help="Only stores that hold this hook point.")] = None,
    search: Annotated[str | None, Only(help="Words that are all in name, model, corpus, hook names or id.")] = None,
    json: Json = False,
) -> None:
    """List the stores of the workspace, newest first."""
    with open_workspace() as workspace:
        found = list(workspace.activations.list(status=status, model=model, hook_name=hook_name, search=search))
    if json:
        write_json(found)
    elif found:
        write(table(COLUMNS, map(_row, found), right=(5, 6)))
    else:
        write(f"No stores of activations. Capture one with: {command_line('activations', 'capture')}")


@activations.command("show")
@command
def show(
    store: StoreId,
    verify: Annotated[bool, Only("--verify", help="Compare every file with its SHA-256.")] = False,
    json: Json = False,
) -> None:
    """Show one store: what it holds, where from, and whether its files are as they were written."""
    with open_workspace() as workspace:
        handle = workspace.activations.get(store)
        if verify:
            handle.verify()
        record = handle.record
    if json:
        write_json(record)
        return
    facts: list[tuple[str, str | None]] = [
        ("id", record.id),
        ("name", record.name),
        ("status", record.status.value),
        ("model", record.model or "–"),
        ("corpus", record.corpus),
        ("tokens", count(record.n_tokens or record.tokens_total)),
        ("context size", count(record.context_size) if record.context_size else None),
        ("size", f"{size(record.size_bytes)}, {record.dtype}" if record.is_whole else None),
        ("created", moment(record.created_at)),
        ("folder", record.folder),
        ("fingerprint", record.fingerprint),
        ("note", record.note),
        ("files", "all as they were written" if verify else record.state_note or None),
        ("error", record.error.what if record.error else None),
    ]
    for label, value in facts:
        if value:
            write(f"{label:<14}{printable(value)}")
    for name in record.hook_names:
        hook = record.hooks.get(name, {})
        told = f"width {count(hook['width'])}, mean norm {number(hook['mean_norm'])}" if hook else ""
        told += f", {count(hook['heads'])} heads" if hook.get("heads") else ""
        write(f"{'hook':<14}{name}  {told}".rstrip())


@activations.command("delete")
@command
def delete(
    store: StoreId,
    yes: Annotated[bool, Only("--yes", "-y", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Delete a store with its files. SAEs that were trained from it stay."""
    with open_workspace() as workspace:
        record = workspace.activations.get(store).record
        if not yes:
            if not sys.stdin.isatty():
                raise ConfigError("Nobody is there to confirm.", where=record.id, hint="Say --yes to delete it.")
            typer.confirm(f"Delete {printable(record.name)} ({record.id}), {size(record.size_bytes)}?", abort=True)
        freed = workspace.activations.delete(record.id)
    if json:
        write_json({"id": record.id, "name": record.name, "deleted": True, "freed_bytes": freed})
    else:
        write(f"Deleted {record.name} ({record.id})")
