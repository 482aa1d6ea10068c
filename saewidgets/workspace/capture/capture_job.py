"""`run_store`: the job of a capture or an import of activations, from its row. Used by `ws.activations`."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.catalog.filestate import recorded
from saewidgets.config.capture import CaptureConfig
from saewidgets.events import Interruption, JobStatus, LogLine, Meter, Request
from saewidgets.jobs import JobContext
from saewidgets.records import ActivationStoreRecord
from saewidgets.workspace.corpora import TEXT, exact_corpus, paths_of, with_text
from saewidgets.workspace.folders import TOKENS
from saewidgets.workspace.live import ModelReference, load
from saewidgets.workspace.parts import PARTS, Team
from saewidgets.workspace.user_models import UserModel

if TYPE_CHECKING:
    from saewidgets.activations.store import StoreFacts
    from saewidgets.workspace.workspace import Workspace

KIND = "capture"
IMPORT_LANE = "files"  # imports use no device
_ARRAYS = (".bin",)


@dataclass(frozen=True, slots=True)
class CaptureResult:
    """The current state: the status, the id of the store, its tokens and bytes."""

    status: JobStatus
    store_id: str
    n_tokens: int
    size_bytes: int


def run_store(
    workspace: Workspace, context: JobContext, ids: Sequence[str], held: UserModel | None
) -> CaptureResult | None:
    """Capture activations, or copy hidden states from files, as the row says. A helper returns None."""
    record = workspace.catalog.activations.get(ids[0])
    team = Team(workspace, workspace.activations.helpers, context, record.folder)
    try:
        if record.source == "imported":
            facts = run_import(workspace, record, context)
        elif (captured := run_capture(workspace, record, held, context, team)) is not None:
            facts = captured
        else:
            return None
    except Interruption as interruption:
        if interruption.request is not Request.PAUSE and team.leads:
            team.end()
            discard(Path(record.folder))
        raise
    result = record_result(workspace, record, facts)
    team.end()
    return result


def run_capture(
    workspace: Workspace, record: ActivationStoreRecord, held: UserModel | None, context: JobContext, team: Team
) -> StoreFacts | None:
    """Load the model, pack the text, capture; None of a helper."""
    # Torch: seconds to import.
    import torch

    from saewidgets.activations import open_corpus, pack
    from saewidgets.activations.store import STORE
    from saewidgets.activations.store_write import CaptureSettings, StoreParts, capture_store, chosen_contexts
    from saewidgets.lm import check_context, resolve_hook
    from saewidgets.lm.compiling import compiled_until

    rows = workspace.catalog.activations
    config = CaptureConfig.from_data(with_text(record.config, record.folder))  # resumed it reads the same text
    corpus = exact_corpus(rows, record, config.corpus)
    config = config.model_copy(update={"corpus": corpus, "device": team.device or config.device})
    shown = Meter(context.emit, record.tokens_total)
    check, until = context.control.check, ExitStack()

    def phase(words: str) -> None:
        check()
        shown.enter(words)

    phase("loading model")
    named = ModelReference(config.model, config.model_revision, config.model_dtype, config.device)
    lm = load(named, tell=phase) if held is None else load(held, config.model)
    try:
        check_context(lm.name, lm.context, config.context_size)  # before the whole text is tokenised
        for name in config.hook_names:
            resolve_hook(lm.model, name)
        compiled = None
        if config.model_compile is not None:
            phase("compiling model")
            shape = (config.model_batch_size, config.context_size)
            compiled = compiled_until(until, lm, config.hook_names, config.model_compile, shape, context.emit)
        phase("tokenising")
        text = open_corpus(config.corpus)
        if paths_of(config.corpus) and team.leads:
            rows.update(record.id, facts={TEXT: text.fingerprint()})
        packed = pack(
            text, lm.tokenizer, folder=workspace.folder / TOKENS,
            context_size=config.context_size, packing=config.packing, validation_share=0.0,
            wanted=config.tokens, check=check,
            on_progress=lambda done: shown.enter("tokenising"),
        )
        shown.total = len(chosen_contexts(packed, config.tokens)[0]) * packed.context_size
        changes: dict[str, Any] = {"tokens_total": shown.total}
        if packed.n_contexts * packed.context_size < config.tokens:
            whole = packed.n_contexts * packed.context_size
            changes["note"] = f"The text has {whole:,} tokens, fewer than the {config.tokens:,} asked for."
        if team.leads:
            rows.update(record.id, **changes)
        shown.enter("capturing")
        settings = CaptureSettings(
            hook_names=config.hook_names, tokens=config.tokens, dtype=config.dtype,
            model_batch_size=config.model_batch_size, model_revision=config.model_revision, compiled=compiled,
        )
        if team.jobs > 1 and not (Path(record.folder) / STORE).is_file():
            shards = StoreParts(lm, packed, settings)
            parts = team.share(shards.sizes, partial(shards.write, context.control), shown, "capturing")
            if team.leads:
                shards.join(Path(record.folder), parts)
        return None if not team.leads else capture_store(
            lm, packed, settings, record.folder, control=context.control,
            on_progress=lambda done: shown.at(done, "capturing"), resume=context.resumed or team.jobs > 1,
            on_restart=lambda: context.emit(
                LogLine("The earlier capture is of another model, text or version: starting over.",
                        "warning")
            ),
            on_shard=lambda: context.publish(record.id),
        )  # fmt: skip
    finally:
        until.close()
        del lm
        if torch.cuda.is_available():  # the memory of the pass is free for the next job of the lane
            torch.cuda.empty_cache()


def run_import(workspace: Workspace, record: ActivationStoreRecord, context: JobContext) -> StoreFacts:
    """Copy hidden states from files."""
    # Torch: seconds to import.
    from saewidgets.activations.store_write import import_states
    from saewidgets.workspace.capture.hidden_states import look_at_states

    config = record.config
    shown = Meter(context.emit, record.tokens_total)
    pairs = zip(config["hook_names"], config["paths"], strict=True)
    files = [(str(name), look_at_states(path)) for name, path in pairs]
    return import_states(
        files, record.folder, dtype=config.get("dtype"), model=record.model, corpus=record.corpus,
        control=context.control, on_progress=lambda done: shown.at(done, "importing"), resume=context.resumed,
    )


def record_result(workspace: Workspace, record: ActivationStoreRecord, facts: StoreFacts) -> CaptureResult:
    """Write what is in the folder into the row, before the status changes, so that "completed" means readable."""
    folder = Path(record.folder)
    stored = workspace.catalog.activations.get(record.id)
    whole = facts.n_rows >= stored.tokens_total
    about = {key: value for key, value in asdict(facts).items() if key not in ("files", "fingerprint", "special_ids")}
    workspace.catalog.activations.update(
        record.id, n_tokens=facts.n_rows, size_bytes=facts.size_bytes, fingerprint=facts.fingerprint,
        dtype=facts.dtype, facts={**stored.facts, **about}, files=recorded(folder, ["store.json", *facts.files]),
    )  # fmt: skip
    status = JobStatus.COMPLETED if whole else JobStatus.STOPPED
    return CaptureResult(status, record.id, facts.n_rows, facts.size_bytes)


def discard(folder: Path) -> None:
    """Remove what a capture has written; the text it was given stays, so that it can be started again."""
    from saewidgets.activations.store import PROGRESS, SPECIAL, TOKENS  # torch: seconds to import

    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink() and all(each.suffix in _ARRAYS for each in path.iterdir()):
                shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(folder / PARTS, ignore_errors=True)
    for name in (PROGRESS, TOKENS, SPECIAL):
        (folder / name).unlink(missing_ok=True)
