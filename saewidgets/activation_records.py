"""Stores of activations as plain values: what the API returns, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from saewidgets.config.hook_names import head_of, without_head
from saewidgets.events import JobStatus, Progress
from saewidgets.records import ErrorInfo


@dataclass(frozen=True, slots=True)
class ActivationStoreRecord:
    """Activations on disk, captured or being captured.

    Attributes:
        source: ``"captured"`` from a model, or ``"imported"``.
        config: what was asked for, as JSON data.
        hook_names: the hook points it holds.
        hooks: hook name → ``{"width": …, "mean_norm": …}``, of ``attn.hook_z`` ``"heads"``, too; empty until it is
            whole.
        tokens_total: tokens that were asked for, or that the text has where that is known to be less.
        n_tokens: rows of every hook point; None until it is whole.
        context_size: tokens per context; None for imported states.
        dtype: number format of the rows; None until it is known.
        fingerprint: changes with every bit of it.
        state: whether its files are as they were written: ``"ok"``, ``"missing"`` or ``"changed"``; ``"incomplete"``
            until it is whole.
        state_note: what is missing or changed, as a sentence; ``""`` if nothing is.
    """

    id: str
    name: str
    source: Literal["captured", "imported"]
    model: str | None
    corpus: str
    hook_names: tuple[str, ...]
    dtype: str | None
    context_size: int | None
    config: Mapping[str, Any]
    status: JobStatus
    progress: Progress | None
    error: ErrorInfo | None
    queue_position: int | None
    tokens_total: int
    n_tokens: int | None
    size_bytes: int | None
    fingerprint: str | None
    host: str
    folder: str
    job_id: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    seconds_running: float
    hooks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    note: str | None = None
    state: Literal["ok", "missing", "changed", "incomplete"] = "ok"
    state_note: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether a training can read it."""
        return self.n_tokens is not None

    def holds(self, hook_name: str) -> bool:
        """Whether it has the rows of a hook point; once it is whole, those of one head of ``attn.hook_z``, too."""
        head = head_of(hook_name)
        heads = self.hooks.get(without_head(hook_name), {}).get("heads") or 0
        return hook_name in self.hook_names or (head is not None and head < heads)


@dataclass(frozen=True, slots=True)
class CaptureEstimate:
    """What a capture takes.

    Attributes:
        tokens: as asked for; the text may have fewer.
        bytes_per_token: over all hook points, with the token's id and mark.
        size_bytes: of the store.
        disk_free_bytes: where the workspace is.
        fits: whether it does, with a tenth to spare.
        dtype: number format of the rows.
        widths: hook name → numbers per row.
    """

    tokens: int
    bytes_per_token: int
    size_bytes: int
    disk_free_bytes: int
    fits: bool
    dtype: str
    widths: Mapping[str, int]
