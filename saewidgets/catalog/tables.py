"""The tables, as typed models. Constraints and the indexes that queries use are part of the schema.

Times are Unix seconds by the database's clock, except where a row repeats an event's own time. Paths are relative to
the workspace folder (see `filestate.py`). Whoever changes a table adds a migration; a test compares the two.
"""

import json
import math
from typing import Any, ClassVar

from sqlalchemy import BigInteger, CheckConstraint, Dialect, Float, ForeignKey, Index, Integer, MetaData, String, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeDecorator

from saewidgets.events import JobStatus

_UNIX_EPOCH_AS_JULIAN_DAY = 2440587.5
# What `json.loads` does around it (white space, encodings) takes as long as the small data of most rows, and a library
# has thousands.
_decode = json.JSONDecoder().raw_decode


class Json(TypeDecorator[Any]):
    """Plain JSON data as text, and not the database's own JSON type, because metrics may be NaN or infinite: Python's
    `json` reads and writes them, PostgreSQL's type refuses them."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        if value == "[]":
            return []  # most lists are empty
        return None if value is None else _decode(value)[0]


class AnyFloat(TypeDecorator[float]):
    """A double that may be NaN. SQLite has no NaN (it stores NULL), so NULL stands for it everywhere."""

    impl = Float(53)
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        return None if value is None or math.isnan(value) else float(value)

    def process_result_value(self, value: float | None, dialect: Dialect) -> float:
        return math.nan if value is None else float(value)


class _OrUnknown(TypeDecorator[Any]):
    """What files may not say, in a column that is never null: `unknown` stands for None."""

    unknown: ClassVar[str | int]

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return self.unknown if value is None else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return None if value == self.unknown else value


class ModelName(_OrUnknown):
    """Of an SAE."""

    impl, unknown, cache_ok = String, "unknown", True


class LayerNumber(_OrUnknown):
    """Of an SAE."""

    impl, unknown, cache_ok = Integer, -1, True


class database_now(FunctionElement[float]):  # noqa: N801 - reads as the SQL function it is
    """The database's clock in Unix seconds (UTC). All ages (heartbeats, leases) are computed with this one clock, so
    that processes need not agree on theirs."""

    type = Float(53)
    inherit_cache = True
    name = "database_now"


@compiles(database_now, "sqlite")
def _sqlite_now(element: database_now, compiler: SQLCompiler, **kw: Any) -> str:
    return f"((julianday('now') - {_UNIX_EPOCH_AS_JULIAN_DAY}) * 86400.0)"


@compiles(database_now, "postgresql")
def _postgresql_now(element: database_now, compiler: SQLCompiler, **kw: Any) -> str:
    # clock_timestamp moves within a transaction, CURRENT_TIMESTAMP would not.
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"


@compiles(database_now)
def _mysql_now(element: database_now, compiler: SQLCompiler, **kw: Any) -> str:
    return "CAST(UNIX_TIMESTAMP(NOW(6)) AS DOUBLE)"


SOURCES = ("trained", "huggingface", "gemma_scope", "local")
COMMANDS = ("pause", "resume", "stop", "cancel")
LEVELS = ("info", "warning", "error")
LABEL_SOURCES = ("user", "auto", "imported")


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(v) for v in values)})", name=column)


def _one_origin() -> CheckConstraint:
    """A row belongs to a training or to an SAE of the library."""
    return CheckConstraint("(training_id IS NULL) <> (external_sae_id IS NULL)", name="one_origin")


class Base(DeclarativeBase):
    """Names every constraint, so that later migrations can find them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own hook
        str: Text(),
        float: Float(53),
        int: BigInteger(),
        dict[str, Any]: Json(),
        list[str]: Json(),
    }


Key = String(160)


class UsedRow(Base):
    """A model or dataset that was used here: offered as a suggestion."""

    __abstract__ = True

    name: Mapped[str] = mapped_column(String(512), primary_key=True)
    facts: Mapped[dict[str, Any]]
    uses: Mapped[int]
    created_at: Mapped[float]
    used_at: Mapped[float] = mapped_column(index=True)


class ModelRow(UsedRow):
    """A language model."""

    __tablename__ = "models"


class DatasetRow(UsedRow):
    """A corpus, by its label."""

    __tablename__ = "datasets"


