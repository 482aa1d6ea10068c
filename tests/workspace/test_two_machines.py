"""Two machines with a folder each and one catalog on a PostgreSQL server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from saewidgets.errors import ConfigError, StateError
from saewidgets.events import JobStatus
from saewidgets.settings import Settings
from saewidgets.widgets.sae_browser.state import BrowserModel
from saewidgets.workspace import Workspace, child
from tests.workspace.conftest import ENDLESS, completed, small_config

DATABASES = ("postgresql",)


def _machine(tmp_path: Path, name: str, url: str | None, host: str | None = None) -> Workspace:
    settings = Settings(home=tmp_path / name, host=host or name, user=f"{name} user")
    return Workspace(tmp_path / name, catalog_url=url, settings=settings)


@pytest.fixture
def machines(tmp_path: Path, database_url: str | None) -> Iterator[tuple[Workspace, Workspace]]:
    with _machine(tmp_path, "here", database_url) as here, _machine(tmp_path, "there", database_url) as there:
        yield here, there


def test_what_has_its_files_elsewhere_is_seen_but_neither_resumed_nor_deleted(
    machines: tuple[Workspace, Workspace], tiny_model_folder: Path, tmp_path: Path, database_url: str | None
) -> None:
    here, there = machines
    other = _machine(tmp_path, "other", database_url, host="there")
    run = completed(there.trainings.create(small_config(tiny_model_folder)))
    seen = here.trainings.get(run.id)
    assert (seen.record.host, seen.status, len(seen.metrics())) == ("there", JobStatus.COMPLETED, len(run.metrics()))
    longer = there.trainings.create(small_config(tiny_model_folder, name="longer", **ENDLESS))
    waits = there.extractions.create(training_id=run.id, config={"tokens": 256})
    waits.cancel()
    there.extractions.delete(waits.id)
    longer.pause()
    longer.wait(60)
    assert longer.status is JobStatus.PAUSED
    before = there.trainings.get(longer.id).record
    for refused in (here.trainings.get(longer.id).resume, lambda: here.trainings.delete(longer.id)):
        with pytest.raises(StateError, match="The files of longer are on there, and cannot be seen from") as caught:
            refused()
        assert "SAEWIDGETS_HOST=there" in str(caught.value.hint)
    for refused in (other.trainings.get(longer.id).resume, lambda: other.trainings.delete(longer.id)):
        with pytest.raises(StateError, match="The files of longer are in another folder of this machine"):
            refused()
    assert there.trainings.get(longer.id).record == before
    assert not (here.folder / "trainings" / longer.id).exists()
    other.close()
    here.trainings.get(longer.id).stop()
    assert there.trainings.get(longer.id).status is JobStatus.STOPPED
    there.trainings.delete(longer.id)
    assert [each.id for each in here.trainings.list()] == [run.id]


def test_an_sae_with_files_or_an_extraction_elsewhere_is_not_deleted(
    machines: tuple[Workspace, Workspace], tiny_model_folder: Path
) -> None:
    here, there = machines
    sae = completed(there.trainings.create(small_config(tiny_model_folder))).import_to_saes()
    with pytest.raises(StateError, match=f"The files of {sae.name} are on there, and cannot be seen from"):
        here.saes.delete(sae.id)
    assert (here.saes.get(sae.id).state_note, there.saes.get(sae.id).state) == (
        "Its files are on there, and cannot be seen from here.", "ok",
    )
    own = here.saes.add_local(sae.path)
    there.catalog.extractions.create(
        id="ext_1", sae_id=own.id, config={}, model="m", hook_name="h", d_sae=1, tokens_total=1,
        folder=there.folder / "extractions" / "ext_1",
    )
    with pytest.raises(StateError, match="are on there"):
        here.saes.delete(own.id)
    (there.folder / "extractions" / "ext_1").mkdir(parents=True)
    there.extractions.delete("ext_1")
    assert here.saes.delete(own.id) == own.size_bytes
    with pytest.raises(StateError, match="are on there"):
        here.saes.locate(sae.id, sae.path)
    assert here.saes.import_training(str(sae.training_id)).host == "there"
    browser = BrowserModel(here)
    browser.read()
    assert [card.has_files for card in browser.state().cards] == [False]
    assert there.saes.get(sae.id) == sae
    run = completed(here.trainings.create(small_config(tiny_model_folder)))
    there.catalog.extractions.create(
        id="ext_2", training_id=run.id, config={}, model="m", hook_name="h", d_sae=1, tokens_total=1,
        folder=there.folder / "extractions" / "ext_2",
    )
    with pytest.raises(StateError, match="are on there"):
        here.trainings.delete(run.id)
    assert Path(run.record.folder).is_dir()


def test_an_actor_that_cannot_open_the_workspace_says_so(
    machines: tuple[Workspace, Workspace], database_url: str, tmp_path: Path
) -> None:
    here, _ = machines
    job = here.catalog.jobs.add("job_1", kind="training", lane="there/cpu", payload={}, owner=None)
    with pytest.raises(ConfigError):
        child._run(job.id, str(tmp_path / "nowhere"), database_url, gpus=["3"], again=False)
    found = here.jobs.get(job.id)
    assert found.status is JobStatus.FAILED
    assert found.error is not None
    assert found.error.what == "The folder of the workspace is not on this machine."


def test_whose_folder_both_see_either_may_resume(
    tmp_path: Path, database_url: str | None, tiny_model_folder: Path
) -> None:
    with _machine(tmp_path, "one", database_url) as one:
        run = one.trainings.create(small_config(tiny_model_folder, tokens=64 * 1000))  # longer than a pause takes
        run.pause()
        assert run.wait(60) is JobStatus.PAUSED
        assert (run.record.host, run.record.started_by) == ("one", "one user")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    with _machine(tmp_path, "two", database_url) as two:
        again = two.trainings.get(run.id)
        again.resume()
        completed(again)
        assert (again.record.host, again.record.started_by) == ("two", "one user")
        assert list(two.trainings.list().to_df()["started_by"]) == ["one user"]
