"""Defines ``saewidgets activations``: activations captured once to disk, to train from many times."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from saewidgets.cli.follow import CAPTURE, follow
from saewidgets.cli.options import Option, Spread, Status, Yes, delete_record, named, settings
from saewidgets.cli.output import count, facts, moment, note, number, size
from saewidgets.cli.session import CommandGroup, answer, command_line, listed, session
from saewidgets.config import CaptureConfig

if TYPE_CHECKING:
    from saewidgets.records import ActivationStoreRecord
    from saewidgets.workspace.activations import Capture

activations = CommandGroup("Look after stores of activations: capture once, train many times.")
StoreId = Annotated[str, named("STORE", "store")]
COLUMNS = ("id", "name", "status", "model", "hooks", "tokens", "size", "created")


SETTINGS = settings(
    CaptureConfig, "dtype", "name", "context_size", ("model_batch_size", "--batch-size"), "model_revision",
    "model_dtype", "device", "model_compile", ("prepend_bos", "--prepend-bos/--no-prepend-bos"),
    ("join_documents", "--join/--no-join"), "separator",
)  # fmt: skip


@activations.verb("capture", settings=SETTINGS, quiet=True)
def capture(
    model: Annotated[str, typer.Argument(metavar="MODEL", help='A Hugging Face id, a local folder, or "demo".')],
    corpus: Annotated[str, Option(help='The text: a file, a folder, a dataset of the hub, or "demo".')],
    hook_name: Annotated[list[str], Option(help="Which activations, e.g. blocks.2.hook_resid_post; repeatable.")],
    tokens: Annotated[int, Option(help="How many tokens; all of a text that has fewer.")],
    estimate: Annotated[bool, Option("--estimate", help="Say how much disk it takes, and start nothing.")] = False,
    spread: Spread = 1,
) -> None:
    """Capture activations of a model on a text. Ctrl-C pauses it with a checkpoint."""
    wanted = dict(session.settings)
    if estimate:
        wanted.pop("name", None)
        found = session.workspace.activations.estimate(model, corpus, hook_name, tokens, **wanted)
        free = f"{size(found.disk_free_bytes)} free" + ("" if found.fits else ": it does not fit")
        per_token = f"{count(found.bytes_per_token)} bytes per token"
        answer(found, f"{size(found.size_bytes)} in {found.dtype}, {per_token}; {free}")
        return
    handle = session.workspace.activations.capture(model, corpus, hook_name, tokens, spread=spread, **wanted)
    _run_here("Capturing", handle)


@activations.verb("import", quiet=True)
def import_states(
    paths: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="Files such as layer_6_states.pt, or a folder of them.")
    ],
    hook_name: Annotated[
        list[str] | None,
        Option("--hook-name", help="Of each file in their order, else blocks.LAYER.hook_resid_post as the file says."),
    ] = None,
    model: Annotated[str | None, Option(help="The model that the states are from.")] = None,
    corpus: Annotated[str, Option(help="What to call the text.")] = "imported states",
    dtype: Annotated[
        str | None, Option(help="Number format of the store: float32, bfloat16, float16 or int8.")
    ] = None,
    name: Annotated[str | None, Option(help="What to call the store.")] = None,
) -> None:
    """Import hidden states that a script has saved. Nothing in the files is run."""
    handle = session.workspace.activations.import_states(
        paths[0] if len(paths) == 1 else paths, hook_names=hook_name or None, model=model, corpus=corpus,
        dtype=dtype, name=name,
    )
    _run_here("Importing", handle)


@activations.verb("resume", quiet=True)
def resume(store: StoreId) -> None:
    """Go on with a paused, cancelled, failed or interrupted capture, in this process. Ctrl-C pauses it again."""
    handle = session.workspace.activations.get(store)
    handle.resume()
    _run_here("Resuming", handle)


def _run_here(doing: str, handle: Capture) -> None:
    note(f"{doing} {handle.record.name} ({handle.id})")
    record = follow(handle, CAPTURE)
    found = f"{count(record.n_tokens)} tokens of {', '.join(record.hook_names)}, {size(record.size_bytes)}"
    said = f"Train from it with: {command_line('train', '--corpus', record.id, '--hook-name', record.hook_names[0])}"
    answer(record, f"{record.name}: {found}", notes=[said])


def _row(record: ActivationStoreRecord) -> list[str]:
    mark = {"missing": " (files missing)", "changed": " (files changed)"}.get(record.state, "")
    return [
        record.id, record.name + mark, record.status.value, record.model or "–", ", ".join(record.hook_names),
        count(record.n_tokens or record.tokens_total), size(record.size_bytes), moment(record.created_at),
    ]  # fmt: skip


@activations.verb("list")
def list_stores(
    status: Status = None,
    model: Annotated[str | None, Option(help="Only stores of this model.")] = None,
    hook_name: Annotated[str | None, Option(help="Only stores that hold this hook point.")] = None,
    search: Annotated[str | None, Option(help="Words that are all in name, model, corpus, hook names or id.")] = None,
) -> None:
    """List the stores of the workspace, newest first."""
    found = list(session.workspace.activations.list(status=status, model=model, hook_name=hook_name, search=search))
    none = f"No stores of activations. Capture one with: {command_line('activations', 'capture')}"
    listed(found, COLUMNS, _row, (5, 6), none)


@activations.verb("show")
def show(
    store: StoreId,
    verify: Annotated[bool, Option("--verify", help="Compare every file with its SHA-256.")] = False,
) -> None:
    """Show one store: what it holds, where from, and whether its files are as they were written."""
    handle = session.workspace.activations.get(store)
    if verify:
        handle.verify()
    record = handle.record
    lines = facts([
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
    ])  # fmt: skip
    for name in record.hook_names:
        hook = record.hooks.get(name, {})
        told = f"width {count(hook['width'])}, mean norm {number(hook['mean_norm'])}" if hook else ""
        told += f", {count(hook['heads'])} heads" if hook.get("heads") else ""
        lines.append(f"{'hook':<14}{name}  {told}".rstrip())
    answer(record, *lines)


@activations.verb("delete")
def delete(store: StoreId, yes: Yes = False) -> None:
    """Delete a store with its files. SAEs that were trained from it stay."""
    delete_record(session.workspace.activations, session.workspace.activations.get(store).record, yes)
