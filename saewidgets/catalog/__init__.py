"""What a workspace knows: runs, metrics, checkpoints, SAEs, jobs. tables inside, frozen records out; no torch."""

from saewidgets.catalog.catalog import Catalog, upgrade_catalog
from saewidgets.catalog.ids import new_sae_id, new_training_id
from saewidgets.catalog.metrics import MetricTable
from saewidgets.catalog.statuses import statuses

__all__ = ["Catalog", "MetricTable", "new_sae_id", "new_training_id", "statuses", "upgrade_catalog"]
