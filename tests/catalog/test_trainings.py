import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from saewidgets.catalog import Catalog
from saewidgets.catalog.tables import TrainingRow
from saewidgets.config.names import free_name
from saewidgets.errors import CatalogError, NotFoundError, StateError
from saewidgets.events import CheckpointSaved, Metrics
from saewidgets.events import JobStatus as S
from tests.catalog.conftest import Make
from tests.postgresql import BOTH

DATABASES = BOTH


def test_what_begins_at_once_is_called_differently(catalog: Catalog, make_training: Make) -> None:
    values = dataclasses.asdict(make_training("like"))
    kept = ("config", "model", "corpus", "hook_name", "architecture", "d_sae", "device", "lane", "tokens_total")
    numbers = range(4)
    ready = Barrier(len(numbers))

    def begin(number: int) -> None:
        payload = {"group_name": "sweep"}
        catalog.jobs.add(f"job_{number}", kind="training", lane="box/cpu", payload=payload, owner="me")
        ready.wait(30)
        run = {name: values[name] for name in kept} | {
            "id": f"train_{number}", "name": "topk", "name_given": False, "job_id": f"job_{number}",
            "group_id": f"g{number}",
            "folder": catalog.files.folder / "trainings" / str(number),
        }  # fmt: skip
        catalog.trainings.create_all([run, {**run, "id": f"more_{number}", "name_given": number == 0}], free_name)

    with ThreadPoolExecutor(len(numbers)) as pool:
        list(pool.map(begin, numbers))
    names = [catalog.trainings.get(f"train_{number}").group_name for number in numbers]
    assert sorted(map(str, names)) == ["sweep", "sweep-2", "sweep-3", "sweep-4"]
    own = [catalog.trainings.get(f"{which}_{number}").name for which in ("train", "more") for number in numbers]
    given = own.pop(len(numbers))
    assert given == "topk"  # as it was asked for, whoever else has it
    assert all(name == "topk" or name.startswith("topk-") for name in own)
    assert len(set(own)) == len(own)


def test_it_is_on_the_machine_that_resumed_it(catalog: Catalog, make_training: Make) -> None:
    run = make_training(job="job_1")
    assert (run.host, run.started_by) == ("box", "ada")
    assert catalog.jobs.get("job_1").started_by == "ada"
    catalog.jobs.change("job_1", {"status": S.QUEUED, "lane": "gpu-box/cuda:0"}, when={S.QUEUED})
    again = catalog.trainings.get(run.id)
    assert (again.host, again.started_by) == ("gpu-box", "ada")
    catalog.jobs.delete("job_1")
    assert (catalog.trainings.get(run.id).host, catalog.trainings.get(run.id).started_by) == ("box", None)


def test_without_a_job_it_reads_interrupted(catalog: Catalog, make_training: Make) -> None:
    run = make_training(job="job_1")
    catalog.jobs.delete("job_1")
    assert catalog.trainings.get(run.id).status is S.INTERRUPTED
    assert [r.id for r in catalog.trainings.list(status="interrupted")] == [run.id]


def test_list_filters_searches_pages_and_orders(catalog: Catalog, make_training: Make) -> None:
    a = make_training("Alpha", job="job_1", model="gpt2")
    b = make_training("beta_100%", job="job_2", hook_name="blocks.7.hook_mlp_out")
    c = make_training("gamma", architecture="jumprelu", tokens_total=5)
    catalog.jobs.change("job_2", {"status": S.PAUSED}, when={S.QUEUED})

    def ids(**filters: object) -> list[str]:
        return [r.id for r in catalog.trainings.list(**filters)]  # type: ignore[arg-type]

    assert ids() == [c.id, b.id, a.id]
    assert ids(status=S.PAUSED) == [b.id]
    assert ids(status=["queued", S.PAUSED]) == [b.id, a.id]
    for name in ("gpt2", "gpt2-small", "openai-community/gpt2"):  # names of one model
        assert ids(model=name) == [a.id]
    assert ids(search="ALPHA") == [a.id]
    assert ids(search="mlp_out") == [b.id]
    assert ids(search="100%") == [b.id]
    assert ids(search="%") == [b.id]  # a character, not a pattern
    assert ids(search=c.id[-8:].lower()) == [c.id]
    assert ids(search="jumprelu", status="queued") == []
    assert ids(limit=1, offset=1) == [b.id]
    assert len(catalog.trainings.list().to_df()) == 3


def test_delete_takes_everything_along(catalog: Catalog, make_training: Make) -> None:
    run = make_training("run", job="job_1")
    other = make_training("other", retry_of=run.id)
    catalog.metrics.append(run.id, [Metrics(1, 1, {"loss": 1.0})])
    catalog.checkpoints.add(run.id, CheckpointSaved(1, 1, f"{run.folder}/checkpoints/1", ("latest",), 10))
    with pytest.raises(StateError, match="is queued"):
        catalog.trainings.delete(run.id)
    catalog.jobs.change("job_1", {"status": S.STOPPED}, when={S.QUEUED})
    assert catalog.trainings.delete(run.id) == Path(run.folder)
    assert len(catalog.metrics.query(run.id)) == 0
    assert len(catalog.checkpoints.list(run.id)) == 0
    with pytest.raises(NotFoundError):
        catalog.jobs.get("job_1")
    with pytest.raises(NotFoundError):
        catalog.trainings.get(run.id)
    assert catalog.trainings.get(other.id).retry_of is None


def test_an_imported_sae_outlives_its_training(catalog: Catalog, make_training: Make) -> None:
    run = make_training()
    values = {"source": "trained", "architecture": "topk", "d_in": 8, "d_sae": 16, "format": "saelens", "size_bytes": 1}
    inside = catalog.saes.add(name="in", path=f"{run.folder}/sae", training_id=run.id, **values)  # type: ignore[arg-type]
    assert catalog.trainings.get(run.id).sae_id == inside.id
    with pytest.raises(StateError, match="has its files in the folder"):
        catalog.trainings.delete(run.id)
    catalog.saes.delete(inside.id)
    copy = catalog.saes.add(name="copy", path="saes/copy", training_id=run.id, **values)  # type: ignore[arg-type]
    catalog.trainings.delete(run.id)
    assert catalog.saes.get(copy.id).training_id is None


def test_a_tampered_folder_is_never_offered_for_deletion(catalog: Catalog, make_training: Make) -> None:
    run = make_training()
    for folder in ("../../home", "/etc", "."):
        def tamper(session, folder=folder):  # type: ignore[no-untyped-def]
            session.get(TrainingRow, run.id).folder = folder

        catalog._database.write(tamper)
        with pytest.raises(CatalogError):
            catalog.trainings.delete(run.id)
    with catalog._database.read() as session:
        assert session.get(TrainingRow, run.id) is not None


def test_a_moved_workspace_keeps_its_runs(
    catalog: Catalog, make_training: Make, tmp_path: Path, database_url: str | None
) -> None:
    run = make_training("run")
    catalog.metrics.append(run.id, [Metrics(1, 1, {"loss": math.nan})])
    catalog.close()
    moved = tmp_path / "moved"
    catalog.files.folder.mkdir(exist_ok=True)  # of a shared catalog nothing is in it yet
    catalog.files.folder.rename(moved)
    with Catalog(moved, database_url) as again:
        assert again.trainings.get(run.id).folder == str(moved / "trainings" / "run")
