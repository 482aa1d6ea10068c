"""Extractions and features as plain frozen values; see `records.py`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from saewidgets.errors import ConfigError
from saewidgets.events import JobStatus, Progress
from saewidgets.records import ErrorInfo, Shown

LabelSource = Literal["user", "auto", "imported"]


def check_index(index: int, d_sae: int, where: str = "index", owner: str = "this SAE") -> int:
    """`index`, if an SAE with `d_sae` latents has such a feature; else `ConfigError`."""
    if not 0 <= index < d_sae:
        raise ConfigError(
            f"There is no feature {index:,}: {owner} has {d_sae:,}.", where=where,
            hint=f"Choose one from 0 to {d_sae - 1:,}.",
        )
    return index


@dataclass(frozen=True, slots=True, repr=False)
class ExtractionRecord(Shown):
    """One extraction: an SAE read over a corpus. `status` and `progress` are its job's.

    Attributes:
        source_type: what it was started from: ``"training"`` or ``"sae"`` (one of the library).
        training_id, sae_id: both where the SAE was imported from a training that is still there.
        name: of the SAE, or of the training while it is not in the library.
        source: as of an `SAERecord`.
        config: `ExtractionConfig` as JSON data, with defaults and names such as "auto" made concrete.
        tokens_total: tokens to read.
        n_tokens: tokens that counted, without special ones and outliers; None until it has an end.
        seen, dead, dense: latents that fired, that did not, and that fired on more than 1 % of the tokens; None where
            that is not known yet. `seen` is known while it runs.
        size_bytes: of its files; None until it has an end.
        host: the machine that works on it, or did last.
        started_by: the user; None if unknown.
        repo_id: the repository that the SAE was downloaded from.
        training_name: of the training, while that is there.
        facts: what resuming needs beyond `config`: ``prepend_bos``, ``model_given``, ``validation_share``; and
            ``weights``, the files that were read, as `catalog.filestate.recorded` describes them.
        other_weights: the files of the SAE have been replaced since, so that what is computed with them now does not
            go with what was found; `note` says so. False if unknown.
    """

    id: str
    source_type: Literal["training", "sae"]
    training_id: str | None
    sae_id: str | None
    name: str
    source: str
    model: str
    hook_name: str
    layer: int | None
    d_sae: int
    config: Mapping[str, Any]
    status: JobStatus
    progress: Progress | None
    error: ErrorInfo | None
    note: str | None
    queue_position: int | None
    tokens_total: int
    n_tokens: int | None
    seen: int | None
    dead: int | None
    dense: int | None
    size_bytes: int | None
    host: str
    folder: str
    job_id: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None
    seconds_running: float
    facts: Mapping[str, Any] = field(default_factory=dict)
    other_weights: bool = False
    started_by: str | None = None
    repo_id: str | None = None
    training_name: str | None = None

    @property
    def has_data(self) -> bool:
        """Whether there is something to read: it has completed, or was stopped with what it had."""
        return self.n_tokens is not None


@dataclass(frozen=True, slots=True, repr=False)
class ExampleRecord(Shown):
    """A window of text with a latent's activation on every token.

    Attributes:
        tokens: the texts of the tokens; together they are the text.
        activations: one per token.
        peak: which token the window is about.
        value: the activation there.
        kind: ``"top"``, ``"interval"``, or ``"evidence"``: what a label was made from.
        position: stream position of the peak in its extraction; None for evidence.
        row, offset: which of the contexts that were read, and where in it; None for evidence.
    """

    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    peak: int
    value: float
    kind: str = "top"
    position: int | None = None
    row: int | None = None
    offset: int | None = None

    @property
    def text(self) -> str:
        return "".join(self.tokens)


@dataclass(frozen=True, slots=True, repr=False)
class LabelRecord(Shown):
    """A label of a latent: what it responds to, by a person, a model or an import.

    Attributes:
        text: a short phrase; ``""`` only together with `error`.
        source: ``"user"`` (a person wrote it here), ``"auto"`` (made here) or ``"imported"``.
        method, model: how it was made, and by whom.
        prompt_hash: of the exact question that it answers.
        scores: how well it was found to hold, each as JSON data with ``scorer value model n_judged n_asked …``.
        score, n_judged, n_asked: of the newest score with a value.
        by: its author and how well it holds, for people; ``""`` for a person.
        error: why there is no label, if the request failed.
        standing: the least one counts; of equal ones the newest.
        identity: the same for versions of one label.
    """

    index: int
    text: str
    description: str = ""
    source: LabelSource = "user"
    method: str = ""
    model: str = ""
    prompt_hash: str = ""
    scores: tuple[Mapping[str, Any], ...] = ()
    score: float | None = None
    n_judged: int | None = None
    n_asked: int | None = None
    by: str = ""
    error: str = ""
    created_at: float = 0.0
    standing: int = 0
    identity: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class FeatureRecord(Shown):
    """One latent: its labels, star and note, and what an extraction found.

    Attributes:
        id: ``feat_{sae or training}_{index}``.
        label: the one that counts; ``""`` without one.
        label_source, label_by: whose it is; ``""`` without one.
        labels: all of them, the one that counts first; lists leave them out.
        extraction_id: where the numbers are from; None without an extraction, then they are None.
        fired: counted tokens on which it fires; `density` is their share.
        max, mean: its largest activation, and the mean where it fires.
        top_tokens: the tokens at which its top examples peak most often.
    """

    id: str
    index: int
    sae_id: str | None
    training_id: str | None
    label: str = ""
    label_source: str = ""
    label_by: str = ""
    score: float | None = None
    notes: str = ""
    starred: bool = False
    labels: tuple[LabelRecord, ...] = ()
    extraction_id: str | None = None
    density: float | None = None
    fired: int | None = None
    max: float | None = None
    mean: float | None = None
    top_tokens: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class ExtractionEstimate(Shown):
    """An estimate of what an extraction will take.

    Attributes:
        seconds: of the whole pass; None where no rate is known.
        tokens_per_second: the rate that was computed from, and `basis` the words for its origin.
        disk_bytes, memory_bytes: at most about so much.
        disk_free, memory_free: of the workspace's disk and of the device; None where the system does not tell.
        device: where it will run.
        warnings: sentences for the person who is about to start it.
    """

    seconds: float | None
    tokens_per_second: float | None
    basis: str
    disk_bytes: int
    disk_free: int
    memory_bytes: int
    memory_free: int | None
    device: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, repr=False)
class RelatedRecord(Shown):
    """A latent that resembles or accompanies another one.

    Attributes:
        feature: the latent.
        value: the cosine of the decoder directions, or the share of firings on which both fire.
    """

    feature: FeatureRecord
    value: float

    COLUMNS: ClassVar[tuple[str, ...]] = (
        "index", "label", "value", "density", "max", "mean", "top_tokens", "starred", "id",
    )
    """The row for `Records.to_df`: only flat values, so that it can be sorted."""

    def to_row(self) -> dict[str, Any]:
        """The values of `COLUMNS`."""
        return {name: self.value if name == "value" else getattr(self.feature, name) for name in self.COLUMNS}

    @property
    def index(self) -> int:
        return self.feature.index


@dataclass(frozen=True, slots=True, repr=False)
class LogitsRecord(Shown):
    """What one unit of a latent does to the logits of the next token.

    Attributes:
        raises, lowers: (text of the token, change), the strongest first.
        counts, edges: histogram of the changes over the vocabulary; empty where only stored tables can be read.
        note: why that is so, or that the weights are others than the extraction's; ``""`` where all is well.
    """

    index: int
    raises: tuple[tuple[str, float], ...]
    lowers: tuple[tuple[str, float], ...]
    counts: tuple[int, ...] = ()
    edges: tuple[float, ...] = ()
    note: str = ""