def _model_id() -> Mapped[str | None]:
    """The model, where it is among those that were used here; null once it is forgotten."""
    return mapped_column(String(512), ForeignKey("models.name", ondelete="SET NULL"), index=True)


def _dataset_id() -> Mapped[str | None]:
    return mapped_column(String(512), ForeignKey("datasets.name", ondelete="SET NULL"), index=True)


class JobRow(Base):
    """Anything that runs in the background, in any process."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(Key, primary_key=True)
    kind: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(16))
    lane: Mapped[str] = mapped_column(String(255))
    payload: Mapped[dict[str, Any]]
    owner: Mapped[str | None] = mapped_column(String(255))
    heartbeat_at: Mapped[float | None]
    command: Mapped[str | None] = mapped_column(String(16))
    progress: Mapped[dict[str, Any] | None] = mapped_column(Json())
    error: Mapped[dict[str, Any] | None] = mapped_column(Json())
    note: Mapped[str | None]
    result: Mapped[Any | None] = mapped_column(Json())
    seconds_running: Mapped[float] = mapped_column(default=0.0)
    running_since: Mapped[float | None]
    started_by: Mapped[str | None] = mapped_column(String(255))
    created_at: Mapped[float]
    queue_number: Mapped[int]  # place in the queue of its lane: 1 + the largest so far
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    updated_at: Mapped[float]

    __table_args__ = (
        _one_of("status", tuple(s.value for s in JobStatus)),
        CheckConstraint("command IS NULL OR " + str(_one_of("command", COMMANDS).sqltext), name="command"),
        Index("ix_jobs_status_lane_queue_number", "status", "lane", "queue_number"),
        Index("ix_jobs_updated_at", "updated_at"),
    )


class LeaseRow(Base):
    """The owner of each occupied slot of a lane."""

    __tablename__ = "leases"

    lane: Mapped[str] = mapped_column(String(255), primary_key=True)
    slot: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    job_id: Mapped[str] = mapped_column(Key, ForeignKey("jobs.id", ondelete="CASCADE"), unique=True)
    owner: Mapped[str] = mapped_column(String(255))
    acquired_at: Mapped[float]
    heartbeat_at: Mapped[float]

    __table_args__ = (CheckConstraint("slot >= 0", name="slot"),)


class JobLogRow(Base):
    """One line of a job's log; of one of its trainings, where it has several."""

    __tablename__ = "job_logs"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    job_id: Mapped[str] = mapped_column(Key, ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    time: Mapped[float]
    level: Mapped[str] = mapped_column(String(16))
    message: Mapped[str]
    training_id: Mapped[str | None] = mapped_column(Key)

    __table_args__ = (_one_of("level", LEVELS),)


class TrainingRow(Base):
    """One training run. Its status and progress are its job's; runs that share a job share a `group_id`.

    One that ended before the others of its group has a status of its own, and the error or the time that belong to it;
    `own_command` was requested for it alone and is pending.
    """

    __tablename__ = "trainings"

    id: Mapped[str] = mapped_column(Key, primary_key=True)
    name: Mapped[str]
    config: Mapped[dict[str, Any]]
    model: Mapped[str] = mapped_column(String(512), index=True)
    model_id: Mapped[str | None] = _model_id()
    corpus: Mapped[str]
    dataset_id: Mapped[str | None] = _dataset_id()
    hook_name: Mapped[str] = mapped_column(String(255))
    architecture: Mapped[str] = mapped_column(String(64))
    d_sae: Mapped[int]
    d_in: Mapped[int | None]
    device: Mapped[str] = mapped_column(String(64))
    lane: Mapped[str] = mapped_column(String(255))
    tokens_total: Mapped[int]
    tokens_done: Mapped[int] = mapped_column(default=0)
    step: Mapped[int] = mapped_column(default=0)
    latest: Mapped[dict[str, Any]]
    facts: Mapped[dict[str, Any]]
    note: Mapped[str | None]
    sae_path: Mapped[str | None]
    host: Mapped[str] = mapped_column(String(255))
    folder: Mapped[str]
    job_id: Mapped[str | None] = mapped_column(Key, ForeignKey("jobs.id", ondelete="SET NULL"), index=True)
    retry_of: Mapped[str | None] = mapped_column(Key, ForeignKey("trainings.id", ondelete="SET NULL"), index=True)
    group_id: Mapped[str | None] = mapped_column(Key, index=True)
    created_at: Mapped[float] = mapped_column(index=True)
    own_status: Mapped[str | None] = mapped_column(String(16))
    own_command: Mapped[str | None] = mapped_column(String(16))
    own_error: Mapped[dict[str, Any] | None] = mapped_column(Json())
    ended_at: Mapped[float | None]

    __table_args__ = (
        CheckConstraint("d_sae > 0", name="d_sae"),
        CheckConstraint("tokens_total > 0", name="tokens_total"),
        CheckConstraint("tokens_done >= 0 AND step >= 0", name="progress"),
    )


class TemplateRow(Base):
    """A training configuration that is kept under a name, to start runs from.

    `config` says everything; `model_id` and `dataset_id` are what forms suggest.
    """

    __tablename__ = "training_templates"

    id: Mapped[str] = mapped_column(Key, primary_key=True)
    name: Mapped[str] = mapped_column(String(160))
    description: Mapped[str] = mapped_column(default="")
    model_id: Mapped[str | None] = _model_id()
    dataset_id: Mapped[str | None] = _dataset_id()
    corpus: Mapped[str]
    architecture: Mapped[str] = mapped_column(String(64))
    config: Mapped[dict[str, Any]]
    favorite: Mapped[bool] = mapped_column(default=False)
    details: Mapped[dict[str, Any]]
    created_at: Mapped[float]
    updated_at: Mapped[float]

    __table_args__ = (Index("uq_training_templates_name", "name", unique=True),)


class MetricRow(Base):
    """One named value at one step. The key keeps a series together, so that reading it is one range scan."""

    __tablename__ = "training_metrics"

    training_id: Mapped[str] = mapped_column(Key, ForeignKey("trainings.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tokens: Mapped[int]
    time: Mapped[float]
    value: Mapped[float] = mapped_column(AnyFloat(), nullable=True)

    __table_args__ = (
        Index("ix_training_metrics_training_id_time", "training_id", "time"),
        {"sqlite_with_rowid": False},
    )


class CheckpointRow(Base):
    """A whole checkpoint on disk."""

    __tablename__ = "checkpoints"

    id: Mapped[str] = mapped_column(Key, primary_key=True)
    training_id: Mapped[str] = mapped_column(Key, ForeignKey("trainings.id", ondelete="CASCADE"))
    step: Mapped[int]
    tokens: Mapped[int]
    path: Mapped[str] = mapped_column(String(1024))
    kinds: Mapped[list[str]]
    size_bytes: Mapped[int]
    metrics: Mapped[dict[str, Any]]
    created_at: Mapped[float]

    __table_args__ = (
        Index("ix_checkpoints_training_id_step", "training_id", "step"),
        Index("uq_checkpoints_training_id_path", "training_id", "path", unique=True),
        CheckConstraint("step >= 0 AND tokens >= 0 AND size_bytes >= 0", name="sizes"),
    )


class SAERow(Base):
    """An SAE in the library, trained here or brought in. It outlives the training it came from.

    One place on the hub (repository, commit, folder) has one row. `files` are the names and sizes of its files when it
    was taken in; null in rows from before they were recorded. `statistics` are null until they are computed.
    """

    __tablename__ = "external_saes"

    id: Mapped[str] = mapped_column(Key, primary_key=True)
    name: Mapped[str]
    source: Mapped[str] = mapped_column(String(32))
    model: Mapped[str | None] = mapped_column(ModelName(512), index=True, nullable=False)
    model_id: Mapped[str | None] = _model_id()
    hook_name: Mapped[str | None] = mapped_column(String(255))
    layer: Mapped[int | None] = mapped_column(LayerNumber(), index=True, nullable=False)
    architecture: Mapped[str] = mapped_column(String(64), index=True)
    d_in: Mapped[int]
    d_sae: Mapped[int]
    format: Mapped[str] = mapped_column(String(64), index=True)
    path: Mapped[str]
    training_id: Mapped[str | None] = mapped_column(Key, ForeignKey("trainings.id", ondelete="SET NULL"), unique=True)
    size_bytes: Mapped[int]
    host: Mapped[str] = mapped_column(String(255))
    details: Mapped[dict[str, Any]]
    created_at: Mapped[float] = mapped_column(index=True)
    d_out: Mapped[int | None]
    dtype: Mapped[str | None] = mapped_column(String(32))
    repo_id: Mapped[str | None] = mapped_column(String(255))
    revision: Mapped[str | None] = mapped_column(String(64))
    repo_path: Mapped[str | None] = mapped_column(String(512))
    notes: Mapped[str] = mapped_column(server_default="")
    tags: Mapped[list[str]] = mapped_column(server_default="[]")
    statistics: Mapped[dict[str, Any] | None] = mapped_column(Json())
    files: Mapped[dict[str, Any] | None] = mapped_column(Json())
    updated_at: Mapped[float] = mapped_column(server_default="0")

    __table_args__ = (
        _one_of("source", SOURCES),
        CheckConstraint("d_in > 0 AND d_sae > 0 AND size_bytes >= 0", name="sizes"),
        CheckConstraint("training_id IS NULL OR source = 'trained'", name="training"),
        Index("ix_external_saes_source_created_at", "source", "created_at"),
        # Nulls are different from each other, so that this binds downloads only.
        Index("uq_external_saes_repo_id_revision_repo_path", "repo_id", "revision", "repo_path", unique=True),
    )


class ExtractionRow(Base):
    """One extraction: an SAE read over a corpus. Its status and progress are its job's, its arrays are in its folder.

    It belongs to what it was started from: a training, or an SAE of the library. `n_tokens`, `dead` and `dense` are
    null until it has an end; `seen` too, unless it is paused (all but the first count latents).
    """

    __tablename__ = "extraction_jobs"

    id: Mapped[str] = mapped_column(Key, primary_key=True)
    training_id: Mapped[str | None] = mapped_column(Key, ForeignKey("trainings.id", ondelete="CASCADE"))
    external_sae_id: Mapped[str | None] = mapped_column(Key, ForeignKey("external_saes.id", ondelete="CASCADE"))
    config: Mapped[dict[str, Any]]
    model: Mapped[str] = mapped_column(String(512))
    hook_name: Mapped[str] = mapped_column(String(255))
    layer: Mapped[int | None] = mapped_column(Integer)
    d_sae: Mapped[int]
    tokens_total: Mapped[int]
    n_tokens: Mapped[int | None]
    seen: Mapped[int | None]
    dead: Mapped[int | None]
    dense: Mapped[int | None]
    size_bytes: Mapped[int | None]
    facts: Mapped[dict[str, Any]]
    note: Mapped[str | None]
    host: Mapped[str] = mapped_column(String(255))
    folder: Mapped[str]
    job_id: Mapped[str | None] = mapped_column(Key, ForeignKey("jobs.id", ondelete="SET NULL"), index=True)
    created_at: Mapped[float] = mapped_column(index=True)

    __table_args__ = (
        _one_origin(),
        CheckConstraint("d_sae > 0 AND tokens_total > 0", name="sizes"),
        Index("ix_extraction_jobs_training_id_created_at", "training_id", "created_at"),
        Index("ix_extraction_jobs_external_sae_id_created_at", "external_sae_id", "created_at"),
    )


class FeatureRow(Base):
    """Labels, a star or a note of one latent; they outlive every extraction. Latents without any have no row.

    `label`, `label_source`, `label_by` and `score` repeat the label that counts, so that lists need no other table;
    `extraction_job_id` is the extraction that its newest label was made from.
    `updated_at` grows with every change of the row or its labels, within one SAE or training strictly.
    """

    __tablename__ = "features"

    id: Mapped[str] = mapped_column(Key, primary_key=True)
    training_id: Mapped[str | None] = mapped_column(Key, ForeignKey("trainings.id", ondelete="CASCADE"))
    external_sae_id: Mapped[str | None] = mapped_column(Key, ForeignKey("external_saes.id", ondelete="CASCADE"))
    extraction_job_id: Mapped[str | None] = mapped_column(
        Key, ForeignKey("extraction_jobs.id", ondelete="SET NULL"), index=True
    )
    neuron_index: Mapped[int]
    label: Mapped[str] = mapped_column(default="")
    label_source: Mapped[str | None] = mapped_column(String(16))
    label_by: Mapped[str] = mapped_column(default="")
    score: Mapped[float | None]
    notes: Mapped[str] = mapped_column(default="")
    starred: Mapped[bool] = mapped_column(default=False)
    created_at: Mapped[float]
    updated_at: Mapped[float]

    __table_args__ = (
        _one_origin(),
        CheckConstraint("neuron_index >= 0", name="neuron_index"),
        CheckConstraint(
            "label_source IS NULL OR " + str(_one_of("label_source", LABEL_SOURCES).sqltext), name="label_source"
        ),
        # Nulls are different from each other, so that each binds the features of its kind only.
        Index("uq_features_training_id_neuron_index", "training_id", "neuron_index", unique=True),
        Index("uq_features_external_sae_id_neuron_index", "external_sae_id", "neuron_index", unique=True),
        Index("ix_features_training_id_updated_at", "training_id", "updated_at"),
        Index("ix_features_external_sae_id_updated_at", "external_sae_id", "updated_at"),
    )


class LabelRow(Base):
    """One label of a latent, by a person, a model or an import. `identity` tells versions of one from others.

    `standing` orders the labels of a latent: the least counts, of equal ones the newest; `error`: why there is none.
    """

    __tablename__ = "feature_labels"

    id: Mapped[str] = mapped_column(Key, primary_key=True)
    feature_id: Mapped[str] = mapped_column(Key, ForeignKey("features.id", ondelete="CASCADE"))
    identity: Mapped[str] = mapped_column(String(64))
    source: Mapped[str] = mapped_column(String(16))
    standing: Mapped[int] = mapped_column(Integer)
    text: Mapped[str]
    description: Mapped[str] = mapped_column(default="")
    method: Mapped[str] = mapped_column(default="")
    model: Mapped[str] = mapped_column(default="")
    prompt_hash: Mapped[str] = mapped_column(String(128), default="")
    scores: Mapped[list[Any]] = mapped_column(Json())
    score: Mapped[float | None]
    n_judged: Mapped[int | None]
    n_asked: Mapped[int | None]
    by: Mapped[str] = mapped_column("said_by", default="")
    error: Mapped[str] = mapped_column(default="")
    created_at: Mapped[float]

    __table_args__ = (
        _one_of("source", LABEL_SOURCES),
        Index("uq_feature_labels_feature_id_identity", "feature_id", "identity", unique=True),
    )


class FeatureActivationRow(Base):
    """One of the few examples that a label was made from: a window of tokens with the latent's activations."""

    __tablename__ = "feature_activations"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    feature_id: Mapped[str] = mapped_column(Key, ForeignKey("features.id", ondelete="CASCADE"), index=True)
    label_id: Mapped[str] = mapped_column(Key, ForeignKey("feature_labels.id", ondelete="CASCADE"), index=True)
    extraction_job_id: Mapped[str | None] = mapped_column(
        Key, ForeignKey("extraction_jobs.id", ondelete="SET NULL"), index=True
    )
    tokens: Mapped[list[str]]
    activations: Mapped[list[Any]] = mapped_column(Json())
    peak: Mapped[int]
    value: Mapped[float]

    __table_args__ = (CheckConstraint("peak >= 0", name="peak"),)


class ActivationStoreRow(Base):
    """Activations on disk. Its status and progress are its job's, its arrays lie in its folder.

    `n_tokens`, `size_bytes`, `fingerprint` and `files` are null until it is whole.
    """

    __tablename__ = "activation_stores"

    id: Mapped[str] = mapped_column(Key, primary_key=True)
    name: Mapped[str]
    source: Mapped[str] = mapped_column(String(16))
    model: Mapped[str | None] = mapped_column(String(512))
    corpus: Mapped[str]
    hook_names: Mapped[list[str]]
    dtype: Mapped[str | None] = mapped_column(String(16))
    context_size: Mapped[int | None]
    config: Mapped[dict[str, Any]]
    tokens_total: Mapped[int]
    n_tokens: Mapped[int | None]
    size_bytes: Mapped[int | None]
    fingerprint: Mapped[str | None] = mapped_column(String(64))
    facts: Mapped[dict[str, Any]]
    files: Mapped[dict[str, Any] | None] = mapped_column(Json())
    note: Mapped[str | None]
    host: Mapped[str] = mapped_column(String(255))
    folder: Mapped[str]
    job_id: Mapped[str | None] = mapped_column(Key, ForeignKey("jobs.id", ondelete="SET NULL"), index=True)
    created_at: Mapped[float] = mapped_column(index=True)

    __table_args__ = (
        _one_of("source", ("captured", "imported")),
        CheckConstraint("tokens_total > 0", name="tokens_total"),
    )
