"""The catalog of a workspace: runs, metrics, checkpoints, SAEs, jobs. Returns frozen records; no torch."""

from saewidgets.catalog.catalog import Catalog
from saewidgets.catalog.extraction_queries import new_extraction_id
from saewidgets.catalog.metric_queries import MetricTable
from saewidgets.catalog.origins import Origin, split_feature_id
from saewidgets.catalog.rows import new_group_id, new_sae_id, new_store_id, new_training_id, statuses

__all__ = [
    "Catalog", "MetricTable", "Origin", "new_extraction_id", "new_group_id", "new_sae_id",
    "new_store_id", "new_training_id", "split_feature_id", "statuses",
]  # fmt: skip
