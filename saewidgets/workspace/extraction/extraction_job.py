"""`run_extraction`: the job of an extraction, from its row. Used by `ws.extractions`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saewidgets.catalog.filestate import recorded
from saewidgets.config.extraction import ExtractionConfig
from saewidgets.config.packing import Packing
from saewidgets.errors import NotFoundError
from saewidgets.events import Emit, Event, Facts, Interruption, JobStatus, LogLine, Metrics, Progress, Request
from saewidgets.feature_records import ExtractionRecord
from saewidgets.jobs import JobContext
from saewidgets.workspace.corpora import corpus_from_row
from saewidgets.workspace.held import Held
from saewidgets.workspace.subjects import files_of, find_subject
from saewidgets.workspace.training.training_job import TOKENS

if TYPE_CHECKING:
    from saewidgets.workspace.workspace import Workspace

KIND = "extraction"
_NO_WEIGHTS = frozenset({".json", ".yaml", ".yml", ".md", ".txt"})
_DENSITY = "sparsity.safetensors"


@dataclass(frozen=True, slots=True)
class ExtractionResult:
    """What an extraction found: its status, tokens that counted, latents by how often they fired, bytes on disk."""

    status: JobStatus
    n_tokens: int
    seen: int
    dead: int
    dense: int
    size_bytes: int


def config_of(record: ExtractionRecord) -> ExtractionConfig:
    """The configuration of an extraction, with text that was given in memory."""
    data = dict(record.config)
    if data.get("corpus"):
        data["corpus"] = corpus_from_row(data["corpus"], record.folder)
    return ExtractionConfig.from_data(data)


def run_extraction(
    workspace: Workspace, context: JobContext, ids: Sequence[str], held: Held | None
) -> ExtractionResult:
    """Load what it needs, read the text, and write down what was found."""
    # Torch: seconds to import.
    import numpy as np
    import torch

    from saewidgets.activations import open_corpus, pack
    from saewidgets.activations.corpus import exact_again, with_exact_revision
    from saewidgets.demo import resolve_model
    from saewidgets.features.extraction import extract
    from saewidgets.formats import load_sae
    from saewidgets.lm import check_context, load_model, wrap_model

    rows, (extraction_id,) = workspace.catalog.extractions, ids
    record = rows.get(extraction_id)
    config, facts = config_of(record), record.facts
    emit = _Shown(context.emit, lambda note: rows.update(extraction_id, note=note))
    check = context.control.check
    total = record.tokens_total
    check()
    subject = find_subject(workspace, _source_id(record))
    path = files_of(workspace, subject)
    if not context.resumed or "weights" not in facts:  # what is resumed goes on with the same, or not at all
        # Before they are loaded: files that are replaced meanwhile then count as other ones.
        rows.update(extraction_id, facts={**facts, "weights": weights_of(path)})

    def phase(words: str) -> None:
        check()
        emit(Progress(0, total, phase=words))

    phase("loading model")
    if held is not None:
        lm = wrap_model(held.model, held.tokenizer, name=record.model)
    else:
        lm = load_model(
            resolve_model(record.model), revision=config.model_revision, dtype=config.model_dtype,
            device=config.device, name=record.model, tell=phase,
        )
    text = with_exact_revision(exact_again(_corpus(config), facts.get("revision")))
    if getattr(text, "commit", None):  # what is resumed reads the same, whatever was added since
        rows.update(extraction_id, facts={**rows.get(extraction_id).facts, "revision": text.revision})
    # Where the model is known only now; before the whole text is tokenised.
    check_context(lm.name, lm.context, int(config.context_size or 0))
    check()
    sae = load_sae(path, device=str(lm.device))
    check()
    try:
        packed = pack(
            open_corpus(text), lm.tokenizer, folder=workspace.folder / TOKENS,
            context_size=int(config.context_size or 0), packing=Packing.from_data(facts),
            validation_share=float(facts.get("validation_share", 0.0)), wanted=config.tokens, check=check,
            # The text is tokenised, once; of the tokens that were asked for none is read yet.
            on_progress=lambda done: emit(Progress(0, total, phase="tokenising")),
        )
        count = min(packed.n_contexts, max(1, config.tokens // packed.context_size))
        rows.update(extraction_id, tokens_total=count * packed.context_size)
        contexts = np.arange(count, dtype=np.int64) * packed.n_contexts // count
        manifest = extract(
            sae, lm, packed, contexts, record.hook_name, config, Path(record.folder), control=context.control,
            emit=emit, resume=context.resumed,
            facts={"name": record.name, "source": record.source, "sae_id": record.sae_id,
                   "training_id": record.training_id},
        )  # fmt: skip
        stopped = bool(manifest.facts.get("stopped"))
        return record_result(workspace, extraction_id, JobStatus.STOPPED if stopped else JobStatus.COMPLETED)
    except Interruption as interruption:
        rows.update(extraction_id, seen=emit.seen if interruption.request is Request.PAUSE else None)
        if interruption.request is not Request.PAUSE:
            remove_if_empty(Path(record.folder))
        raise
    finally:
        del sae, lm
        if torch.cuda.is_available():  # what the pass took is free for whoever has the lane next
            torch.cuda.empty_cache()


def weights_of(folder: Path) -> dict[str, list[Any]]:
    """The files with the weights of the SAE in `folder`, with what tells whether they were replaced."""
    from saewidgets.formats import describe  # torch: seconds to import

    files = describe(folder).files
    try:
        return recorded(folder, [name for name in files if Path(name).suffix not in _NO_WEIGHTS and name != _DENSITY])
    except OSError as error:
        raise NotFoundError(
            f"A file of the SAE cannot be read: {error.strerror or error}.", where=str(folder),
            hint="See what is wrong with it in the library.",
        ) from error


def record_result(workspace: Workspace, extraction_id: str, status: JobStatus) -> ExtractionResult:
    """Write what the extraction in its folder has found into its row."""
    from saewidgets.features.store.query import DENSE  # torch: seconds to import
    from saewidgets.features.store.read import Store

    rows = workspace.catalog.extractions
    store = Store(Path(rows.get(extraction_id).folder), workspace.folder / TOKENS)
    seen = int((store.fired > 0).sum())
    result = ExtractionResult(
        status, store.manifest.n_tokens, seen, store.d_sae - seen, int((store.density > DENSE).sum()),
        store.size_bytes,
    )  # fmt: skip
    # Before the status changes: whoever sees "completed" can read it.
    rows.update(
        extraction_id, n_tokens=result.n_tokens, seen=seen, dead=result.dead, dense=result.dense,
        size_bytes=result.size_bytes,
    )  # fmt: skip
    return result


def _source_id(record: ExtractionRecord) -> str:
    """What it was started from, or what that has become."""
    found = record.training_id if record.source_type == "training" else record.sae_id
    return found or ""


def _corpus(config: ExtractionConfig) -> Any:
    if config.corpus is None:  # creating it made one of it
        raise NotFoundError("The text to read is not known.", where="corpus", hint="Start a new extraction.")
    return config.corpus


class _Shown:
    """Passes events on. How many latents have fired so far is shown while it runs, and why bits may differ."""

    def __init__(self, emit: Emit, keep_note: Callable[[str], object]) -> None:
        self._emit, self._keep_note = emit, keep_note
        self.seen: int | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, Metrics):
            if "seen" in event.values:
                self.seen = int(event.values["seen"])
                self._emit(Facts({"seen": self.seen}))
            return
        if isinstance(event, LogLine) and event.level == "warning":
            self._keep_note(event.message)
        self._emit(event)


def remove_if_empty(folder: Path) -> None:
    """The folder of an extraction that has left nothing; one that holds something stays."""
    with contextlib.suppress(OSError):
        folder.rmdir()
