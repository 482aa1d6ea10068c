from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from saewidgets.catalog import Catalog, new_training_id
from saewidgets.records import TrainingRecord

Make = Callable[..., Any]
"""Makes a row and gives its record."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "workspace"


@pytest.fixture
def catalog(folder: Path, database_url: str | None) -> Iterator[Catalog]:
    with Catalog(folder, database_url, host="box", user="ada") as opened:
        yield opened


@pytest.fixture
def make_training(catalog: Catalog) -> Make:
    """A run with a job, which is queued."""

    def make(name: str = "run", *, job: str | None = None, **changes: Any) -> TrainingRecord:
        if job is not None:
            catalog.jobs.add(job, kind="training", lane="box/cpu", payload={}, owner="me")
        values: dict[str, Any] = {
            "name": name, "config": {"sae": {"k": 32}}, "model": "demo", "corpus": "demo",
            "hook_name": "blocks.2.hook_resid_post", "architecture": "topk", "d_sae": 2048, "device": "cpu",
            "lane": "box/cpu", "tokens_total": 1000, "folder": catalog.files.folder / "trainings" / name, "job_id": job,
        }  # fmt: skip
        values = {"id": new_training_id(), **values, **changes}
        catalog.trainings.create_all([values])
        return catalog.trainings.get(values["id"])

    return make
