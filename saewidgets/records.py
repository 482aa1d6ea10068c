"""Records of the catalog as plain frozen values, which the API returns and the widgets draw.

They carry no database session and no torch. Times are Unix seconds (UTC). Paths are absolute on this machine
(the catalog itself stores them relative to the workspace).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from saewidgets.config.hook_names import head_of, without_head
from saewidgets.events import JobStatus, Progress

if TYPE_CHECKING:
    import pandas as pd


views: dict[str, Callable[..., str]] = {}
"""How records are shown: ``record_html record_text list_html list_text``, which `render.records` fills in."""


class Shown:
    """A value with a compact form for notebooks and terminals."""

    __slots__ = ()

    def __repr__(self) -> str:
        return views["record_text"](self) if views else super().__repr__()

    def _repr_html_(self) -> str:
        return views["record_html"](self)


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """Why a job failed, in the parts a card shows: `what` in bold, then `hint`; `traceback` behind "Show log"."""

    what: str
    hint: str | None = None
    where: str | None = None
    kind: str = "error"  # "nan", "diverged", "out_of_memory", "disk_full", "not_found", "config", "error"
    step: int | None = None
    traceback: str | None = None
    resumes: bool = True  # False: the newest checkpoint is damaged, too, so resuming would not help

    @property
    def message(self) -> str:
        """What happened, and what to do about it."""
        return f"{self.what} {self.hint}" if self.hint else self.what


@dataclass(frozen=True, slots=True, repr=False)
class DeviceInfo(Shown):
    """A device of this machine: `id` is torch's name, sizes are in bytes (None when the system does not tell)."""

    id: str
    label: str  # "cuda:0 (8.0 GB)"
    total_bytes: int | None = None
    free_bytes: int | None = None


@dataclass(frozen=True, slots=True, repr=False)
class JobRecord(Shown):
    """One background job, of any process."""

    id: str
    kind: str  # "training", "extraction", "download", …
    status: JobStatus
    lane: str  # "<host>/<device>", e.g. "box/cuda:0"
    progress: Progress | None = None
    error: ErrorInfo | None = None
    queue_position: int | None = None  # 1 = next on this lane; None unless queued
    owner: str | None = None
    heartbeat_at: float | None = None
    created_at: float = 0.0
    started_at: float | None = None
    finished_at: float | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)
    command: str | None = None  # asked, and not done yet by its owner: "pause", "stop", "cancel", "resume"
    note: str | None = None  # one sentence on how it came to this status
    result: Any = None  # plain JSON summary of what it returned
    seconds_running: float = 0.0  # time spent holding its lane, over all resumes
    started_by: str | None = None  # the user; None if unknown
    updated_at: float = 0.0


@dataclass(frozen=True, slots=True, repr=False)
class CheckpointRecord(Shown):
    """One checkpoint of a training."""

    id: str
    training_id: str
    step: int
    tokens: int
    path: str
    kinds: tuple[str, ...]
    size_bytes: int
    metrics: Mapping[str, float]
    created_at: float


@dataclass(frozen=True, slots=True, repr=False)
class TrainingRecord(Shown):
    """One training run. `status` and `progress` are its job's."""

    id: str
    name: str
    status: JobStatus
    config: Mapping[str, Any]  # TrainingConfig as JSON data
    model: str
    corpus: str  # a short label: "demo", a folder name, "3 strings"
    hook_name: str
    architecture: str
    d_sae: int
    d_in: int | None
    device: str
    lane: str
    tokens_total: int
    tokens_done: int
    step: int
    progress: Progress | None
    latest: Mapping[str, float]  # newest value of every metric, by name
    error: ErrorInfo | None
    queue_position: int | None
    checkpoint_count: int
    checkpoint_bytes: int
    last_checkpoint_step: int | None
    last_checkpoint_tokens: int | None
    sae_id: str | None  # the SAE record, once imported
    sae_path: str | None  # folder of the final SAE, once written
    retry_of: str | None
    group_id: str | None
    host: str  # the machine that works on it, or did last
    folder: str
    heartbeat_at: float | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    seconds_running: float = 0.0
    job_id: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    note: str | None = None  # e.g. why a resume will not be bit-identical
    ended_alone: bool = False  # it has ended by itself, whatever its group does: `status`, `error` are its own
    group_name: str | None = None  # what its group is called
    started_by: str | None = None  # the user; None if unknown

    @property
    def started_from(self) -> str | None:
        """The SAE whose weights training started from, as a person calls it; None where they were random."""
        known = self.facts.get("started_from")
        name = known.get("name") if isinstance(known, Mapping) else None
        return name or self.config.get("from_pretrained")


