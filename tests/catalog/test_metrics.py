import math
from pathlib import Path

import pytest
from sqlalchemy import text

from saewidgets.catalog import Catalog
from saewidgets.events import Metrics
from tests.catalog.conftest import Make
from tests.postgresql import BOTH

DATABASES = BOTH


@pytest.fixture
def run(make_training: Make) -> str:
    return make_training().id


def _measured(steps: range, **values: float) -> list[Metrics]:
    return [Metrics(s, s * 10, values or {"loss": 1 / (s + 1), "l0": 32.0}, time=1000.0 + s) for s in steps]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_kept(catalog: Catalog, run: str, value: float) -> None:
    catalog.metrics.append(run, [Metrics(1, 1, {"loss": value})])
    (found,) = catalog.metrics.query(run).value
    for got in (found, catalog.trainings.get(run).latest["loss"]):
        assert got == value or (math.isnan(got) and math.isnan(value))


def test_a_step_is_never_doubled(catalog: Catalog, run: str) -> None:
    catalog.metrics.append(run, _measured(range(10)))
    catalog.metrics.append(run, _measured(range(5, 12), loss=7.0))
    found = catalog.metrics.query(run, ["loss"])
    assert list(found.step) == list(range(12))
    assert list(found.value)[5:] == [7.0] * 7


def test_truncate_goes_back_to_a_checkpoint(catalog: Catalog, run: str) -> None:
    catalog.metrics.append(run, [*_measured(range(10)), Metrics(4, 40, {"ce_loss_score": 0.9})])
    catalog.metrics.truncate(run, after_step=5)
    assert max(catalog.metrics.query(run).step) == 5
    assert catalog.trainings.get(run).latest == {"loss": 1 / 6, "l0": 32.0, "ce_loss_score": 0.9}


def test_queries_use_the_indexes(folder: Path) -> None:
    plans = {
        "SELECT value FROM training_metrics WHERE training_id='a' AND name='x' AND step >= 5": "PRIMARY KEY",
        "SELECT value FROM training_metrics WHERE training_id='a' AND time > 5": "ix_training_metrics_training_id_time",
        "SELECT id FROM jobs WHERE status='queued' ORDER BY queue_number": "ix_jobs_status_lane_queue_number",
        "SELECT id FROM jobs WHERE updated_at > 5": "ix_jobs_updated_at",
        "SELECT id FROM trainings WHERE job_id IN ('a')": "ix_trainings_job_id",
    }
    for column in ("external_sae_id", "training_id"):
        query = f"SELECT id FROM extraction_jobs WHERE {column} = 'x' ORDER BY created_at"
        plans[query] = f"ix_extraction_jobs_{column}_created_at"
    with Catalog(folder) as catalog, catalog._database.engine.connect() as connection:
        for query, index in plans.items():
            plan = " ".join(str(row) for row in connection.execute(text(f"EXPLAIN QUERY PLAN {query}")))
            assert index in plan, (query, plan)


def test_pages_and_steps(catalog: Catalog, run: str) -> None:
    catalog.metrics.append(run, _measured(range(10)))
    for filters, expected in (
        ({"since": 1003.0, "until": 1006.0}, [3, 4, 5]), ({"min_step": 7}, [7, 8, 9]),
        ({"limit": 3, "offset": 2}, [2, 3, 4]), ({"offset": 8}, [8, 9]), ({"limit": 0}, []),
    ):
        assert list(catalog.metrics.query(run, ["loss"], **filters).step) == expected  # type: ignore[arg-type]
