from __future__ import annotations

from collections.abc import Callable

import pytest

from saewidgets.catalog import Catalog
from saewidgets.catalog.tables import CheckpointRow
from saewidgets.errors import CatalogError, NotFoundError
from saewidgets.events import CheckpointSaved
from saewidgets.records import TrainingRecord


@pytest.fixture
def run(make_training: Callable[..., TrainingRecord]) -> TrainingRecord:
    return make_training()


def _saved(run: TrainingRecord, step: int, *kinds: str, removed: tuple[int, ...] = ()) -> CheckpointSaved:
    def path(s: int) -> str:
        return f"{run.folder}/checkpoints/step_{s:08}"

    return CheckpointSaved(step, step * 10, path(step), kinds, 100, {"fvu": 0.1}, tuple(path(s) for s in removed))  # type: ignore[arg-type]


def test_round_trip_and_totals(catalog: Catalog, run: TrainingRecord) -> None:
    first = catalog.checkpoints.add(run.id, _saved(run, 5, "latest", "best"))
    assert catalog.checkpoints.get(first.id) == first
    assert first.path == f"{run.folder}/checkpoints/step_00000005"
    assert (first.kinds, first.metrics, first.size_bytes) == (("latest", "best"), {"fvu": 0.1}, 100)
    catalog.checkpoints.add(run.id, _saved(run, 9, "latest"))
    record = catalog.trainings.get(run.id)
    assert (record.checkpoint_count, record.checkpoint_bytes) == (2, 200)
    assert (record.last_checkpoint_step, record.last_checkpoint_tokens) == (9, 90)


def test_one_latest_and_one_best(catalog: Catalog, run: TrainingRecord) -> None:
    catalog.checkpoints.add(run.id, _saved(run, 5, "latest", "best"))
    catalog.checkpoints.add(run.id, _saved(run, 9, "latest", "every"))
    assert [(c.step, c.kinds) for c in catalog.checkpoints.list(run.id)] == [(5, ("best",)), (9, ("latest", "every"))]
    best = catalog.checkpoints.list(run.id)[1]
    catalog.checkpoints.mark(best.id, ["best", "latest"])
    assert [c.kinds for c in catalog.checkpoints.list(run.id)] == [(), ("best", "latest")]


def test_replaced_ones_are_forgotten(catalog: Catalog, run: TrainingRecord) -> None:
    catalog.checkpoints.add(run.id, _saved(run, 5, "latest"))
    catalog.checkpoints.add(run.id, _saved(run, 9, "latest", removed=(5,)))
    assert [c.step for c in catalog.checkpoints.list(run.id)] == [9]


def test_a_step_written_again_is_one_checkpoint(catalog: Catalog, run: TrainingRecord) -> None:
    first = catalog.checkpoints.add(run.id, _saved(run, 5, "latest"))
    again = catalog.checkpoints.add(run.id, _saved(run, 5, "latest", "final", removed=(5,)))
    assert again.id == first.id
    assert [c.kinds for c in catalog.checkpoints.list(run.id)] == [("latest", "final")]


def test_only_what_is_on_disk_is_kept(catalog: Catalog, run: TrainingRecord) -> None:
    records = [catalog.checkpoints.add(run.id, _saved(run, s)) for s in (1, 2, 3)]
    assert catalog.checkpoints.keep_only(run.id, [records[1].path]) == 2
    assert [c.step for c in catalog.checkpoints.list(run.id)] == [2]


def test_delete(catalog: Catalog, run: TrainingRecord) -> None:
    record = catalog.checkpoints.add(run.id, _saved(run, 5))
    assert catalog.checkpoints.delete(record.id) == record
    with pytest.raises(NotFoundError):
        catalog.checkpoints.get(record.id)
    with pytest.raises(NotFoundError):
        catalog.checkpoints.mark(record.id, [])


def test_a_tampered_path_is_not_offered_for_deletion(catalog: Catalog, run: TrainingRecord) -> None:
    record = catalog.checkpoints.add(run.id, _saved(run, 5))

    def tamper(session):  # type: ignore[no-untyped-def]
        session.get(CheckpointRow, record.id).path = "/etc"

    catalog._database.write(tamper)
    with pytest.raises(CatalogError, match="not inside the workspace"):
        catalog.checkpoints.delete(record.id)
    assert len(catalog.checkpoints.list(run.id)) == 1