@dataclass(frozen=True, slots=True, repr=False)
class TemplateRecord(Shown):
    """A training configuration that is kept under a name.

    Attributes:
        name: no two have the same.
        model, corpus, hook_name, architecture, d_sae: of `config`; `corpus` is its label. None or ``""`` where a
            configuration of another version does not say.
        config: `TrainingConfig` as JSON data, as it was kept. `ws.templates.load` checks it.
        metadata: where it came from, if it was imported: ``file``, ``package`` (the version that wrote the file).
    """

    id: str
    name: str
    description: str
    favorite: bool
    model: str
    corpus: str
    hook_name: str
    architecture: str
    d_sae: int | None
    config: Mapping[str, Any]
    created_at: float
    updated_at: float
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, repr=False)
class SAERecord(Shown):
    """One SAE in the library, trained here or brought in.

    Attributes:
        source: ``"trained"``, ``"huggingface"``, ``"gemma_scope"`` or ``"local"``.
        d_out: width of what it returns; None where that is not recorded (then it is `d_in`).
        dtype: number format of the stored weights, ``"float32"``.
        format: of the files at `path`; what they were before they were converted is in ``metadata["origin"]``.
        repo_id, revision, repo_path: where it was downloaded from: ``owner/name``, the exact commit, the folder (``""``
            is the root). None for all others.
        statistics: as `ws.saes.statistics` returns them; empty until its first call. Lists leave it empty.
        features_extracted: latents that fired in its newest extraction; 0 without one.
        training_name: the name of the training it was imported from, while that is in the catalog.
        state: whether its files are as they were when it was taken in, by their names and sizes: ``"ok"``,
            ``"missing"`` or ``"changed"``. Files on another machine that are not visible here are missing.
        state_note: what is missing or changed, as a sentence; ``""`` if nothing is.
    """

    id: str
    name: str
    source: str
    model: str | None
    hook_name: str | None
    layer: int | None
    architecture: str
    d_in: int
    d_sae: int
    format: str
    path: str
    training_id: str | None
    size_bytes: int
    host: str
    created_at: float
    metadata: Mapping[str, Any] = field(default_factory=dict)
    d_out: int | None = None
    dtype: str | None = None
    repo_id: str | None = None
    revision: str | None = None
    repo_path: str | None = None
    notes: str = ""
    tags: tuple[str, ...] = ()
    statistics: Mapping[str, Any] = field(default_factory=dict)
    updated_at: float = 0.0
    features_extracted: int = 0
    training_name: str | None = None
    state: Literal["ok", "missing", "changed"] = "ok"
    state_note: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class LatentMatch(Shown):
    """Latent `a` of one SAE, and the latent `b` of another whose decoder direction is nearest to its own."""

    a: int
    b: int
    cosine: float


@dataclass(frozen=True, slots=True, repr=False)
class Comparison(Shown):
    """Two SAEs by the cosines of their decoder rows.

    Attributes:
        a, b: their ids.
        matches: the latents of `a` with the best partners in `b`, best first. Two may have the same partner.
        mean_max_cosine: mean over the latents of `a` of the largest cosine with any of `b`.
        mean_max_cosine_back: the same from `b` to `a`.
        above: bound → how many latents of `a` have a partner with at least that cosine.
        histogram, histogram_back: those largest cosines: ``edges counts min max mean sd``.
    """

    a: str
    b: str
    matches: tuple[LatentMatch, ...]
    mean_max_cosine: float
    mean_max_cosine_back: float
    above: Mapping[float, int]
    histogram: Mapping[str, Any]
    histogram_back: Mapping[str, Any]

    def to_df(self) -> pd.DataFrame:
        """The matches: columns ``a b cosine``."""
        import pandas as pd  # costs half a second

        return pd.DataFrame([asdict(match) for match in self.matches], columns=["a", "b", "cosine"])


R = TypeVar("R")


class Records(Sequence[R]):
    """An immutable list of records that also turns into a DataFrame.

    Args:
        items: the records.
        of: their class, a dataclass: it names the columns of a list without any.
    """

    def __init__(self, items: Iterable[R], of: type[R]) -> None:
        self._items = tuple(items)
        self._of = of

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> Records[R]: ...
    def __getitem__(self, index: int | slice) -> R | Records[R]:
        if isinstance(index, slice):
            return Records(self._items[index], self._of)
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return views["list_text"](self, self._of) if views else super().__repr__()

    def _repr_html_(self) -> str:
        return views["list_html"](self, self._of)

    def to_df(self) -> pd.DataFrame:
        """One row per record, one column per field; the columns are there without any record too.

        Times (``created_at``, ``finished_at``, …), Unix seconds in a record, are those of UTC here, as in metrics.
        A class of records that hold others names flat columns: ``COLUMNS``, with ``to_row()`` for their values.
        """
        import pandas as pd  # costs half a second

        flat: tuple[str, ...] | None = getattr(self._of, "COLUMNS", None)
        if flat is not None:
            return pd.DataFrame([r.to_row() for r in self._items], columns=list(flat))  # type: ignore[attr-defined]
        columns = [each.name for each in fields(self._of)]  # type: ignore[arg-type] # `R` cannot say that it is one
        frame = pd.DataFrame([asdict(r) for r in self._items], columns=columns)  # type: ignore[call-overload]
        for name in (name for name in columns if name.endswith("_at")):
            frame[name] = pd.to_datetime(frame[name].astype("float64"), unit="s", utc=True)
        return frame


@dataclass(frozen=True, slots=True, repr=False)
class ActivationStoreRecord(Shown):
    """Activations on disk, captured or being captured.

    Attributes:
        source: ``"captured"`` from a model, or ``"imported"``.
        config: the requested configuration, as JSON data.
        hook_names: the hook points it holds.
        hooks: hook name → ``{"width": …, "mean_norm": …}``, of ``attn.hook_z`` ``"heads"``, too; empty until it is
            whole.
        tokens_total: requested tokens, or those of the text if they are known to be fewer.
        n_tokens: rows of every hook point; None until it is whole.
        context_size: tokens per context; None for imported states.
        dtype: number format of the rows; None until it is known.
        fingerprint: changes with every bit of it.
        host: the machine that captures it, or did last.
        started_by: the user; None if unknown.
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
    started_by: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether a training can read it."""
        return self.n_tokens is not None

    def holds(self, hook_name: str) -> bool:
        """Whether it has the rows of a hook point; once it is whole, those of one head of ``attn.hook_z``, too."""
        head = head_of(hook_name)
        heads = self.hooks.get(without_head(hook_name), {}).get("heads") or 0
        return hook_name in self.hook_names or (head is not None and head < heads)


@dataclass(frozen=True, slots=True, repr=False)
class CaptureEstimate(Shown):
    """An estimate of what a capture takes.

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
