"""Capturing: language-model forwards → a store, all hook points from one forward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from saewidgets.activations.packing import PackedTokens, tokenizer_fingerprint
from saewidgets.activations.shuffle import Numbers, spread
from saewidgets.activations.store_layout import DTYPES, StoredHook, StoreFacts, facts_if_whole, rows_per_shard
from saewidgets.activations.store_write import Piece, StorePlan, StoreWriter
from saewidgets.durable import require_space
from saewidgets.errors import ConfigError
from saewidgets.events import Control, NullControl
from saewidgets.lm import LoadedModel, capture, check_context, resolve_hook


@dataclass(frozen=True, slots=True)
class CaptureSettings:
    """How to capture.

    Attributes:
        hook_names: which activations.
        tokens: how many to capture; all of the text where it has fewer.
        dtype: number format of the store; None takes the model's.
        model_batch_size: contexts per forward.
        model_revision: of the model, for the record.
        compiled: the mode in which the model was compiled; None where it runs as it is.
    """

    hook_names: tuple[str, ...]
    tokens: int
    dtype: str | None = None
    model_batch_size: int = 16
    model_revision: str | None = None
    compiled: str | None = None


def bytes_per_token(widths: Sequence[int], dtype: str, vocab_size: int | None = None) -> int:
    """Bytes on the disk for one token: its activations, its id and its mark."""
    return sum(widths) * DTYPES[dtype].itemsize + (2 if (vocab_size or 0) <= 1 << 16 else 4) + 1


def chosen_contexts(packed: PackedTokens, tokens: int) -> tuple[Numbers, int]:
    """Numbers of the contexts to capture, and how many of them are held out: those come first.

    They are spread evenly over the text. Of a corpus that names held-out documents the same share of both is taken.
    """
    total = packed.n_contexts
    wanted = min(total, max(1, -(-tokens // packed.context_size)))
    held = packed.named
    if not len(held):
        return spread(total, wanted), 0
    count = min(len(held), max(1, round(wanted * len(held) / total)))
    train = np.setdiff1d(np.arange(total, dtype=np.int64), held)
    chosen = spread(len(train), max(1, min(len(train), wanted - count)))
    return np.concatenate([held[spread(len(held), count)], train[chosen]]), count


def capture_store(
    lm: LoadedModel,
    packed: PackedTokens,
    settings: CaptureSettings,
    folder: Path | str,
    *,
    control: Control | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    on_restart: Callable[[], None] | None = None,
    resume: bool = False,
) -> StoreFacts:
    """Capture activations into `folder`.

    Killed at any point and resumed, with the same device, versions and thread count, it ends in the same bytes.

    Args:
        lm: the language model.
        packed: its text, from `pack`.
        settings: what to capture.
        folder: of the store.
        control: asked at every forward. Pause writes a checkpoint; Stop ends the store with what there is.
        on_progress: told (rows, rows in all).
        on_restart: told that what was there cannot be gone on with.
        resume: go on with what is there.

    Raises:
        Interruption: paused, cancelled, or stopped before anything was captured.
        HookError: the model has no such hook point.
        ConfigError: contexts do not fit the model, or its activations do not fit the number format.
        StorageError: the disk is full or not writable. What was captured stays, to resume.
    """
    folder, control = Path(folder), control or NullControl()
    contexts, held = chosen_contexts(packed, settings.tokens)
    plan = _plan(lm, packed, settings, contexts, held)
    total = len(contexts) * packed.context_size
    if resume and (whole := facts_if_whole(folder)) is not None:
        return whole  # it was killed behind the last step
    writer = StoreWriter(folder, plan, resume=resume)
    if writer.restarted and on_restart is not None:
        on_restart()
    with closing(writer):
        widths = [hook.width for hook in plan.facts.hooks.values()]
        require_space(
            folder, (total - writer.rows) * bytes_per_token(widths, plan.facts.dtype, lm.vocab_size), "the store",
            "Capture fewer tokens or hook points, choose a smaller dtype, or free some space.",
        )
        pieces = _forwards(lm, packed, plan, contexts, writer.rows // packed.context_size, settings, control)
        return writer.fill(pieces, total, control=control, on_progress=on_progress)


def _forwards(
    lm: LoadedModel, packed: PackedTokens, plan: StorePlan, contexts: Numbers, first: int, settings: CaptureSettings,
    control: Control,
) -> Iterator[Piece]:
    """One language-model batch after the other, from context number `first` of the chosen ones on."""
    size = settings.model_batch_size
    # A checkpoint is always between two batches, or at the end.
    for start in range(first - first % size, len(contexts), size):
        control.check()
        tokens = packed.contexts(contexts[start : start + size])
        special = ~packed.kept(tokens)
        found = capture(lm.model, settings.hook_names, torch.from_numpy(tokens))
        rows, norms = {}, {}
        for name, activation in found.items():
            flat = activation.reshape(-1, activation.shape[-1])
            kept = torch.from_numpy(~special.reshape(-1)).to(flat.device)
            norms[name] = float(flat.float().norm(dim=-1).double()[kept].sum())
            rows[name] = _stored(flat, plan.facts.dtype, name)
        yield Piece(rows, norms, tokens, special.reshape(-1))


def _stored(flat: Tensor, dtype: str, name: str) -> Tensor:
    """The rows as they are stored, on the CPU."""
    stored = flat.to(DTYPES[dtype])
    if not bool(stored.isfinite().all()):
        largest = float(flat.float().abs().nan_to_num(nan=float("inf")).max())
        if largest == float("inf"):
            raise ConfigError(
                f"The model's activations at {name} are not finite.", where="hook_names",
                hint="Load the model in another precision, or choose another hook point.",
            )
        raise ConfigError(
            f"Activations at {name} reach {largest:,.0f}, which {dtype} cannot hold.", where="dtype",
            hint='Use dtype="bfloat16" or "float32".',
        )
    return stored.cpu()


def _plan(
    lm: LoadedModel, packed: PackedTokens, settings: CaptureSettings, contexts: Numbers, held: int
) -> StorePlan:
    check_context(lm.name, lm.context, packed.context_size)
    if packed.facts.largest_id >= lm.vocab_size:
        raise ConfigError(
            f"The text has token id {packed.facts.largest_id:,}, but {lm.name} knows {lm.vocab_size:,} tokens.",
            where="tokenizer", hint="Pass the tokenizer that belongs to the model.",
        )
    points = {name: resolve_hook(lm.model, name) for name in settings.hook_names}
    widths = {name: point.width for name, point in points.items()}
    dtype = settings.dtype or str(lm.dtype).removeprefix("torch.")
    facts = StoreFacts(
        source="captured", model=lm.name, model_revision=settings.model_revision,
        model_class=type(lm.model).__name__, model_fingerprint=lm.fingerprint(),
        model_dtype=str(lm.dtype).removeprefix("torch."), tokenizer=packed.facts.tokenizer,
        tokenizer_fingerprint=tokenizer_fingerprint(lm.tokenizer), corpus=packed.facts.corpus,
        corpus_fingerprint=packed.fingerprint, context_size=packed.context_size,
        prepend_bos=packed.facts.prepend_bos, special_ids=packed.facts.special_ids, tokens=packed.facts.dtype,
        dtype=dtype, n_contexts=len(contexts), n_rows=len(contexts) * packed.context_size, n_held_out=held,
        n_special=0, rows_per_shard=rows_per_shard(packed.context_size, max(widths.values()), dtype),
        hooks={
            name: StoredHook(point.width, 0.0, point.heads if point.head is None else None)
            for name, point in points.items()
        }, files={},
    )  # fmt: skip
    identity = {
        "model": facts.model_fingerprint, "model_dtype": facts.model_dtype, "device": lm.device.type,
        "attention": str(getattr(getattr(lm.model, "config", None), "_attn_implementation", "unknown")),
        "tokens": facts.corpus_fingerprint, "contexts": len(contexts), "held_out": held, "hooks": widths,
        "dtype": dtype, "model_batch_size": settings.model_batch_size, "rows_per_shard": facts.rows_per_shard,
        "torch": torch.__version__, **({} if settings.compiled is None else {"compiled": settings.compiled}),
    }  # fmt: skip
    return StorePlan(facts, identity)
