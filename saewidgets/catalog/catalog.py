"""Defines `Catalog`, the open database of a workspace with a store per table."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

from saewidgets.catalog.checkpoint_queries import CheckpointQueries
from saewidgets.catalog.database import (
    Database,
    catalog_url,
    database_name,
    leave_wal,
    open_engine,
    set_journal,
    sqlite_path,
    translated,
)
from saewidgets.catalog.extraction_queries import ExtractionQueries
from saewidgets.catalog.feature_queries import FeatureQueries
from saewidgets.catalog.filestate import Files
from saewidgets.catalog.job_queries import JobQueries
from saewidgets.catalog.metric_queries import MetricQueries
from saewidgets.catalog.rows import now
from saewidgets.catalog.sae_queries import SAEQueries
from saewidgets.catalog.schema import check_remote, prepare_file
from saewidgets.catalog.store_queries import ActivationStoreQueries
from saewidgets.catalog.tables import DatasetRow, ModelRow
from saewidgets.catalog.template_queries import TemplateQueries, UsageQueries
from saewidgets.catalog.training_queries import TrainingQueries


class Catalog:
    """SQLite in the workspace folder, created or migrated on open, or a shared database, which must be at the right
    version. `notice` is a sentence for the user about how the catalog works here; `key` tells it from others that name
    files of the same folder, and stays the same after a move. `host` and `user` are where and by whom it is opened."""

    def __init__(
        self, folder: str | Path, url: str | None = None, host: str | None = None, user: str | None = None
    ) -> None:
        self.files = Files(Path(folder))
        self.host = host or socket.gethostname()
        database_url = catalog_url(self.files.folder, url)
        self.path = sqlite_path(database_url)
        self.notice: str | None = None
        name = database_name(database_url)
        self.key = hashlib.sha256((self.files.stored(self.path) if self.path else name).encode()).hexdigest()[:16]
        engine = open_engine(database_url)
        try:
            with translated(name):
                if self.path is not None:
                    leave_wal(self.path)
                    prepare_file(engine, self.path)
                    self.notice = set_journal(engine, self.path)
                    engine.dispose()  # connections set themselves up by the journal they find
                else:
                    check_remote(engine, name)
        except BaseException:
            engine.dispose()
            raise
        self._database = Database(engine, name)
        self.trainings = TrainingQueries(self._database, self.files, self.host)
        self.metrics = MetricQueries(self._database)
        self.checkpoints = CheckpointQueries(self._database, self.files)
        self.saes = SAEQueries(self._database, self.files, self.host)
        self.extractions = ExtractionQueries(self._database, self.files, self.host)
        self.activations = ActivationStoreQueries(self._database, self.files, self.host)
        self.features = FeatureQueries(self._database)
        self.templates = TemplateQueries(self._database)
        self.models = UsageQueries(self._database, ModelRow)
        self.datasets = UsageQueries(self._database, DatasetRow)
        self.jobs = JobQueries(self._database, self.files, user)

    def now(self) -> float:
        """The database's clock: what heartbeats are compared with."""
        with self._database.read() as session:
            return now(session)

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
